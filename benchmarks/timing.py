"""Times of calls that are made in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch

Call = Callable[[], object]
Seconds = tuple[float, float]  # of wall clock, of processor time


def in_turn(
    calls: Mapping[str, Call], repeat: int, device: torch.device | str = "cpu", at_least: float = 0.0
) -> dict[str, list[Seconds]]:
    """The seconds of each call in ``repeat`` rounds, after one that warms up. What runs on a GPU is waited for.

    A call that takes less than ``at_least`` seconds is made so often in a row that together they take as long; what
    counts then is one call's share.
    """
    device = torch.device(device)
    counts = {}
    for name, call in calls.items():
        _seconds(call, 1, device)
        counts[name] = math.ceil(at_least / _seconds(call, 1, device)[0]) if at_least else 1
    rounds = [{name: _seconds(call, counts[name], device) for name, call in calls.items()} for _ in range(repeat)]
    return {name: [found[name] for found in rounds] for name in calls}


def _seconds(call: Call, count: int, device: torch.device) -> Seconds:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(count):
        call()
    wait()
    return (time.perf_counter() - wall) / count, (time.process_time() - processor) / count


def medians(times: Sequence[Seconds]) -> Seconds:
    wall, processor = zip(*times, strict=True)
    return median(wall), median(processor)


def ratios(a: Sequence[Seconds], b: Sequence[Seconds]) -> Seconds:
    """How many times as long as ``b`` takes ``a``: the medians of the rounds' ratios, of wall clock and processor."""
    return medians([(x[0] / y[0], x[1] / y[1]) for x, y in zip(a, b, strict=True)])
