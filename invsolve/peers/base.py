"""What the peers have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from operators import LinearOperator

from ..priors.denoiser import Noise

Denoise = Callable[[Tensor, float], Tensor]  # (u [B, C, H, W], sigma) -> E[x | u], images and levels on [-1, 1]


class Settings(Protocol):
    """A frozen dataclass whose defaults are the published ones, see also :class:`Peer`."""

    steps: int

    @property
    def evaluations(self) -> int: ...  # of the network, forward, per image


@dataclass(frozen=True)
class Peer:
    """A published method, of the paper that its file names.

    ``restore(y, operator, denoiser, sigma_y, noise, settings)`` gives images ``[B, C, H, W]``.
    Every random number comes from ``noise(shape)``, standard normals ``[B, *shape]`` from a stream of each image.
    ``sigma_y`` and all levels are on the scale of images in [-1, 1]. Call it under ``torch.no_grad``: DPS and Pi-GDM
    turn gradients on for themselves, which ``torch.inference_mode`` would not let them. ``most`` is the largest number
    of steps, None for any; a ``spectral`` method treats every singular value of the operator by itself, and takes only
    operators whose spectrum is known (see ``operators/spectral.py``). ``first`` is the setting that is the highest
    level at which the denoiser is evaluated. ``published`` has the published settings of some kinds of degradation
    (``Task.kind``) where they are not the defaults.
    """

    restore: Callable[[Tensor, LinearOperator, Denoise, float, Noise, Any], Tensor]
    settings: Callable[..., Settings]
    most: int | None = None
    spectral: bool = False
    first: str = "sigma_max"
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
