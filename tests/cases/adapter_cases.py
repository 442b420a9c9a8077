"""Seeded random tensors for the tests of the adapters."""

from __future__ import annotations

import torch

SHAPE = (3, 16, 12)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))
