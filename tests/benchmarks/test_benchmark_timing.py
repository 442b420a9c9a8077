"""``benchmarks/timing.py``: what is called, how often, in which order, and what counts."""

from __future__ import annotations

import time

import pytest
from benchmark_scripts import load_script


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Wall clock and processor time that stand still unless a call moves them."""
    now = [0.0, 0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: now[1])
    return now


@pytest.fixture
def script():
    return load_script("timing")


def moving(clock: list[float], seconds: list[float], calls: list[str], name: str):
    left = iter(seconds)

    def call() -> None:
        calls.append(name)
        taken = next(left)
        clock[0] += taken
        clock[1] += taken / 2

    return call


def test_calls_are_made_in_turn_after_a_round_that_does_not_count(script, clock):
    calls = []
    a, b = moving(clock, [100, 4, 2, 9], calls, "a"), moving(clock, [100, 2, 2, 3], calls, "b")
    times = script.in_turn({"a": a, "b": b}, 3)
    assert calls == ["a", "b"] * 4
    assert times == {"a": [(4, 2), (2, 1), (9, 4.5)], "b": [(2, 1), (2, 1), (3, 1.5)]}
    assert script.medians(times["a"]) == (4, 2)
    assert script.ratios(times["a"], times["b"]) == (2, 2)  # of the ratios 2, 1 and 3; that of the medians is 2, too
    assert script.ratios([(1, 1), (6, 6), (8, 8)], [(1, 1), (2, 2), (9, 9)]) == (1, 1)  # that of the medians is 3


def test_short_calls_are_repeated(script, clock):
    calls = []
    short, long = moving(clock, [0.25] * 99, calls, "short"), moving(clock, [2.0] * 99, calls, "long")
    times = script.in_turn({"short": short, "long": long}, 2, at_least=0.9)
    assert calls == ["short", "short", "long", "long"] + (["short"] * 4 + ["long"]) * 2
    assert times == {"short": [(0.25, 0.125)] * 2, "long": [(2.0, 1.0)] * 2}
