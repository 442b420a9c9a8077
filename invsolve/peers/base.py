"""What the peers have in common: their signature and their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from operators import Gaussian, LinearOperator, NoiseModel, Operator
from operators.cg import each
from operators.langevin import log_likelihood

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

    ``restore(y, operator, denoiser, sigma_y, noise, settings)`` gives images ``[B, C, H, W]``; ``sigma_y`` is the level
    of white noise or, for methods that take more than that, a noise model. All random numbers come from
    ``noise(shape)``, standard normals ``[B, *shape]``. Call it under ``torch.no_grad``, not ``inference_mode``: DPS and
    Pi-GDM differentiate the denoiser.
    """

    restore: Callable[[Tensor, Operator, Denoise, float | NoiseModel, Noise, Any], Tensor]
    settings: type[Settings]
    max_steps: int | None = None  # None: any number
    spectral: bool = False  # needs an operator whose spectrum is known, see operators/spectral.py
    start: str = "sigma_max"  # the setting that is the first, and largest, noise level of the denoiser's input
    takes: tuple[type[NoiseModel], ...] = ()  # noise, of any differentiable operator; (): white, of linear ones alone

    def check(self, operator: Operator, sigma_y: float | NoiseModel) -> None:
        """Raises ValueError where the method is not defined for the operator or its noise."""
        model, linear = model_of(sigma_y), isinstance(operator, LinearOperator)
        if not is_white(operator, sigma_y) and not isinstance(model, self.takes):
            expected = ", ".join(f"{kind.__name__} noise" for kind in self.takes) or "white noise of linear operators"
            found = f"{type(model).__name__} noise" if linear or self.takes else type(operator).__name__
            raise ValueError(f"the method is for {expected} alone, not for {found}")


def model_of(sigma_y: float | NoiseModel) -> NoiseModel:
    return sigma_y if isinstance(sigma_y, NoiseModel) else Gaussian(sigma_y)


def has_one_level(sigma_y: float | NoiseModel) -> bool:
    """Whether the noise is white and of one level."""
    model = model_of(sigma_y)
    return isinstance(model, Gaussian) and not isinstance(model.sigma, Tensor)


def is_white(operator: Operator, sigma_y: float | NoiseModel) -> bool:
    """Whether the measurement is linear with white noise of one level, which all of the methods are for."""
    return isinstance(operator, LinearOperator) and has_one_level(sigma_y)


def weights_of(y: Tensor, model: NoiseModel) -> Tensor:
    """The inverse of the noise's deviation about y, value by value, relative to its root mean square."""
    inverse = 1 / model.deviations(y)
    return inverse / each(inverse.square().flatten(1).mean(1).sqrt(), y)


def score(x: Tensor, y: Tensor, operator: Operator, model: NoiseModel) -> Tensor:
    """The gradient of ``ln p(y | x)`` at images x ``[B, C, H, W]``."""
    return log_likelihood(x, y, operator, model)[1]
