import importlib

import pytest

from mtlser import paper


def test_every_audited_difference_is_there_once():
    numbers = [departure.number for departure in paper.DEPARTURES]
    assert numbers == list(range(1, 24))
    assert len({departure.name for departure in paper.DEPARTURES}) == len(numbers)


@pytest.mark.parametrize("departure", paper.DEPARTURES, ids=lambda departure: departure.name)
def test_the_code_that_a_departure_names_exists(departure):
    module, _, path = departure.code.partition(":")
    value = importlib.import_module(module)
    for name in path.split("."):
        if value.__class__.__name__ == "type" and name in getattr(value, "__dataclass_fields__", {}):
            return
        value = getattr(value, name)


def test_fold_sizes_sum_to_the_corpus():
    assert sum(paper.RELEASED_TEST_SIZES.values()) == paper.NUM_UTTERANCES == 5531
    assert sum(paper.SPEAKER_TEST_SIZES.values()) == paper.NUM_UTTERANCES


def test_the_claim_of_the_abstract_is_the_best_row_of_both_tables():
    assert paper.table3()["accuracy"].max() == paper.table4()["accuracy"].max() == 0.7815
