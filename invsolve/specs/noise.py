"""The kinds of noise that a task can have beside white noise, with their parameters in YAML."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

from .fields import Bounds, Checked, Positive

if TYPE_CHECKING:
    from operators import NoiseModel

Levels = Annotated[int, Bounds(at_least=2, at_most=256)]


@dataclass(frozen=True)
class NoiseKind(Checked):
    """One kind of noise model. Its fields are the keys of a task's ``noise``."""

    def model(self) -> NoiseModel:
        import operators

        return self.build(operators)

    def build(self, operators: ModuleType) -> NoiseModel:
        """:meth:`model`, from the package ``operators``, which is not imported before."""
        raise NotImplementedError


@dataclass(frozen=True)
class PoissonNoise(NoiseKind):
    """Photon counts."""

    gain: Positive  # photons that white sends to a pixel
    read_noise: Annotated[float, Bounds(at_least=0, at_most=2)] = 0.0  # level of the white noise on [-1, 1] beside it

    def build(self, operators):
        gain, sigma = float(self.gain), float(self.read_noise)
        return operators.PoissonGaussian(gain, sigma) if sigma else operators.Poisson(gain)


@dataclass(frozen=True)
class QuantizedNoise(NoiseKind):
    """Rounding to a few levels from black to white."""

    levels: Levels

    def build(self, operators):
        return operators.Quantized(2 / (self.levels - 1), -1.0)


@dataclass(frozen=True)
class SaturatedNoise(NoiseKind):
    """White noise of level sigma and then saturation at black and white."""

    sigma: Annotated[float, Bounds(above=0, at_most=2)]

    def build(self, operators):
        return operators.Saturated(float(self.sigma))


NOISES: dict[str, type[NoiseKind]] = {
    "poisson": PoissonNoise,
    "quantized": QuantizedNoise,
    "saturated": SaturatedNoise,
}
