"""How measurements scatter about A(x): white noise, photon counts, rounding, saturation.

A noise model samples measurements (`sample`), says how likely they are (`log_likelihood`) and how far they lie from
A(x) (`deviation`). All of it is value by value; y and A(x) are `[B, ...]` on the scale of images, [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import pdtr, pdtrik
from torch import Tensor
from torch.special import log_ndtr

from operators.cg import each
from operators.checks import check_number, expands, written
from operators.precision import real_type

Noise = Callable[[tuple[int, ...]], Tensor]
DARK = 0.01  # photons that are counted where there is no light
WITHIN = 6.0  # standard deviations of the read noise within which photon counts are summed over
NEVER = -1e30  # logarithm of a probability of 0, whose derivatives are finite
ROUNDING = 1e-4  # of a measurement on [-1, 1]


class NoiseModel:
    """The law of y given z = A(x): the base class of all noise models."""

    def sample(self, z: Tensor, noise: Noise) -> Tensor:
        """A measurement y of z, from `noise(shape)`, standard normals `[B, *shape]`."""
        raise NotImplementedError(f"{type(self).__name__} must define sample")

    def log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        """ln p(y | z) for each value, up to what does not depend on z; differentiable in z where it is finite."""
        raise NotImplementedError(f"{type(self).__name__} must define log_likelihood")

    def deviation(self, z: Tensor) -> Tensor | float:
        """The standard deviation of y about z, in the shape of z or one that expands to it."""
        raise NotImplementedError(f"{type(self).__name__} must define deviation")

    def deviations(self, z: Tensor) -> Tensor:
        """`deviation` in the shape of z."""
        return torch.as_tensor(self.deviation(z), dtype=real_type(z.dtype), device=z.device).expand(z.shape)

    def variance(self, z: Tensor) -> Tensor:
        """The mean square of the deviations of each image, `[B]`."""
        return self.deviations(z).square().flatten(1).mean(1)

    def check(self, y: Tensor) -> None:
        """Raises ValueError where y cannot be a measurement with this noise."""

    def select(self, indices: list[int], y: Tensor) -> NoiseModel:
        """The model for some of the measurements y."""
        return self


@dataclass(frozen=True)
class Gaussian(NoiseModel):
    """y = z + sigma n, n standard normal; of complex measurements the real and the imaginary part each.

    `sigma` is a number, a tensor `[B]` of one for each image, or a map: a tensor that expands to y, `[B|1, ...]`.

    Raises:
        ValueError: it is negative or not finite, or does not fit the measurement.
    """

    sigma: float | Tensor

    def __post_init__(self) -> None:
        check_number("sigma_y", self.sigma)

    def sample(self, z: Tensor, noise: Noise) -> Tensor:
        if is_zero(self.sigma):
            return z
        return z + self.deviation(z) * normals(noise, z)

    def log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        return -(y - z).abs().square() / (2 * self.deviation(z) ** 2)

    def deviation(self, z: Tensor) -> Tensor | float:
        if not isinstance(self.sigma, Tensor) or self.sigma.ndim <= 1:
            return per_image("sigma_y", self.sigma, z)
        sigma = self.sigma.to(z.device, real_type(z.dtype))
        if not expands(sigma, z.shape):
            raise ValueError(f"sigma_y is a map {written(sigma.shape)} but the measurements are {written(z.shape)}")
        return sigma

    def check(self, y: Tensor) -> None:
        self.deviation(y)

    def select(self, indices: list[int], y: Tensor) -> Gaussian:
        return replace(self, sigma=_selected(self.sigma, indices, y))


@dataclass(frozen=True)
class Poisson(NoiseModel):
    """Photon counts: k ~ Poisson(gain (z + 1) / 2), y = 2 k / gain - 1.

    `gain` is the number of photons that white, z = 1, sends to a pixel; black, z = -1, sends none, but a sensor counts
    a hundredth of one in the dark. The measurement has the scale of images: counts k become one by `2 k / gain - 1`.

    Raises:
        ValueError: the gain is not positive; y has values below -1, negative counts.
    """

    gain: float

    def __post_init__(self) -> None:
        check_number("gain", self.gain, positive=True)

    def sample(self, z: Tensor, noise: Noise) -> Tensor:
        return 2 * poisson_counts(self.rate(z), noise) / self.gain - 1

    def log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        rate = self.rate(z)
        return self.counts(y) * rate.log() - rate

    def deviation(self, z: Tensor) -> Tensor:
        """Of counts: 2 sqrt(rate) / gain, for a rate of at least one photon."""
        return self.rate(z).clamp(min=1).sqrt() * (2 / self.gain)

    def check(self, y: Tensor) -> None:
        _refuse_complex(y, self)
        if y.device.type == "cpu" and (negative := int((y < -1 - ROUNDING).sum())):
            raise ValueError(f"y has {negative} values below -1, negative photon counts (y is 2 counts / gain - 1)")

    def rate(self, z: Tensor) -> Tensor:
        """Photons expected."""
        return (self.gain * (z + 1) / 2).clamp(min=DARK)

    def counts(self, y: Tensor) -> Tensor:
        return self.gain * (y + 1) / 2


@dataclass(frozen=True)
class PoissonGaussian(Poisson):
    """Photon counts and the white noise of level `sigma` of what reads them: y = 2 k / gain - 1 + sigma n.

    The likelihood is the sum over all counts k within 6 sigma of y.

    Raises:
        ValueError: the gain or sigma is not positive.
    """

    sigma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("sigma", self.sigma, positive=True)

    def sample(self, z: Tensor, noise: Noise) -> Tensor:
        return super().sample(z, noise) + self.sigma * normals(noise, z)

    def log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        rate, found = self.rate(z), self.counts(y)
        near, deviation = found.round(), self.sigma * self.gain / 2  # in counts
        reach = math.ceil(WITHIN * deviation)
        total = torch.full_like(rate, -torch.inf)
        for offset in range(-reach, reach + 1):
            k = near + offset
            term = k * rate.log() - rate - torch.lgamma(k.clamp(min=0) + 1) - (found - k) ** 2 / (2 * deviation**2)
            total = torch.logaddexp(total, term.where(k >= 0, NEVER))
        return total

    def deviation(self, z: Tensor) -> Tensor:
        return (super().deviation(z).square() + self.sigma**2).sqrt()

    def check(self, y: Tensor) -> None:
        _refuse_complex(y, self)


@dataclass(frozen=True)
class Quantized(NoiseModel):
    """Rounding: y is z at the nearest of `origin + k step`, k an integer; so z lies within half a step of y.

    `step` and `origin` are numbers, or tensors that expand to y. A step of infinity leaves a value unknown.

    Raises:
        ValueError: the step is not positive.
    """

    step: float | Tensor
    origin: float | Tensor = 0.0

    def __post_init__(self) -> None:
        smallest = self.step.min() if isinstance(self.step, Tensor) else self.step
        if not smallest > 0:
            raise ValueError(f"step is {float(smallest)} but must be positive")

    def sample(self, z: Tensor, noise: Noise) -> Tensor:
        step, origin = self.steps(z), torch.as_tensor(self.origin, dtype=z.dtype, device=z.device)
        return torch.where(step < torch.inf, ((z - origin) / step).round() * step, 0) + origin

    def log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        """0 where z rounds to y, minus infinity elsewhere."""
        return torch.where((z - y).abs() <= self.steps(y) / 2, 0.0, -torch.inf)

    def deviation(self, z: Tensor) -> Tensor:
        """That of a uniform law, step / sqrt(12)."""
        return self.steps(z) / math.sqrt(12)

    def check(self, y: Tensor) -> None:
        _refuse_complex(y, self)

    def steps(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self.step, dtype=like.dtype, device=like.device)

    def interval(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest z that rounds to y."""
        half = self.steps(y) / 2
        return y - half, y + half

    def select(self, indices: list[int], y: Tensor) -> Quantized:
        return replace(self, step=_selected(self.step, indices, y), origin=_selected(self.origin, indices, y))


