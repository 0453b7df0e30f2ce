"""The pocket corpus before it is spoken: who says what where, with which cues, and what these can tell at best."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mtlser.config import EMOTIONS, PocketCorpusConfig
from mtlser.corpus.pocket_text import SHORT_TEMPLATES, TEMPLATES, make_sentence

AROUSAL = {"neutral": "low", "happy": "high", "angry": "high", "sad": "low"}
VALENCE = {"neutral": "positive", "happy": "positive", "angry": "negative", "sad": "negative"}
_OTHER = {"high": "low", "low": "high", "positive": "negative", "negative": "positive"}

# espeak-ng's numbered variants of each sex. The pocket backbone is pretrained on other voices.
VOICES = {f"Ses0{n}{sex}": f"en-us+{sex.lower()}{n}" for n in range(1, 6) for sex in "FM"}
SPEAKERS = tuple(VOICES)
# The pilot's voices are in neither set: what it tuned has not heard a voice that it is measured with.
_PILOT_VARIANTS = ("steph2", "m6", "Gene2", "m7", "pedro", "m8", "steph3", "michel", "iven", "gustave")
PILOT_VOICES = dict(zip(SPEAKERS, (f"en-us+{variant}" for variant in _PILOT_VARIANTS), strict=True))
_VOICE_SETS = {"pocket": VOICES, "pilot": PILOT_VOICES}

PITCH_STEPS_PER_SEMITONE = 50 / 12  # espeak-ng's pitch setting doubles the frequency in 50 steps

# All from IEMOCAP (facts of the corpus page).
_EMOTION_COUNTS = {"neutral": 1708, "happy": 1636, "angry": 1103, "sad": 1084}
_SHARE_ONLY_SOUND = 31 / 5531  # transcripts that are empty without tags
_SHARE_WITH_SOUND = 137 / 5531  # transcripts with a tag and text
_SHARE_HAPPY_CODE = 595 / 1636  # the others are coded excited
_SHARE_SHORT_LINES = 0.63  # of repeated texts, under five words
_SHARE_SHORT = 0.15  # of other texts, so that short does not mean repeated

# Tags as the release writes them, in the case it writes them.
TAGS = ("[LAUGHTER]", "[LAUGHTER]", "[LAUGHTER]", "[laughter]", "[BREATHING]", "[GARBAGE]", "[Garbage]")

_TURNS_PER_DIALOG = 24  # of the four classes and both speakers, about; IEMOCAP has 37
_GROUP_SIZES, _GROUP_SIZE_SHARES = (2, 3, 4, 5), (0.4, 0.25, 0.2, 0.15)  # sessions in which a line is said verbatim
# Chance that a line keeps its emotion, where it can: set so that the training majority label of the same text is right
# for about 76% of the repeated texts, as in IEMOCAP (speaker folds).
_SAME_EMOTION = 0.78


@dataclass(frozen=True)
class Voice:
    """How one speaker talks, and shows arousal: the weights average to 1 and say by which of three means, mostly."""

    name: str
    pitch: float
    rate_wpm: float
    pitch_range: float
    pitch_weight: float
    rate_weight: float
    range_weight: float


def generator(settings: PocketCorpusConfig, *key: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the key only, never on what was drawn before."""
    digest = hashlib.sha256("\n".join((str(settings.seed), *key)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def make_voices(settings: PocketCorpusConfig) -> dict[str, Voice]:
    """Speaker → voice. With `speaker_deviation` 0, voices differ in timbre only.

    Some voices show arousal mainly by pitch, some by rate, some by pitch range; within each sex, baselines are spread
    so that one voice's low arousal sounds like another's high.
    """
    deviation = settings.speaker_deviation
    voices = {}
    for sex in "FM":
        draw = generator(settings, "voices", sex)
        speakers = [speaker for speaker in SPEAKERS if speaker[5] == sex]
        spread = np.linspace(-deviation, deviation, len(speakers))
        pitches, rates, ranges = (draw.permutation(spread) for _ in range(3))
        main_means = draw.permutation([n % 3 for n in range(len(speakers))])
        for n, speaker in enumerate(speakers):
            voices[speaker] = Voice(
                _VOICE_SETS[settings.voices][speaker],
                50 + float(3 * PITCH_STEPS_PER_SEMITONE * pitches[n]),
                settings.base_words_per_minute * float(np.exp(0.06 * rates[n])),
                50 + float(12 * ranges[n]),
                *(1 + deviation * 0.9 * (np.eye(3)[main_means[n]] - 1 / 3)).tolist(),  # main 1.6, others 0.7
            )
    return voices


def emotion_counts(num_utterances: int) -> dict[str, int]:
    """`num_utterances` shared out in IEMOCAP's class balance, by largest remainder."""
    total = sum(_EMOTION_COUNTS.values())
    shares = {emotion: num_utterances * _EMOTION_COUNTS[emotion] / total for emotion in EMOTIONS}
    counts = {emotion: int(share) for emotion, share in shares.items()}
    by_remainder = sorted(EMOTIONS, key=lambda emotion: counts[emotion] - shares[emotion])
    for emotion in by_remainder[: num_utterances - sum(counts.values())]:
        counts[emotion] += 1
    return counts


def plan_corpus(settings: PocketCorpusConfig) -> pd.DataFrame:
    """One row per utterance of the four classes, sorted by utterance; speaks nothing.

    Columns: utterance, dialog, session, speaker, emotion, code (as labelled), transcript (with tags), text (to speak;
    "" for a sound alone), tag ("" for none), tag_first, text_kind (improvised, scripted, repeated, sound), arousal and
    valence (as shown; "" for a sound alone), voice, rate_wpm, pitch, pitch_range.
    """
    rows = [row for speaker in SPEAKERS for row in _speaker_rows(settings, speaker)]
    plan = pd.DataFrame(rows).sort_values("utterance", ignore_index=True)
    _add_tags(plan, settings)
    _add_texts(plan, settings)
    _add_prosody(plan, settings)
    return plan.drop(columns="line")


def _speaker_rows(settings: PocketCorpusConfig, speaker: str) -> Iterator[dict]:
    """Utterances of one speaker: emotion, dialog and both cues, drawn independently."""
    emotions = [e for e, count in emotion_counts(settings.utterances_per_speaker).items() for _ in range(count)]
    generator(settings, "emotions", speaker).shuffle(emotions)
    num_scripted = round(settings.scripted_share * len(emotions))
    for kind, part in (("script", emotions[:num_scripted]), ("impro", emotions[num_scripted:])):
        slots = [(n, worn) for n in range(max(1, round(len(part) / _TURNS_PER_DIALOG))) for worn in "FM"]
        for n, emotion in enumerate(part):
            turn, (scene, worn) = n // len(slots), slots[n % len(slots)]
            dialog = _dialog_name(speaker[:5], worn, kind, scene)
            utterance = f"{dialog}_{speaker[5]}{1 + turn + turn // 4:03d}"  # turns 0, 5, 10 … are of no class
            arousal, valence = AROUSAL[emotion], VALENCE[emotion]
            draw = generator(settings, "cues", utterance)
            shows_arousal = draw.random() < settings.arousal_cue_probability
            shows_valence = draw.random() < settings.valence_cue_probability
            happy_code = "hap" if draw.random() < _SHARE_HAPPY_CODE else "exc"
            yield {
                "utterance": utterance,
                "dialog": dialog,
                "session": speaker[:5],
                "speaker": speaker,
                "emotion": emotion,
                "text_kind": "scripted" if kind == "script" else "improvised",
                "line": f"{worn}{scene}{speaker[5]}",  # what is said in the same place of other sessions' scripts
                "arousal": arousal if shows_arousal else _OTHER[arousal],
                "valence": valence if shows_valence else _OTHER[valence],
                "code": happy_code if emotion == "happy" else emotion[:3],
            }


def _dialog_name(session: str, worn: str, kind: str, scene: int) -> str:
    """E.g. Ses01F_impro02 or Ses01F_script02_1; `worn` is F or M for who wore the markers. Two have a suffix."""
    suffixed = {("Ses03", "M", "impro", 0): "impro05a", ("Ses05", "M", "script", 0): "script01_1b"}
    plain = f"impro{scene + 1:02d}" if kind == "impro" else f"script{scene + 1:02d}_1"
    return f"{session}{worn}_{suffixed.get((session, worn, kind, scene), plain)}"


def num_sounds(num_utterances: int) -> tuple[int, int]:
    """How many utterances are a sound alone, and how many hold text and a sound: IEMOCAP's shares, at least one."""
    return tuple(max(1, round(share * num_utterances)) for share in (_SHARE_ONLY_SOUND, _SHARE_WITH_SOUND))


def _add_tags(plan: pd.DataFrame, settings: PocketCorpusConfig) -> None:
    """Draws utterances with a sound, whatever their emotion; those of a sound alone are improvised and show no cue."""
    draw = generator(settings, "tags")
    num_only, num_with = num_sounds(len(plan))
    only = draw.choice(plan.index[plan.text_kind == "improvised"], num_only, replace=False)
    having = np.concatenate([only, draw.choice(plan.index.difference(only), num_with, replace=False)])
    plan["tag"], plan["tag_first"] = "", False
    plan.loc[having, "tag"] = draw.choice(TAGS, len(having))
    plan.loc[having, "tag_first"] = draw.random(len(having)) < 0.5
    plan.loc[only, "text_kind"] = "sound"
    plan.loc[only, ["arousal", "valence"]] = ""


def _add_texts(plan: pd.DataFrame, settings: PocketCorpusConfig) -> None:
    """Gives each group of `_group_lines` one text and each other utterance its own, of the valence it shows."""
    used: set[str] = set()
    groups = _group_lines(plan, settings)
    plan.loc[[row for group in groups for row in group], "text_kind"] = "repeated"
    alone = plan.index[~plan.text_kind.isin(["repeated", "sound"])]
    texts: dict[int, str] = {}
    for group, short_share in [(g, _SHARE_SHORT_LINES) for g in groups] + [([row], _SHARE_SHORT) for row in alone]:
        draw = generator(settings, "text", plan.at[group[0], "utterance"])
        text = None
        while text is None or text in used:
            templates = SHORT_TEMPLATES if draw.random() < short_share else TEMPLATES
            text = make_sentence(plan.at[group[0], "valence"], templates, draw)
        used.add(text)
        texts |= dict.fromkeys(group, text)
    plan["text"] = [texts.get(row, "") for row in plan.index]
    tag_then_text, text_then_tag = plan.tag + " " + plan.text, plan.text + " " + plan.tag
    plan["transcript"] = tag_then_text.where(plan.tag_first, text_then_tag).str.strip()


def _group_lines(plan: pd.DataFrame, settings: PocketCorpusConfig) -> list[list[int]]:
    """Rows that say the same line: in different sessions, at the same place of the same script, with the same valence.

    Groups are formed until `repeated_text_share` of all utterances is in one, as far as the scripts allow, so that this
    share of a speaker's or a session's texts occurs verbatim in training. The cues stay as they were drawn.
    """
    draw = generator(settings, "lines")
    wanted = round(settings.repeated_text_share * len(plan))
    scripted = {u.Index: u for u in plan[plan.text_kind == "scripted"].itertuples()}
    free = {int(row): scripted[row] for row in draw.permutation(list(scripted))}
    keeps_emotion = iter(draw.permutation(np.arange(len(plan)) < _SAME_EMOTION * len(plan)))
    groups: list[list[int]] = []
    while wanted >= 2 and free:
        size = min(wanted, int(draw.choice(_GROUP_SIZES, p=_GROUP_SIZE_SHARES)))
        group = _draw_group(free, size, keeps_emotion)
        for row in group:
            del free[row]
        if len(group) > 1:
            groups.append(group)
            wanted -= len(group)
    return groups


def _draw_group(free: dict[int, Any], size: int, keeps_emotion: Iterator[bool]) -> list[int]:
    """The first free row and up to size - 1 rows of other sessions that can say the same line."""
    first = next(iter(free.values()))
    others = [u for u in free.values() if (u.line, u.valence) == (first.line, first.valence)]
    group = [first]
    while len(group) < size:
        same = next(keeps_emotion)
        sessions = {u.session for u in group}
        fitting = (u for u in others if u.session not in sessions and (u.emotion == first.emotion) == same)
        if (found := next(fitting, None)) is None:
            break
        group.append(found)
    return [u.Index for u in group]


def _add_prosody(plan: pd.DataFrame, settings: PocketCorpusConfig) -> None:
    """espeak-ng's settings of each utterance: the voice's own, moved by the arousal it shows and by chance."""
    voices = make_voices(settings)
    plan["voice"] = plan.speaker.map(_VOICE_SETS[settings.voices])
    chances = [generator(settings, "prosody", utterance).standard_normal(3) for utterance in plan.utterance]
    shown = zip(plan.speaker, plan.arousal, chances, strict=True)
    drawn = [make_prosody(settings, voices[speaker], arousal, chance) for speaker, arousal, chance in shown]
    plan[["rate_wpm", "pitch", "pitch_range"]] = drawn


def make_prosody(
    settings: PocketCorpusConfig, voice: Voice, arousal: str, chance: Sequence[float] = (0.0, 0.0, 0.0)
) -> tuple[int, int, int]:
    """Rate in words per minute, pitch and pitch range in espeak-ng's steps, for the arousal shown ("" for none).

    `chance`: standard normal draws for rate, pitch and range; without them, what the voice does on average.
    """
    half = {"high": 0.5, "low": -0.5, "": 0.0}[arousal]
    log_ratio = half * voice.rate_weight * np.log(settings.rate_ratio) + settings.rate_variation * chance[0]
    rate = voice.rate_wpm * np.exp(log_ratio)
    semitones = half * voice.pitch_weight * settings.pitch_shift_semitones
    pitch = voice.pitch + PITCH_STEPS_PER_SEMITONE * (semitones + settings.pitch_variation_semitones * chance[1])
    pitch_range = voice.pitch_range + half * voice.range_weight * settings.pitch_range_shift + 3 * chance[2]
    return round(float(np.clip(rate, 80, 450))), *(round(float(np.clip(x, 0, 99))) for x in (pitch, pitch_range))


def bayes_accuracy(settings: PocketCorpusConfig) -> dict[str, float]:
    """The accuracy that no model can pass, from "prosody", "words", "both", or the class balance alone ("neither").

    Computed exactly from the cue probabilities and the class balance. A model that remembers texts from training can
    pass it: repeated lines keep their emotion more often than their valence tells.
    """

    def shown(side_of: dict[str, str], probability: float) -> np.ndarray:
        """(2, E): probability that each emotion shows each side."""
        sides = sorted(set(side_of.values()))
        return np.array([[probability if side_of[e] == side else 1 - probability for e in EMOTIONS] for side in sides])

    counts = emotion_counts(settings.utterances_per_speaker)
    prior = np.array([counts[emotion] for emotion in EMOTIONS]) / sum(counts.values())  # (E,)
    prosody, words = shown(AROUSAL, settings.arousal_cue_probability), shown(VALENCE, settings.valence_cue_probability)
    joint = {  # probabilities of what is shown and each emotion: (sides shown, E)
        "neither": prior[None],
        "prosody": prosody * prior,
        "words": words * prior,
        "both": (prosody[:, None] * words[None] * prior).reshape(-1, len(EMOTIONS)),
    }
    num_utterances = settings.utterances_per_speaker * len(SPEAKERS)
    silent = num_sounds(num_utterances)[0] / num_utterances  # a sound alone shows neither cue
    return {cues: float((1 - silent) * table.max(axis=1).sum() + silent * prior.max()) for cues, table in joint.items()}
