"""The figures of a training as they come: one JSON object a line in ``metrics.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor


def finite_means(values: dict[str, list[Tensor]]) -> dict[str, float]:
    """Mean of each figure over the steps in which it was finite; a figure that never was is left out."""
    kept = {name: (stacked := torch.stack(steps))[stacked.isfinite()] for name, steps in values.items()}
    return {name: figures.mean().item() for name, figures in kept.items() if len(figures)}


class Log:
    """Appends figures to ``out/metrics.jsonl``."""

    def __init__(self, out: Path):
        self._path = out / "metrics.jsonl"

    def write(self, step: int, figures: dict) -> None:
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
