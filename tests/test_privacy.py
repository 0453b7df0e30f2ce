"""A transcript, a sound or a picture that is planted in a site is found, wherever it hides; a clean site passes."""

from __future__ import annotations

import json
from base64 import b64encode

import pandas as pd
import pytest

from fake_records import fake_records
from mtlser.corpus.iemocap import load_release
from mtlser.runs.settings import Settings
from mtlser_book import Stop, privacy, stage

UTTERANCES = pd.DataFrame(
    {
        "utterance": ["Ses01F_impro01_F000", "Ses01F_impro01_M001", "Ses01F_impro01_M002", "Ses01F_impro01_M003"],
        "transcript": [
            "The ferry left without its oldest lantern.",
            "Well [LAUGHTER], don't you ever call me a walnut again, you and your seven rusty spoons.",
            "Yes.",
            "What do you mean?",
        ],
    }
)
SVG = '<svg><text>The ferry left <tspan x="1">without its</tspan> oldest lantern</text></svg>'


@pytest.fixture
def project(tmp_path):
    write(tmp_path / "book" / "page.md", "What do you mean by a fold?")
    write(tmp_path / "build" / "html" / "book" / "page.html", "<p>What do you mean by a fold? Yes. The ferry left.</p>")
    write(tmp_path / "build" / "html" / "searchindex.js", 'Search.setIndex({"terms": {"ferri": 1, "lantern": 2}})')
    (tmp_path / "build" / "html" / "_static").mkdir()
    (tmp_path / "build" / "html" / "_static" / "logo.png").write_bytes(b"theme")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def search(project):
    return privacy.search_site(project / "build" / "html", UTTERANCES, project)


def test_a_clean_site_passes(project):
    assert search(project) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("book/a.html", "<p>the <b>FERRY</b> left,\n without its&nbsp;oldest lantern!</p>"),
        ("book/a.html", '<img alt="The ferry left without its oldest lantern.">'),
        ("book/a.html", f'<img src="data:image/svg+xml;base64,{b64encode(SVG.encode()).decode()}">'),
        ("_sources/book/a.ipynb", json.dumps([{"source": ["The ferry left\n", "without its oldest lantern"]}])),
        ("searchindex.js", 'Search.setIndex({"titles": {"The ferry left without its oldest lantern": 1}})'),
        ("data.json", json.dumps({"reference": "THE FERRY LEFT WITHOUT ITS OLDEST LANTERN"})),
        ("data.json", r'"the ferry left\nwithout its \u006fldest lantern"'),
    ],
)  # fmt: skip
def test_a_planted_transcript_is_found(project, name, text):
    write(project / "build" / "html" / name, text)
    found = search(project)
    assert found == [f"{name}: transcript of Ses01F_impro01_F000"]  # without its words: it may be published


def test_part_of_a_long_transcript_is_found(project):
    write(project / "build" / "html" / "a.html", "and DON’T you ever call me a walnut, again")
    assert search(project) == ["a.html: transcript of Ses01F_impro01_M001"]


def test_everyday_sentences_are_allowed_where_our_own_pages_say_them(project):
    write(project / "book" / "page.md", "Nothing.")
    assert search(project) == ["book/page.html: transcript of Ses01F_impro01_M003"]


def test_sounds_and_pictures_need_a_caption_that_says_synthetic(project):
    site = project / "build" / "html"
    sound = '<figure><audio controls src="data:audio/mpeg;base64,AAAA"></audio><figcaption>{}</figcaption></figure>'
    page = site / "book" / "a.html"
    write(page, sound.format("One sentence. IEMOCAP"))
    assert search(project) == ["book/a.html: a sound, no caption says synthetic"]
    write(page, sound.format("One sentence. Pocket corpus (synthetic)"))
    assert search(project) == []
    for name in ("spectrogram.png", "one.mp3"):
        (site / "_images").mkdir(exist_ok=True)
        (site / "_images" / name).write_bytes(b"content")
        assert [finding.split(":")[0] for finding in search(project)] == [f"_images/{name}"]
        (project / "book" / name).write_bytes(b"content")  # committed, so looked at
        assert search(project) == []
        (project / "book" / name).unlink()
        (site / "_images" / name).unlink()


def test_pixels_within_a_page_need_it_too(project):
    raster = b64encode(b'<svg><image href="x"/></svg>').decode()
    figure = f'<figure><img src="data:image/svg+xml;base64,{raster}"><figcaption>{{}}</figcaption></figure>'
    page = project / "build" / "html" / "book" / "a.html"
    write(page, figure.format("A spectrogram. IEMOCAP"))
    assert [finding.split(":")[0] for finding in search(project)] == ["book/a.html"]
    write(page, figure.format("A spectrogram. Pocket corpus (synthetic)"))
    assert search(project) == []


def test_a_release_is_searched_for_and_so_are_records_of_it(known_tree, tmp_path, monkeypatch):
    read = load_release(known_tree.release, expected=known_tree.expected)
    monkeypatch.setattr(privacy, "load_utterances", lambda preset, settings: read)
    texts = privacy.licensed_transcripts(Settings(release=known_tree.release, artifacts=tmp_path))
    assert texts["utterance"].nunique() == 5531
    records = fake_records("iemocap", alphas=(0.1,))
    monkeypatch.setattr(privacy, "read_records", lambda folders: records)
    found = privacy.licensed_transcripts(Settings(artifacts=tmp_path))
    assert {"THE TEXT OF A TEST", "THE TEXT OF TEST"} == set(found["transcript"])


def test_nothing_licensed_gives_nothing_to_search_for(tmp_path):
    assert privacy.licensed_transcripts(Settings(artifacts=tmp_path, results=tmp_path)).empty


def test_a_site_that_fails_the_search_is_not_published(project, monkeypatch):
    write(project / "_config.yml", "")
    write(project / "_toc.yml", "")
    (project / "build" / "html" / "index.html").write_text("previous")

    def build(root, staged, output):
        write(output / "_build" / "html" / "index.html", "The ferry left without its oldest lantern")

    monkeypatch.setattr(stage, "run_jupyter_book", build)
    for _ in range(2):
        with pytest.raises(Stop, match="index.html: transcript of Ses01F_impro01_F000"):
            stage.build_site(project, project / "build", transcripts=UTTERANCES)
        assert (project / "build" / "html" / "index.html").read_text() == "previous"
    assert stage.build_site(project, project / "build")  # without a release nothing is known to be licensed
