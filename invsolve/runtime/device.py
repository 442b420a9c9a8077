"""The device that ``--device auto|cpu|cuda`` names."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one and else the CPU. Raises ValueError for ``cuda`` where there is none."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("CUDA was asked for (--device cuda) but torch finds no CUDA device here")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
