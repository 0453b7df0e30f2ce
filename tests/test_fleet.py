"""Hours on several machines, by hand, and that nothing is said of what nobody measured."""

from __future__ import annotations

from base64 import b64decode

import pytest

from fake_records import fake_records
from mtlser.report import display, figures, fleet
from mtlser.runs.records import Records


@pytest.mark.parametrize(
    ("seconds", "speeds", "num_lost", "wall", "busy"),
    [
        ([3, 3, 2, 2, 2], [1], 0, 12, 12),
        ([2, 3, 2, 3, 2], [1, 1], 0, 7, 12),  # 3+2+2 and 3+2: the longest first, whatever their order; 6 was possible
        ([2, 3, 2, 3, 2], [1] * 50, 0, 3, 12),  # no run is split
        ([4, 2], [1, 0.5], 0, 4, 8),  # the fastest is asked first; the slow one takes 4 for the 2
        ([4, 4], [1, 0.5], 0, 8, 12),
        ([4, 2], [1, 1], 1, 8, 10),  # lost at 4, again until 8
        ([4, 2, 1], [1, 1], 1, 8, 11),  # what is lost waits only once it is lost
        ([4], [1, 1], 1, 8, 8),  # a machine that finds nothing waits
        ([], [1], 0, 0, 0),
    ],
)
def test_the_longest_first(seconds, speeds, num_lost, wall, busy):
    assert fleet.longest_first(seconds, speeds, num_lost) == fleet.Schedule(wall, busy)


@pytest.mark.parametrize("speeds", [[], [1, 0]])
def test_a_machine_that_is_none_is_refused(speeds):
    with pytest.raises(ValueError, match="speeds must be"):
        fleet.longest_first([1.0], speeds)


def test_shards_are_every_nth_run():
    assert fleet.in_shards([1, 10, 1, 10], 2) == fleet.Schedule(20, 22)
    assert fleet.in_shards([1, 10, 1, 10], 4) == fleet.Schedule(10, 22)
    assert fleet.in_shards([5], 3) == fleet.Schedule(5, 5)


def test_more_machines_never_take_longer_and_no_way_is_faster_than_without_its_trouble():
    seconds = [float(30 + place % 7) for place in range(50)]
    for count in (1, 4, 10, 50):
        found = {name: one.wall_seconds for name, one in fleet.ways(seconds, count).items()}
        assert min(found.values()) == found["longest first"] >= max(max(seconds), sum(seconds) / count)
    walls = fleet.curves(seconds).query("way == 'longest first'")["hours"]
    assert walls.is_monotonic_decreasing and len(walls) == 50


def test_the_table_says_hours_and_cost():
    table = fleet.table([3600.0] * 50, price=2).set_index("machines")
    assert table["longest first"].tolist() == ["50 h", "13 h", "5 h", "60 min"]
    assert table["one machine at half speed"].tolist() == ["100 h", "15 h", "6 h", "2 h"]
    assert table.loc[50, "a tenth of the runs lost"] == "2 h" and table.loc[4, "in shards"] == "13 h"
    assert set(table["machine-hours"]) == {"50"} and set(table["cost"]) == {"100"}
    assert "cost" not in fleet.table([1.0])


def test_without_a_run_nothing_is_computed():
    assert fleet.run_seconds(Records.empty()) == [] and fleet.table([]).empty
    assert (
        display.show(fleet.table([]), "Hours", "IEMOCAP", empty="not measured").text == "Hours. IEMOCAP: not measured"
    )


def test_the_runs_own_clocks_are_read_and_published_practice_is_fifty_equal_runs():
    assert fleet.run_seconds(fake_records()) == [60.0] * 50
    quoted = fleet.quoted_seconds()
    assert len(quoted) == 50 and len(set(quoted)) == 1 and sum(quoted) / 3600 == pytest.approx(302, abs=1)


def test_the_picture_has_a_line_for_each_way_in_both_themes():
    shown = figures.show(fleet.until_done, fleet.curves([60.0] * 50), "Hours", alt="Falling lines.", source="x")
    pictures = [b64decode(part.split('"')[0]).decode() for part in shown.html.split("base64,")[1:]]
    assert len(pictures) == 2
    for picture in pictures:
        assert all(name in picture for name in fleet.ways([1.0], 1)) and ">50<" in picture
