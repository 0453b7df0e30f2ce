"""The cards of the backbones: what they say agrees with the encoders, and the list shows what is here."""

from __future__ import annotations

import pytest

from mtlser.__main__ import main
from mtlser.config import POCKET_BACKBONE, SAMPLE_RATE_HZ
from mtlser.files import file_digest
from mtlser.model import backbone_digest
from mtlser.model.backbone import CARDS, published_name, read_config
from mtlser.model.cards import backbones_table
from mtlser.model.frames import FrameLayout
from mtlser.model.multitask import make_encoder
from test_wavlm_hubert import stock
from test_whisper import tiny_config as tiny_whisper_config
from test_whisper import tiny_whisper
from tiny_models import init_random_backbone, tiny_config


def configuration(name: str):
    """Of the family that the name tells, tiny."""
    if name == POCKET_BACKBONE.name:
        return read_config(POCKET_BACKBONE / "config.json")
    if "whisper" in name:
        return tiny_whisper_config()
    size = "layer" if name in ("microsoft/wavlm-large", "facebook/hubert-large-ll60k") else "group"
    return stock("wavlm", size).config if "wavlm" in name else tiny_config(size)


@pytest.mark.parametrize("name", CARDS)
def test_what_a_model_hears_is_what_its_encoder_is_given(name):
    assert make_encoder(configuration(name)).hears_raw == (CARDS[name].hears == "raw")


def test_the_pocket_backbone_s_card_is_of_the_shipped_files():
    card = CARDS[POCKET_BACKBONE.name]
    assert card.sha256 == file_digest(POCKET_BACKBONE / "model.safetensors") == backbone_digest(POCKET_BACKBONE.name)
    layout = FrameLayout.of(read_config(POCKET_BACKBONE / "config.json"))
    assert card.frame_milliseconds == 1000 * layout.stride / SAMPLE_RATE_HZ
    assert published_name(card.sha256) == POCKET_BACKBONE.name


def test_every_card_says_what_was_heard_and_whisper_what_it_is_for():
    assert all(card.heard and card.hours and card.licence for card in CARDS.values())
    notes = {card.note for name, card in CARDS.items() if "whisper" in name}
    assert notes == {"trained to transcribe; not the paper's encoder"}
    assert {name for name, card in CARDS.items() if card.sha256} == {
        "pocket-backbone", "facebook/wav2vec2-base", "openai/whisper-tiny.en", "openai/whisper-base"
    }  # fmt: skip


def test_the_list_shows_what_is_in_the_hub_s_cache(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("MTLSER_BACKBONE", raising=False)
    table = backbones_table().set_index("backbone")
    assert list(table.index) == list(CARDS) and set(table["here"]) == {"shipped", "no"}
    cached = tmp_path / "models--microsoft--wavlm-base"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    init_random_backbone(cached / "snapshots" / "abc", tiny_config())
    assert backbones_table().set_index("backbone").loc["microsoft/wavlm-base", "here"].endswith("snapshots/abc")
    assert main(["backbones"]) == 0
    assert "trained to transcribe; not the paper's encoder" in capsys.readouterr().out


def test_a_folder_is_listed_under_what_is_in_it(tmp_path, monkeypatch):
    folder = tiny_whisper(tmp_path / "mine")
    last = backbones_table(str(folder)).iloc[-1]
    assert (last["backbone"], last["heard"], last["weights"], last["here"]) == (
        "mine",
        "no card",
        "not pinned",
        str(folder),
    )
    monkeypatch.setattr("mtlser.model.cards.published_name", lambda digest: "openai/whisper-base")
    table = backbones_table(str(folder)).set_index("backbone")
    assert len(table) == len(CARDS) and table.loc["openai/whisper-base", "here"] == str(folder)
    assert backbones_table("someone/else").iloc[-1]["heard"] == "no card"
