"""Two runs never share a folder: the second is refused in one line, and what died lets go."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from training_cases import TEACHER, write

from invsolve.cli import main
from invsolve.runtime import folder_lock
from invsolve.runtime.folder_lock import locked

pytest.importorskip("fcntl", reason="folders are locked where there is flock, not on Windows")
HINT = "wait for its end, or choose another --out"
HOLD = "import sys, time; from pathlib import Path; from invsolve.runtime.folder_lock import locked\n"
HOLD += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.0)


def test_a_folder_is_made_and_held_once_at_a_time(tmp_path):
    folder = tmp_path / "new" / "out"
    for _ in range(2):  # and is free again afterwards
        with locked(folder), locked(tmp_path / "other"), pytest.raises(ValueError, match="another run") as refused:
            locked(folder).__enter__()
    assert str(refused.value) == f"another run is at work in {folder}: {HINT}"
    with pytest.raises(RuntimeError), locked(folder):
        raise RuntimeError
    with locked(folder):
        assert list(folder.iterdir()) == []


def test_a_process_that_was_killed_lets_go(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another run"):
            locked(tmp_path).__enter__()
        holder.kill()
    with locked(tmp_path):
        pass


def test_a_run_that_ends_in_time_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "PATIENCE", 60.0)
    first, began = locked(tmp_path), time.monotonic()
    first.__enter__()
    threading.Timer(0.3, first.__exit__, (None, None, None)).start()
    with locked(tmp_path):
        assert time.monotonic() - began > 0.2


def test_a_file_system_without_locks_is_used_as_it_is(tmp_path, monkeypatch):
    def none(handle, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(folder_lock.fcntl, "flock", none)
    with locked(tmp_path), locked(tmp_path):
        pass


def test_a_training_is_refused_where_another_is_at_work(pictures, tmp_path, capsys):
    command = ["train", str(write(tmp_path / "t.yaml", TEACHER)), "--data", str(pictures), "--device", "cpu"]
    with locked(tmp_path / "out"):
        assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith(f"invsolve: error: another run is at work in {tmp_path / 'out'}: {HINT}\n")
    assert not (tmp_path / "out" / "state.pt").exists()
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
