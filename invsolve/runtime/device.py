"""The device that ``--device auto|cpu|cuda|mps`` names."""

from __future__ import annotations

import torch

ABSENT = {
    "cuda": "CUDA was asked for (--device cuda) but torch finds no CUDA device here",
    "mps": "an Apple GPU was asked for (--device mps) but torch finds none here",
}


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA, else an Apple GPU, else the CPU. Raises ValueError for one that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if not available[name]:
        raise ValueError(ABSENT[name])
    return torch.device(name)


def with_float64(device: torch.device | str) -> torch.device:
    """The device itself, or in place of an Apple GPU, which has no float64, the CPU."""
    device = torch.device(device)
    return torch.device("cpu") if device.type == "mps" else device
