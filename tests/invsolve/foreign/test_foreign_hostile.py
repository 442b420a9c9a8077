"""Hostile files through the real command: each is refused in one line, nothing is executed, no file is left."""

from __future__ import annotations

import contextlib
import pickle
import re
import time
import tracemalloc
from pathlib import Path

import pytest
from bomb_cases import BOMBS
from foreign_cases import refused
from hostile_cases import EXPLOITS, PLACES, register_extension

SECONDS = 10.0  # of this process, however busy the machine is; each takes a fraction of it
MEBIBYTES = 200


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "marker"


@pytest.mark.parametrize("case", EXPLOITS)
def test_the_exploits_work_on_pickle(marker, case):
    """Otherwise the next test would show nothing."""
    content = EXPLOITS[case][0](f"touch {marker}")
    register_extension()
    with contextlib.suppress(Exception):  # some fail after the deed
        pickle.loads(content)
    assert marker.exists()


@pytest.mark.parametrize("case", EXPLOITS | PLACES)
def test_an_exploit_is_refused_and_does_nothing(tmp_path, marker, case, capsys):
    make, message = (EXPLOITS | PLACES)[case]
    refused(tmp_path, make(f"touch {marker}"), re.escape(message), capsys)
    assert not marker.exists()


@pytest.mark.parametrize("case", BOMBS)
def test_a_bomb_is_refused_in_little_time_and_memory(tmp_path, case, capsys):
    make, message = BOMBS[case]
    content = make()
    started = time.process_time()
    tracemalloc.start()
    try:
        refused(tmp_path, content, message, capsys)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < SECONDS
    assert peak < MEBIBYTES << 20
