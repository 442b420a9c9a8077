"""What may be tuned of the sampler, and checks of numbers."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What a task may tune of the sampler. Noise levels are on the images' scale [-1, 1].

    What is left out is neutral: the sampler of the paper, with the true noise level and the prior's own draws. See
    :func:`invsolve.default_settings` for values that serve the shipped prior.

    Raises:
        ValueError: a value is out of range; TypeError: it is not a number.
    """

    sigma_max: float = 2.0  # first noise level of the annealing
    sigma_min: float = 0.1  # last noise level
    exponent: float = 3.0  # of the Karras schedule between them (1: linear; larger: more small levels)
    output_ema: float = 0.0  # decay of the exponential average over the draws (0: the last draw alone)
    sigma_likelihood: float | None = None  # noise level the likelihood draws assume; None: the true sigma_y
    warm_start: bool = False  # make the first likelihood draw near the Wiener estimate instead of near gray
    renoise: float = 0.0  # how much noise hides what is measured again, up to 1: white (see LikelihoodDraws)
    renoise_first: float | None = None  # the same, for the first draw alone; None: as renoise
    momentum: float = 0.0  # how far likelihood draws go on from one prior draw to the next
    overrelaxation: float = 0.0  # how far they go to the other side of their mean, each time
    gamma: float | None = None  # over-noising of a generative denoiser's draws; None: what it was trained with
    sigma_inflation: float = (
        0.0  # how much noise they are told beyond what there is; falls to 0 from the first to the last
    )

    def __post_init__(self) -> None:
        for name in ("sigma_max", "sigma_min", "exponent"):
            check_number(name, getattr(self, name), above=0)
        for name in ("output_ema", "momentum", "overrelaxation"):
            check_number(name, getattr(self, name), at_least=0, below=1)
        if self.sigma_likelihood is not None:
            check_number("sigma_likelihood", self.sigma_likelihood, at_least=0)
        if self.gamma is not None:
            check_number("gamma", self.gamma, at_least=0)
        check_number("sigma_inflation", self.sigma_inflation, at_least=0)
        check_number("renoise", self.renoise, at_least=0, at_most=1)
        if self.renoise_first is not None:
            check_number("renoise_first", self.renoise_first, at_least=0, at_most=1)
        if self.sigma_min > self.sigma_max:
            raise ValueError(f"sigma_min is {self.sigma_min} but must not exceed sigma_max, {self.sigma_max}")
        if not isinstance(self.warm_start, bool):
            raise TypeError(f"warm_start is {self.warm_start!r} but must be true or false")


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
