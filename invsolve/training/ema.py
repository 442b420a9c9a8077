"""Power-function exponential moving average of weights (Karras et al. 2024, section 3.1)."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from ..specs.recipe import LARGEST_STD


def exponent_of(std: float) -> float:
    """Exponent gamma of the averaging profile ``t^gamma`` with relative width ``std`` (equation 126)."""
    if not 0 < std <= LARGEST_STD:
        raise ValueError(f"the relative width of the average must be above 0 and at most {LARGEST_STD}, found {std}")
    roots = np.roots([1, 7, 16 - std**-2, 12 - std**-2])
    return float(roots.real.max())


class PowerEMA:
    """Average with weights ``t^gamma`` over the steps so far: ``theta <- beta theta + (1 - beta) w``.

    ``beta_t = (1 - 1/t)^(gamma + 1)`` (equation 127), so that no early step is remembered for ever and the width of
    the average grows with the run. ``network`` is for use, not training: it computes without dropout.
    """

    def __init__(self, network: nn.Module, std: float):
        self.std = std
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._exponent = exponent_of(std)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Fold in the weights after optimiser step ``step`` (1, 2, ...)."""
        beta = (1 - 1 / step) ** (self._exponent + 1)
        averages, weights = list(self.network.parameters()), [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(averages, weights, 1 - beta)
