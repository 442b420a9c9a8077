"""The figures of a training as they come: one JSON object a line in ``metrics.jsonl``, and curves in TensorBoard."""

from __future__ import annotations

import contextlib
import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..images.files import write_atomically
from ..runtime import processes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def finite_means(values: dict[str, list[Tensor]]) -> dict[str, float]:
    """Mean of each figure over processes and the steps in which it was finite; one that never was is left out."""
    stacked = {name: processes.mean(torch.stack(steps)) for name, steps in values.items()}
    kept = {name: steps[steps.isfinite()] for name, steps in stacked.items()}
    return {name: figures.mean().item() for name, figures in kept.items() if len(figures)}


class Log:
    """Appends figures to ``out/metrics.jsonl``, in the first process; a context manager.

    Where TensorBoard is installed they also go to ``out/tensorboard``. What an earlier run wrote after step ``first``,
    without a state of it to go on from, is removed, and in TensorBoard hidden.
    """

    def __init__(self, out: Path, first: int):
        self._out, self._path, self._first = out, out / "metrics.jsonl", first
        if processes.rank() == 0:
            keep_steps(self._path, first)

    @cached_property
    def _curves(self) -> SummaryWriter | None:
        """A writer of TensorBoard's curves; None where TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return None
        return SummaryWriter(str(self._out / "tensorboard"), purge_step=self._first + 1)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exception: object) -> None:
        if writer := vars(self).get("_curves"):  # if anything was written
            writer.close()

    def write(self, step: int, figures: dict[str, float], group: str = "training") -> None:
        """Figures of a step: of the training, or of another group that the line is to name."""
        if processes.rank():
            return
        line = {"step": step, **(figures if group == "training" else {group: figures})}
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")
        if self._curves:
            for name, value in figures.items():
                self._curves.add_scalar(f"{group}/{name}", value, step)


def keep_steps(path: Path, last: int) -> None:
    """Remove the lines of steps after ``last`` from a file of figures, and what is no line, as a torn last one."""
    before = path.read_bytes() if path.exists() else b""
    kept = []
    for line in before.split(b"\n"):
        with contextlib.suppress(ValueError, TypeError, LookupError):
            if json.loads(line)["step"] <= last:
                kept.append(line + b"\n")
    if b"".join(kept) != before:
        write_atomically(path, lambda file: file.writelines(kept))