@dataclass(frozen=True)
class Saturated(NoiseModel):
    """A sensor that saturates: y = z + sigma n, cut off at `low` and `high`.

    Raises:
        ValueError: sigma is negative, or low is not below high.
    """

    sigma: float
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, positive=True)
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} but must be below high, {self.high}")

    def sample(self, z: Tensor, noise: Noise) -> Tensor:
        return (z + self.sigma * normals(noise, z)).clamp(self.low, self.high)

    def log_likelihood(self, y: Tensor, z: Tensor) -> Tensor:
        """Of a censored normal variable (Tobin 1958)."""
        within = -((y - z) ** 2) / (2 * self.sigma**2)
        above, below = log_ndtr((z - self.high) / self.sigma), log_ndtr((self.low - z) / self.sigma)
        return torch.where(y >= self.high, above, torch.where(y <= self.low, below, within))

    def deviation(self, z: Tensor) -> float:
        return self.sigma

    def check(self, y: Tensor) -> None:
        _refuse_complex(y, self)


def poisson_counts(rate: Tensor, noise: Noise) -> Tensor:
    """Counts of the Poisson law with these means, by the inverse of its distribution function at those of normals.

    Computed on the CPU, for which SciPy has that inverse.
    """
    share = torch.special.ndtr(noise(tuple(rate.shape[1:])).to("cpu", torch.float64)).numpy()
    mean = rate.to("cpu", torch.float64).numpy()
    above = np.ceil(pdtrik(share, mean))
    below = np.maximum(above - 1, 0)
    return torch.from_numpy(np.where(pdtr(below, mean) >= share, below, above)).to(rate)  # against rounding upwards


def normals(noise: Noise, like: Tensor) -> Tensor:
    """Standard normals in the shape of `like`; of complex tensors the real and the imaginary part are."""
    shape = tuple(like.shape[1:])
    return torch.view_as_complex(noise((*shape, 2))) if like.is_complex() else noise(shape)


def torch_noise(like: Tensor) -> Noise:
    """Normals for the images of a batch from torch's generator of their device."""
    return lambda shape: torch.randn(len(like), *shape, dtype=real_type(like.dtype), device=like.device)


def per_image(name: str, value: float | Tensor, like: Tensor) -> float | Tensor:
    """A number as a float; a tensor of one value, or of one for each image, in the shape to multiply `like [B, ...]`.

    Raises ValueError for another number of values, and for values that are negative or not finite.
    """
    check_number(name, value)
    if not isinstance(value, Tensor):
        return float(value)
    if value.numel() not in (1, len(like)):
        raise ValueError(f"{name} has {value.numel()} values but there are {len(like)} images")
    return each(value.to(like.device, real_type(like.dtype)), like)


def is_zero(value: float | Tensor) -> bool:
    """Whether a value is the number 0; a tensor is not looked at, which could make the CPU wait for its device."""
    return not isinstance(value, Tensor) and value == 0


def _selected(value: float | Tensor, indices: list[int], y: Tensor) -> float | Tensor:
    """Of a tensor of one value, or one map, for each measurement those of some of them."""
    own = isinstance(value, Tensor) and value.ndim in (1, y.ndim) and len(value) == len(y) > 1
    return value[indices] if own else value


def _refuse_complex(y: Tensor, model: NoiseModel) -> None:
    if y.is_complex():
        raise ValueError(f"y is complex but {type(model).__name__} noise is that of real measurements")
