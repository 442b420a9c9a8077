"""The figures of a training as they come: one JSON object a line in ``metrics.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from . import processes


def finite_means(values: dict[str, list[Tensor]]) -> dict[str, float]:
    """Mean of each figure over processes and the steps in which it was finite; one that never was is left out."""
    stacked = {name: processes.mean(torch.stack(steps)) for name, steps in values.items()}
    kept = {name: steps[steps.isfinite()] for name, steps in stacked.items()}
    return {name: figures.mean().item() for name, figures in kept.items() if len(figures)}


class Log:
    """Appends figures to ``out/metrics.jsonl``, in the first process."""

    def __init__(self, out: Path):
        self._path = out / "metrics.jsonl"

    def write(self, step: int, figures: dict) -> None:
        if processes.rank():
            return
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
