"""A prior whose samples can be looked at while they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .denoiser import Noise, Prior

Seen = Callable[[Tensor], None]


class Watched:
    """A prior that gives each of its samples ``[B, C, H, W]`` to ``seen`` too, which may end the sampling by raising.

    All else is the wrapped prior's.
    """

    def __init__(self, prior: Prior, seen: Seen):
        self.prior, self.seen = prior, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self.prior, name)

    def sample(self, u: Tensor, sigma: float, noise: Noise, **over_noising: float | None) -> Tensor:
        x = self.prior.sample(u, sigma, noise, **over_noising)
        self.seen(x)
        return x
