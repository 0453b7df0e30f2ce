"""Calls that train at the same time have no more workers than one of them would."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from mtlser.runs.turns import worker_number
from smoke import clean_environment


def never() -> bool:
    return False


def test_each_holder_has_a_number_of_its_own(tmp_path):
    with worker_number(tmp_path, 3, never) as one, worker_number(tmp_path, 3, never) as two:
        assert sorted([one, two]) == [0, 1]
    with worker_number(tmp_path, 3, never) as again:
        assert again == 0


def test_who_finds_none_free_waits_for_one(tmp_path):
    asked = threading.Event()

    def give_up() -> bool:
        asked.set()
        return False

    def wait() -> int | None:
        with worker_number(tmp_path, 1, give_up) as number:
            return number

    with ThreadPoolExecutor(1) as pool:
        with worker_number(tmp_path, 1, never):
            waiting = pool.submit(wait)
            assert asked.wait(60) and not waiting.done()
        assert waiting.result(60) == 0


def test_who_gives_up_has_none(tmp_path):
    with worker_number(tmp_path, 1, never), worker_number(tmp_path, 1, lambda: True) as number:
        assert number is None


def test_an_error_frees_the_number_and_is_raised(tmp_path):
    for error in (ValueError("x"), TimeoutError("of the block itself")):
        try:
            with worker_number(tmp_path, 1, never):
                raise error
        except (ValueError, TimeoutError) as raised:
            assert raised is error
    with worker_number(tmp_path, 1, never) as number:
        assert number == 0


def test_a_killed_holder_frees_its_number(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from mtlser.runs.turns import worker_number\n"
        "with worker_number(Path(sys.argv[1]), 1, lambda: False) as number: print(number, flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=clean_environment()) as holder:
        assert holder.stdout.readline() == "0\n"
        holder.kill()
    with worker_number(tmp_path, 1, never) as number:
        assert number == 0
