"""The pocket corpus: cues as set, texts that repeat as set, the same bytes in any order, whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import espeakng_loader
import numpy as np
import pandas as pd
import pytest

from mtlser.config import EMOTIONS, PRESETS, ConfigError, PocketCorpusConfig
from mtlser.corpus import espeak, espeak_process, pocket
from mtlser.corpus.audio import read_audio
from mtlser.corpus.iemocap import ReleaseError, load_release
from mtlser.corpus.pocket_plan import AROUSAL, SPEAKERS, VALENCE, emotion_counts, make_voices
from mtlser.corpus.pocket_text import SHORT_TEMPLATES, TEMPLATES, VALENCE_WORDS, VALENCES, make_sentence
from mtlser.corpus.release_counts import MANIFEST, RELEASE_FOLDER, count_utterances
from mtlser.corpus.text import normalise
from words import vocabulary

DEFAULT = PRESETS["pocket"].corpus
TINY = PocketCorpusConfig(utterances_per_speaker=4)


@pytest.fixture(scope="module")
def plan() -> pd.DataFrame:
    """The default corpus, not spoken."""
    return pocket.plan_corpus(DEFAULT)


@pytest.fixture(scope="module")
def tiny_release(tmp_path_factory) -> Path:
    return pocket.write_release(tmp_path_factory.mktemp("tiny"), TINY, workers=1)


def _file_bytes(release: Path) -> dict[str, bytes]:
    return {str(p.relative_to(release)): p.read_bytes() for p in sorted(release.rglob("*")) if p.is_file()}


# Grammar


def test_valence_words_match_in_letters_and_role():
    for pairs in VALENCE_WORDS.values():
        for positive, negative in pairs:
            assert len(positive) == len(negative)
    words = [word for pairs in VALENCE_WORDS.values() for pair in pairs for word in pair]
    assert len(words) == len(set(words))


def test_common_letters_occur_in_words_of_both_valences():
    letters = [[set(pair[side]) for pairs in VALENCE_WORDS.values() for pair in pairs] for side in (0, 1)]
    for this, other in (letters, letters[::-1]):
        for letter in "abcdefghijklmnopqrstuvwxyz":
            if sum(letter in word for word in this) > 2:
                assert any(letter in word for word in other), letter


def test_vocabulary_is_about_100_lower_case_words():
    assert 85 <= len(vocabulary()) <= 115
    assert all(word.isascii() and word.isalpha() and word.islower() for word in vocabulary())


@pytest.mark.parametrize("valence", VALENCES)
@pytest.mark.parametrize("template", SHORT_TEMPLATES + TEMPLATES)
def test_each_sentence_shows_its_valence_only(template, valence):
    shown = {pair[VALENCES.index(valence)] for pairs in VALENCE_WORDS.values() for pair in pairs}
    hidden = {word for pairs in VALENCE_WORDS.values() for pair in pairs for word in pair} - shown
    for seed in range(20):
        sentence = make_sentence(valence, (template,), np.random.default_rng(seed))
        words = set(sentence.lower().rstrip(".").split())
        assert words & shown and not words & hidden and words <= vocabulary()
        assert sentence[0].isupper() and sentence.endswith(".") and 4 <= len(sentence.split()) <= 8


# Plan


def test_every_voice_has_its_number_of_utterances_in_iemocaps_balance(plan):
    assert (plan.speaker.value_counts() == DEFAULT.utterances_per_speaker).all()
    assert sorted(plan.speaker.unique()) == sorted(SPEAKERS)
    assert emotion_counts(5531) == {"neutral": 1708, "happy": 1636, "angry": 1103, "sad": 1084}
    for counts in plan.groupby("speaker")["emotion"]:
        assert counts[1].value_counts().to_dict() == emotion_counts(DEFAULT.utterances_per_speaker)


def test_dialogs_hold_both_speakers_about_equally(plan):
    share = plan.speaker.str[5].eq("F").groupby(plan.dialog).mean()
    assert share.between(0.4, 0.6).all()
    assert {"Ses03M_impro05a", "Ses05M_script01_1b"} <= set(plan.dialog)
    assert plan.dialog.str.contains("script").mean() == pytest.approx(DEFAULT.scripted_share, abs=0.01)


def test_cues_show_the_right_side_as_often_as_set_and_independently(plan):
    spoken = plan[plan.text_kind != "sound"]
    arousal_right = spoken.emotion.map(AROUSAL) == spoken.arousal
    valence_right = spoken.emotion.map(VALENCE) == spoken.valence
    for right, probability in (
        (arousal_right, DEFAULT.arousal_cue_probability),
        (valence_right, DEFAULT.valence_cue_probability),
        (arousal_right & valence_right, DEFAULT.arousal_cue_probability * DEFAULT.valence_cue_probability),
    ):
        margin = 4 * np.sqrt(probability * (1 - probability) / len(spoken))
        assert right.mean() == pytest.approx(probability, abs=margin)


def test_cues_can_be_made_certain():
    plan = pocket.plan_corpus(replace(TINY, arousal_cue_probability=1.0, valence_cue_probability=1.0))
    spoken = plan[plan.text_kind != "sound"]
    assert (spoken.emotion.map(AROUSAL) == spoken.arousal).all()
    assert (spoken.emotion.map(VALENCE) == spoken.valence).all()


def test_words_of_a_text_are_of_the_valence_shown(plan):
    positive = {pair[0] for pairs in VALENCE_WORDS.values() for pair in pairs}
    spoken = plan[plan.text_kind != "sound"]
    shows_positive = [bool(positive & set(text.lower().rstrip(".").split())) for text in spoken.text]
    assert (np.array(shows_positive) == (spoken.valence == "positive")).all()


@pytest.mark.parametrize("group", ["speaker", "session"])
def test_texts_repeat_in_training_as_often_as_set(plan, group):
    spoken = plan[plan.text_kind != "sound"]
    right = {}  # row → whether the training majority label of its text is right (a share where there are several)
    for _, same_text in spoken[spoken.text.duplicated(keep=False)].groupby("text"):
        for u in same_text.itertuples():
            modes = same_text.emotion[same_text[group] != getattr(u, group)].mode()
            if len(modes):
                right[u.Index] = (modes == u.emotion).mean()
    assert len(right) / len(plan) == pytest.approx(DEFAULT.repeated_text_share, abs=0.01)
    assert set(right) == set(spoken.index[spoken.text_kind == "repeated"])
    assert np.mean(list(right.values())) == pytest.approx(0.76, abs=0.05)  # IEMOCAP, speaker folds


def test_the_plan_of_a_seed_is_the_same_again_and_of_another_differs(plan):
    pd.testing.assert_frame_equal(plan, pocket.plan_corpus(DEFAULT))
    other = pocket.plan_corpus(replace(DEFAULT, seed=7))
    assert (other.transcript != plan.transcript).mean() > 0.9


def test_voices_differ_as_much_as_set():
    alike = make_voices(replace(DEFAULT, speaker_deviation=0.0)).values()
    assert len({(v.pitch, v.rate_wpm, v.pitch_range, v.pitch_weight, v.rate_weight) for v in alike}) == 1
    weights = np.array([[v.pitch_weight, v.rate_weight, v.range_weight] for v in make_voices(DEFAULT).values()])
    assert weights.mean(axis=1) == pytest.approx(1)
    assert set(weights.argmax(axis=1)) == {0, 1, 2}


def test_bayes_accuracy_by_hand():
    # Four emotions of nearly equal share, both cues right 9 times of 10: 0.45, 0.45 and 0.81.
    settings = PocketCorpusConfig(utterances_per_speaker=8, arousal_cue_probability=0.9, valence_cue_probability=0.9)
    even = pocket.bayes_accuracy(settings)  # 2 of each; 1 sound alone in 80
    assert even["neither"] == pytest.approx(0.25)
    assert even["prosody"] == even["words"] == pytest.approx(79 / 80 * 0.45 + 0.25 / 80)
    assert even["both"] == pytest.approx(79 / 80 * 0.81 + 0.25 / 80)


def test_bayes_accuracy_is_what_the_best_rule_reaches(plan):
    table = plan.groupby(["arousal", "valence"])["emotion"].agg(lambda e: e.value_counts().iloc[0])
    assert table.sum() / len(plan) == pytest.approx(pocket.bayes_accuracy(DEFAULT)["both"], abs=0.04)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="utterances_per_speaker"):
        PocketCorpusConfig(utterances_per_speaker=3)
    with pytest.raises(ConfigError, match="valence_cue_probability"):
        PocketCorpusConfig(valence_cue_probability=1.2)


# Release


def test_the_loader_reads_the_release_and_its_manifest(tiny_release):
    utterances = load_release(tiny_release)
    manifest = json.loads((tiny_release / MANIFEST).read_text())
    plan = pocket.plan_corpus(TINY)
    assert list(utterances.utterance) == sorted(plan.utterance)
    for column in ("dialog", "session", "speaker", "emotion", "transcript"):
        assert list(utterances[column]) == list(plan[column]), column
    assert manifest["kind"] == "pocket" and manifest["total"] == 4 * len(SPEAKERS)
    assert {key: manifest[key] for key in count_utterances(utterances)} == count_utterances(utterances)


def test_label_times_are_those_of_the_audio(tiny_release):
    utterances = load_release(tiny_release)
    for u in utterances.iloc[::5].itertuples():
        assert len(read_audio(u.wav)) / 16_000 == pytest.approx(u.end_seconds - u.start_seconds, abs=2e-4)
    order = utterances.sort_values(["dialog", "start_seconds"])
    following = order.start_seconds.shift(-1)[order.dialog == order.dialog.shift(-1)]
    assert (following > order.end_seconds[following.index]).all()


def test_a_changed_label_differs_from_the_manifest(tiny_release, tmp_path):
    copy = tmp_path / RELEASE_FOLDER
    shutil.copytree(tiny_release, copy)
    label_file = sorted((copy / "Session1/dialog/EmoEvaluation").glob("Ses*.txt"))[0]
    text = label_file.read_text()
    code = next(code for code in ("neu", "sad", "ang", "hap", "exc") if f"\t{code}\t" in text)
    label_file.write_text(text.replace(f"\t{code}\t", "\txxx\t"))
    with pytest.raises(ReleaseError, match="differs from its own pocket_manifest"):
        load_release(copy)


def test_the_release_has_the_oddities_of_the_real_one(tiny_release):
    labels = "".join(p.read_text() for p in tiny_release.glob("Session*/dialog/EmoEvaluation/Ses*.txt"))
    transcripts = "".join(p.read_text() for p in tiny_release.glob("Session*/dialog/transcriptions/Ses*.txt"))
    assert "\tfru\t" in labels and "\nC-E2:" in labels and "\nA-E3:" in labels and labels.startswith("% [START_TIME")
    assert "XX0 [" in transcripts and "\nM: " in transcripts
    for pattern in ("dialog/EmoEvaluation/._*.txt", "dialog/transcriptions/._*.txt", "sentences/wav/*/._*.wav"):
        assert len(list(tiny_release.glob(f"Session*/{pattern}"))) == 5
    assert list(tiny_release.glob("Session*/dialog/EmoEvaluation/*/*.txt"))
    plan = pocket.plan_corpus(TINY)
    assert any(normalise(transcript) == "" for transcript in plan.transcript)
    assert set(plan.code) <= {"neu", "hap", "exc", "ang", "sad"}


def test_frames_of_40_ms_can_spell_every_transcript(tiny_release):
    for u in load_release(tiny_release).itertuples():
        text = normalise(u.transcript)
        needed = len(text) + sum(a == b for a, b in zip(text, text[1:], strict=False))
        assert len(read_audio(u.wav)) // 640 - 1 >= 1.1 * needed, u.transcript


def test_bytes_are_the_same_with_any_number_of_workers(tiny_release, tmp_path):
    seen = []
    again = pocket.write_release(tmp_path, TINY, workers=3, progress=lambda done, total: seen.append((done, total)))
    assert _file_bytes(again) == _file_bytes(tiny_release)
    assert seen == [(done, 40) for done in range(1, 41)]


def test_a_complete_release_is_left_alone_and_other_settings_replace_it(tmp_path):
    release = pocket.write_release(tmp_path, TINY, workers=1)
    written = (release / MANIFEST).stat().st_mtime_ns
    assert pocket.is_complete(tmp_path, TINY)
    pocket.write_release(tmp_path, TINY, progress=lambda *_: pytest.fail("spoken again"))
    assert (release / MANIFEST).stat().st_mtime_ns == written

    quieter = replace(TINY, noise_snr_db=30.0)
    assert not pocket.is_complete(tmp_path, quieter)
    pocket.write_release(tmp_path, quieter, workers=1)
    assert pocket.is_complete(tmp_path, quieter) and not pocket.is_complete(tmp_path, TINY)

    next(release.rglob("Ses*.wav")).unlink()
    assert not pocket.is_complete(tmp_path, quieter)


def test_a_release_that_is_not_pocket_is_never_touched(tmp_path):
    kept = tmp_path / RELEASE_FOLDER / "Session1" / "dear.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("dear")
    with pytest.raises(ReleaseError, match="no pocket corpus"):
        pocket.write_release(tmp_path, TINY)
    assert kept.read_text() == "dear"


def test_a_failed_generation_leaves_nothing(tmp_path):
    def fail(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pocket.write_release(tmp_path, TINY, workers=1, progress=fail)
    assert [path.name for path in tmp_path.iterdir()] == [".pocket.lock"]


def test_a_killed_generation_leaves_nothing_that_passes_and_the_next_removes_it(tmp_path, tiny_release):
    code = (
        "import sys; from mtlser.config import PocketCorpusConfig; from mtlser.corpus import pocket; "
        "pocket.write_release(sys.argv[1], PocketCorpusConfig(utterances_per_speaker=4), workers=1, "
        "progress=lambda done, total: print(done, flush=True))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"1\n"
        process.send_signal(signal.SIGKILL)
    assert not pocket.is_complete(tmp_path, TINY) and not (tmp_path / RELEASE_FOLDER).exists()
    assert list(tmp_path.glob("*.partial"))
    release = pocket.write_release(tmp_path, TINY, workers=1)
    assert not list(tmp_path.glob("*.partial"))
    assert _file_bytes(release) == _file_bytes(tiny_release)


def test_cues_are_recorded(tiny_release):
    cues = pd.read_csv(tiny_release / pocket.CUES, keep_default_na=False)
    assert set(cues.emotion) <= set(EMOTIONS) and set(cues.arousal) <= {"high", "low", ""}
    assert list(cues.utterance) == list(load_release(tiny_release).utterance)


# Speech


def test_speech_does_not_depend_on_what_was_spoken_before():
    texts = ("One day.", "We had a dream.")
    speeches = [espeak.Speech(text, voice) for voice in ("en-us+f2", "en-us+m3") for text in texts]
    forwards = list(espeak.synthesise(speeches, workers=1))
    backwards = list(espeak.synthesise(speeches[::-1] + speeches[:1], workers=2))
    time.sleep(1.1)  # espeak-ng would seed its noise by the clock
    later = list(espeak.synthesise(speeches, workers=1))
    for one, other, third in zip(forwards, backwards[:4][::-1], later, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, third)
    assert all(samples.dtype == np.float32 and np.abs(samples).max() <= 1 for samples in forwards)


def test_speech_follows_rate_and_pitch():
    sentence = "They gave my sister a lovely gift."
    slow, fast = espeak.synthesise([espeak.Speech(sentence, rate_wpm=rate) for rate in (120, 180)], workers=1)
    assert 1.3 < len(slow) / len(fast) < 1.7


def test_speech_refuses_what_cannot_be_spoken():
    with pytest.raises(espeak.EspeakError, match="no voice variant"):
        espeak.Speech("Hello.", "en-us+nobody")
    with pytest.raises(espeak.EspeakError, match="empty"):
        espeak.Speech(" ")
    with pytest.raises(espeak.EspeakError, match="rate_wpm=700"):
        espeak.Speech("Hello.", rate_wpm=700)
    with pytest.raises(espeak.EspeakError, match="xx-nowhere"):
        list(espeak.synthesise([espeak.Speech("Hello.", "xx-nowhere")], workers=1))


def test_the_corpus_is_made_without_torch():
    code = "import sys, mtlser.corpus.pocket; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_speaking_without_fork_gives_the_same_answers():
    """What Windows does: a process that is started for each request."""
    line = json.dumps(asdict(espeak.Speech("the same words", "en-us+m3"))).encode() + b"\n"
    paths = str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())
    code = "import os, runpy, sys; del os.fork, sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    started, forked = (
        subprocess.run(
            [sys.executable, "-I", "-S", *start, espeak_process.__file__, *paths],
            input=line * 2, capture_output=True, check=True,
        ).stdout
        for start in (["-c", code], [])
    )  # fmt: skip
    assert started == forked
    assert started[: len(started) // 2] * 2 == started and json.loads(started.splitlines()[0])["num_bytes"] > 0
