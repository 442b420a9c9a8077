"""Settings of the sampler, and checks of numbers."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace


def check_integer(name: str, value: object, smallest: int) -> None:
    """Raises TypeError for what is no integer, ValueError for one below ``smallest``."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r} but must be an integer")
    if value < smallest:
        raise ValueError(f"{name} is {value} but must be at least {smallest}")


def check_number(
    name: str,
    value: object,
    at_least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> None:
    """Raises TypeError for what is no number, ValueError for one out of range; NaN is out of any."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r} but must be a number")
    if not (at_least <= value <= at_most and above < value < below):
        bounds = {"at least": at_least, "above": above, "below": below, "at most": at_most}
        wanted = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if math.isfinite(bound))
        raise ValueError(f"{name} is {value} but must be finite and {wanted}")


@dataclass(frozen=True)
class FewStep:
    """What makes few evaluations restore better, at the cost of the sampler's exact law; 0 switches each off.

    ``benchmarks/ablation.py`` measures what each buys; ``invsolve/solver/sampler.py`` has the equations. Below, x_i is
    the prior's sample at the i-th noise level sigma.

    Raises:
        ValueError: a value is out of range; TypeError: it is not a number.
    """

    renoise: float = 0.0  # re-noising of measured components, 0 to 1: at 1 u has white noise of level sigma
    renoise_first: float | None = None  # the same, at the first noise level; None: as renoise
    momentum: float = 0.0  # a: likelihood samples are made near x_i + a (x_i - x_{i-1}), 0 <= a < 1
    overrelaxation: float = 0.0  # Adler's over-relaxation of the likelihood samples, 0 to below 1
    output_ema: float = 0.0  # c: the result is the average x_out <- c x_out + (1 - c) x_i, 0 <= c < 1
    sigma_inflation: float = (
        0.0  # the network is given (1 + this) sigma at the first level, falling to sigma at the last
    )

    def __post_init__(self) -> None:
        for name in ("momentum", "overrelaxation", "output_ema"):
            check_number(name, getattr(self, name), at_least=0, below=1)
        check_number("sigma_inflation", self.sigma_inflation, at_least=0)
        check_number("renoise", self.renoise, at_least=0, at_most=1)
        if self.renoise_first is not None:
            check_number("renoise_first", self.renoise_first, at_least=0, at_most=1)


@dataclass(frozen=True)
class Settings:
    """Settings of the sampler. Noise levels are on the images' scale [-1, 1].

    The defaults are neutral: the sampler of the paper, with the true noise level and the prior's own samples. See
    :func:`invsolve.default_settings` for values that serve the shipped prior.

    Raises:
        ValueError: a value is out of range; TypeError: it is not a number.
    """

    sigma_max: float = 2.0  # first noise level of the annealing
    sigma_min: float = 0.1  # last noise level
    exponent: float = 3.0  # of the Karras schedule between them (1: linear; larger: more small levels)
    sigma_likelihood: float | None = None  # noise level of y that likelihood samples assume; None: the true sigma_y
    warm_start: bool = False  # make the first likelihood sample near the Wiener estimate instead of near gray
    gamma: float | None = None  # over-noising of a generative denoiser; None: what it was trained with
    few_step: FewStep = FewStep()

    def __post_init__(self) -> None:
        for name in ("sigma_max", "sigma_min", "exponent"):
            check_number(name, getattr(self, name), above=0)
        for name in ("sigma_likelihood", "gamma"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), at_least=0)
        if self.sigma_min > self.sigma_max:
            raise ValueError(f"sigma_min is {self.sigma_min} but must not exceed sigma_max, {self.sigma_max}")
        if not isinstance(self.warm_start, bool):
            raise TypeError(f"warm_start is {self.warm_start!r} but must be true or false")
        if not isinstance(self.few_step, FewStep):
            raise TypeError(f"few_step is a {type(self.few_step).__name__} but must be a FewStep")

    def without_over_noising(self) -> Settings:
        """These settings for a prior without over-noising: ``gamma`` and ``sigma_inflation`` switched off."""
        return replace(self, gamma=None, few_step=replace(self.few_step, sigma_inflation=0.0))
