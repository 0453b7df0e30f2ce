"""What ran a page is in its metadata and in the note at its foot."""

from __future__ import annotations

import platform

from mtlser_book import provenance


def test_the_note_names_source_parameters_time_revision_and_versions():
    record = provenance.page_record("0123456789abcdef", 12.34, "book/template.ipynb", {"alpha": 0.1})
    note = provenance.footer(record)
    assert record["seconds"] == 12.3
    assert "`book/template.ipynb` with `alpha = 0.1`, executed in 12 s." in note
    assert "content `0123456789ab`" in note and f"`{record['revision']}`" in note
    assert f"torch {record['versions']['torch']}" in note and f"python {platform.python_version()}" in note
    assert "papermill" in note and "matplotlib" in note


def test_it_names_no_machine():
    record = provenance.page_record("key", 1.0, "book/a.ipynb", {})
    host = platform.node()
    assert not host or host not in provenance.footer(record).split()
    assert "with" not in provenance.footer(record).splitlines()[2]
