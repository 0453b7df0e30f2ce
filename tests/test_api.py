"""The API page names modules that are there, and every difference from the paper leads to an entry of it."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

from mtlser import paper

PAGE = (Path(__file__).parents[1] / "book" / "api.md").read_text(encoding="utf-8")
MODULES = re.findall(r"^\.\. automodule:: (.+)$", PAGE, flags=re.MULTILINE)


def test_each_module_has_a_heading():
    assert len(MODULES) > 20 and re.findall("^### (.+)$", PAGE, flags=re.MULTILINE) == MODULES


@pytest.mark.parametrize("departure", paper.DEPARTURES, ids=lambda departure: departure.name)
def test_every_departure_leads_to_an_entry(departure):
    """An entry is what has a docstring and stands in the module itself."""
    module, _, name = departure.code.partition(":")
    found = attrgetter(name)(import_module(module))
    assert module in MODULES and (isinstance(found, property) or found.__module__ == module)
    assert found.__doc__ and not any(part.startswith("_") for part in name.split("."))


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_have_a_docstring(module):
    for name, found in inspect.getmembers(import_module(module), inspect.isfunction):
        assert found.__doc__ or name.startswith("_") or found.__module__ != module, name
