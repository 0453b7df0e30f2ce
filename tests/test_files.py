import json
import os
import platform

import pytest

from mtlser.files import digest, whole_file, whole_folder, write_json


def test_digest_keeps_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("ab") == digest("ab")


def test_a_file_that_failed_leaves_the_old_one_and_no_rest(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text()) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_failed_does_not_exist(tmp_path):
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "made") as partial:
        (partial / "half").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_finished_first_is_kept(tmp_path):
    with whole_folder(tmp_path / "made") as partial:
        (partial / "mine").write_text("")
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "theirs").write_text("")
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["theirs"]
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_whole_file_makes_its_folder(tmp_path):
    with whole_file(tmp_path / "deep" / "a.txt") as partial:
        partial.write_text("a")
    assert (tmp_path / "deep" / "a.txt").read_text() == "a"


def test_what_a_dead_process_left_is_removed_and_a_living_one_s_is_not(tmp_path):
    host = platform.node()
    dead = tmp_path / f"a.json.{host}.4194999.partial"  # above Linux's highest process id
    living = tmp_path / f"a.json.{host}.{os.getppid()}.partial"
    folder = tmp_path / f"made.{host}.4194999.partial"
    dead.write_text("half")
    living.write_text("half")
    (folder / "deep").mkdir(parents=True)
    write_json(tmp_path / "a.json", {})
    with whole_folder(tmp_path / "made"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.json", living.name, "made"])
