"""The weights' files that a training leaves in its folder, and which of them are still to be written."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ..priors.file import CheckpointError, read_checkpoint
from ..specs.recipe import RunConfig
from .identity import check_identity
from .posthoc import snapshot_path
from .trainee import Trainee


def export_path(out: Path, name: str, std: float) -> Path:
    """Of the average of width ``std``; ``name`` is denoiser or generator."""
    return out / f"{name}-ema{std:g}.safetensors"


def last_step(config: RunConfig) -> int:
    return math.ceil(config.images / config.batch)


def snapshot_due(config: RunConfig, trainee: Trainee, step: int) -> bool:
    """Whether averages are stored after a step; there are none before the trainee's first update."""
    due = step % config.snapshot_every == 0 or step == last_step(config) if config.snapshot_every else False
    return due and trainee.steps > 0


def snapshot_record(trainee: Trainee, identity: dict[str, object]) -> dict[str, object]:
    """What the record of a snapshot says beyond that of weights: updates so far, and the training that it is of."""
    return {"steps": trainee.steps, "training": identity}


def exports_missing(
    out: Path, name: str, config: RunConfig, trainee: Trainee, identity: dict[str, object], step: int
) -> bool:
    """Whether a file is not there that no later step would write: a snapshot, or after the last step the weights.

    A snapshot of another training than that of this ``identity`` does not count.
    """
    stds = [average.std for average in trainee.averages]
    due = snapshot_due(config, trainee, step)
    if due and not all(is_snapshot(snapshot_path(out, step, std), identity) for std in stds):
        return True
    exported = [images_seen(export_path(out, name, std)) for std in stds] if step >= last_step(config) else []
    return any(seen != step * config.batch for seen in exported)


def is_snapshot(path: Path, identity: dict[str, object]) -> bool:
    """Whether a file is a snapshot, and as far as it says so of the training of this ``identity``."""
    try:
        record = read_checkpoint(path)[0]["record"]
        check_identity(record.get("training", {}), json.loads(json.dumps(identity)))  # JSON has lists for tuples
    except ValueError:  # a CheckpointError too
        return False
    return True


def images_seen(path: Path) -> int | None:
    """Training images behind the weights in a file; None where it is not there or damaged."""
    try:
        return read_checkpoint(path)[0]["record"].get("images_seen")
    except CheckpointError:
        return None
