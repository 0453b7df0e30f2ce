"""The process in which espeak-ng speaks: each utterance in a fork of an initialised, unused parent.

espeak-ng keeps state between the utterances of one process: the same sentence twice gives different samples. A fork of
a parent that has never spoken gives the same samples in any order. Forking is safe here because this file is run by
itself (`python -I -S espeak_process.py <library> <data folder>`), on the standard library alone, without threads.

Input: one JSON request a line, with the fields of `mtlser.corpus.espeak.Speech`. Output for each, in order: a line of
JSON with its sample_rate_hz, its num_bytes of samples, none where espeak-ng failed, and its phonemes, each with the
sample at which it starts; then so many bytes of little-endian 16-bit samples.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from typing import Any

# Values of espeak-ng's public header speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_POSITION_IN_CHARACTERS = 1
_TEXT_IS_UTF8 = 1
_PHONEME_EVENTS_IN_IPA = 1 | 2  # told while it speaks; the samples stay the same
_LIST_ENDS, _PHONEME = 0, 7
_PARAMETERS = {"rate_wpm": 1, "volume": 2, "pitch": 3, "pitch_range": 4}


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _initialise(library_path: str, data_path: str) -> tuple[ctypes.CDLL, int]:
    """The loaded library and its sample rate in Hz."""
    library = ctypes.CDLL(library_path)
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
        ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    sample_rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path.encode(), _PHONEME_EVENTS_IN_IPA)
    if sample_rate <= 0:
        sys.exit(f"espeak-ng did not initialise with the data folder {data_path}")
    return library, sample_rate


def _speak(library: ctypes.CDLL, request: dict[str, Any]) -> tuple[bytes, list[tuple[int, str]]]:
    """Samples of one request, b"" when espeak-ng refuses, and (first sample, phoneme) of each phoneme.

    Changes the library's state.
    """
    pieces: list[bytes] = []
    phonemes: list[tuple[int, str]] = []

    def collect(samples: Any, num_samples: int, events: Any) -> int:
        if samples and num_samples > 0:
            pieces.append(ctypes.string_at(samples, 2 * num_samples))
        number = 0
        while events and events[number].type != _LIST_ENDS:
            if events[number].type == _PHONEME:
                phonemes.append((events[number].sample, events[number].name.decode(errors="replace")))
            number += 1
        return 0

    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        return b"", []
    for name, number in _PARAMETERS.items():
        library.espeak_SetParameter(number, int(request[name]), 0)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # a breathy voice's noise is else seeded by the clock
    text = request["text"].encode()
    library.espeak_Synth(text, len(text) + 1, 0, _POSITION_IN_CHARACTERS, 0, _TEXT_IS_UTF8, None, None)
    library.espeak_Synchronize()
    return b"".join(pieces), phonemes


def _write(sample_rate_hz: int, samples: bytes = b"", phonemes: list[tuple[int, str]] | None = None) -> None:
    """One answer to standard output."""
    header = {"sample_rate_hz": sample_rate_hz, "num_bytes": len(samples), "phonemes": phonemes or []}
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + samples)
    sys.stdout.buffer.flush()


def _answers_in_fork(library: ctypes.CDLL, line: bytes, sample_rate_hz: int) -> bool:
    """Whether a child of this process, which has spoken nothing, could answer the request."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    try:
        _write(sample_rate_hz, *_speak(library, json.loads(line)))
        os._exit(0)  # no clean-up of the parent's state
    finally:
        os._exit(1)


def _answers_in_process(line: bytes) -> bool:
    """The same without fork, for Windows: a process that is started for this request, and so has not spoken either."""
    return subprocess.run([sys.executable, "-I", "-S", __file__, *sys.argv[1:3], "once"], input=line).returncode == 0


def main() -> None:
    """Answers every request until the requests end or the reader of the answers has gone."""
    library, sample_rate_hz = _initialise(sys.argv[1], sys.argv[2])
    for line in sys.stdin.buffer:
        if sys.argv[3:] == ["once"]:
            _write(sample_rate_hz, *_speak(library, json.loads(line)))
            continue
        forks = hasattr(os, "fork")
        answered = _answers_in_fork(library, line, sample_rate_hz) if forks else _answers_in_process(line)
        if not answered:
            _write(sample_rate_hz)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback of its own
    try:
        main()
    except BrokenPipeError:
        os._exit(1)
