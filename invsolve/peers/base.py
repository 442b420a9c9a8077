"""What the peers have in common: their signature and their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise
from ..specs.fields import Checked

Denoise = Callable[[Tensor, float], Tensor]  # (u [B, C, H, W], sigma) -> E[x | u], on the scale of images in [-1, 1]


@dataclass(frozen=True)
class Settings(Checked):
    """Settings of a peer, with the published values as defaults. Noise levels are for images in [-1, 1]."""

    published: ClassVar[Mapping[str, Mapping[str, float]]] = {}  # by kind of degradation, where not the defaults
    steps: int

    @property
    def evaluations(self) -> int:
        """Network evaluations (forward) per image."""
        return self.steps


@dataclass(frozen=True)
class Peer:
    """A published method, of the paper that its file names.

    ``restore(y, operator, denoiser, sigma_y, noise, settings)`` gives images ``[B, C, H, W]``. All random numbers come
    from ``noise(shape)``, standard normals ``[B, *shape]``. Call it under ``torch.no_grad``, not ``inference_mode``:
    DPS and Pi-GDM differentiate the denoiser.
    """

    restore: Callable[[Tensor, LinearOperator, Denoise, float, Noise, Any], Tensor]
    settings: type[Settings]
    max_steps: int | None = None  # None: any number
    spectral: bool = False  # needs an operator whose spectrum is known, see operators/spectral.py
    start: str = "sigma_max"  # the setting that is the first, and largest, noise level of the denoiser's input
