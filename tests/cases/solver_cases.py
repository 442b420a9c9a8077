"""Operators of many kinds, their measurements, and a tiny network, shared by the tests of the solver."""

from __future__ import annotations

import torch
from torch import nn

from invsolve.runtime.random_streams import NoiseStreams
from operators import CircularConvolution, GaussianBlur, LinearOperator, Mask, Resize

SHAPE = (3, 16, 12)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TinyNetwork(nn.Module):
    """A small random network with the contract of a conditional one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(6, 16, 3, padding=1)
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x, level, condition, condition_level):
        hidden = self.mix(torch.cat([x, condition], dim=1)) + level[:, None, None, None]
        return self.out(torch.tanh(hidden))


def masks(batch: int) -> torch.Tensor:
    return (torch.rand(batch, 1, *SHAPE[1:], generator=seeded(2)) > 0.5).float()


def kernels(batch: int) -> torch.Tensor:
    kernel = torch.rand(batch, 1, 5, 5, generator=seeded(3))
    return kernel / kernel.sum(dim=(-2, -1), keepdim=True)


OPERATORS = {
    "one mask": lambda: Mask(SHAPE, masks(1)[0]),
    "a mask per image": lambda: Mask(SHAPE, masks(8)),
    "a kernel per image": lambda: CircularConvolution(SHAPE, kernels(8)),
    "blur": lambda: GaussianBlur(SHAPE, 1.5),
    "super-resolution": lambda: Resize(SHAPE, 4),
    "mask per image of a blur": lambda: Mask(SHAPE, masks(8)) @ GaussianBlur(SHAPE, 1.0),
}


def measurements(operator: LinearOperator, batch: int = 8, sigma_y: float = 0.05) -> torch.Tensor:
    x = torch.randn(batch, *operator.in_shape, generator=seeded(4)).clamp(-1, 1)
    return operator.measure(x, sigma_y, NoiseStreams(9, range(batch)))
