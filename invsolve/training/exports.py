"""The weights' files that a training leaves in its folder, and which of them are still to be written."""

from __future__ import annotations

import math
from pathlib import Path

from ..checkpoint import CheckpointError, read_checkpoint
from .config import RunConfig
from .player import Player
from .posthoc import snapshot_path


def export_path(out: Path, name: str, std: float) -> Path:
    """Of the average of width ``std``; ``name`` is denoiser or generator."""
    return out / f"{name}-ema{std:g}.safetensors"


def last_step(config: RunConfig) -> int:
    return math.ceil(config.images / config.batch)


def snapshot_due(config: RunConfig, player: Player, step: int) -> bool:
    """Whether averages are stored after a step; there are none before the player's first update."""
    due = step % config.snapshot_every == 0 or step == last_step(config) if config.snapshot_every else False
    return due and player.steps > 0


def exports_missing(out: Path, name: str, config: RunConfig, player: Player, step: int) -> bool:
    """Whether a file is not there that no later step would write: a snapshot, or after the last step the weights."""
    stds = [average.std for average in player.averages]
    if snapshot_due(config, player, step) and not all(snapshot_path(out, step, std).is_file() for std in stds):
        return True
    exported = [images_seen(export_path(out, name, std)) for std in stds] if step >= last_step(config) else []
    return any(seen != step * config.batch for seen in exported)


def images_seen(path: Path) -> int | None:
    """Training images behind the weights in a file; None where it is not there or damaged."""
    try:
        return read_checkpoint(path)[0]["record"].get("images_seen")
    except CheckpointError:
        return None
