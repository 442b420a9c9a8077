"""Whether what was restored explains its measurement, and how freely its likelihood was sampled."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from operators import NoiseModel, Operator
from operators.langevin import POOR
from operators.likelihood import Likelihood

ROUNDING = 0.0023  # noise level of the rounding to 8 bits, 2 / 255 / sqrt(12): noise is taken to be at least this
TOO_LARGE, TOO_SMALL = 2.5, 0.25  # residuals, in units of what the noise explains


class MismatchWarning(RuntimeWarning):
    """Of restored images that do not explain their measurements, or explain them better than the noise lets them."""


@dataclass(frozen=True)
class Diagnostics:
    """How well a restored image fits its measurement.

    ``residual`` is the root mean square of y - A(x), value by value in units of the noise's standard deviation: about
    1 where operator and noise are what they are said to be. ``acceptance`` is the share of accepted steps where the
    likelihood is sampled by Metropolis-adjusted steps, else None.
    """

    residual: Tensor  # [B], of samples [K, B]
    acceptance: Tensor | None


def residual_of(x: Tensor, y: Tensor, operator: Operator, model: NoiseModel) -> Tensor:
    """Root mean square of (y - A(x)) / deviation over what is observed, ``[B]``."""
    z = operator(x)
    deviation = model.deviation(z)
    deviation = deviation.clamp(min=ROUNDING) if isinstance(deviation, Tensor) else max(deviation, ROUNDING)
    square = operator.observed(((y - z).abs() / deviation).square())
    known = torch.ones_like(square)
    known = operator.observed(known * (deviation < torch.inf) if isinstance(deviation, Tensor) else known)
    return (square.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)).sqrt()


def acceptance_of(likelihood: Likelihood | None) -> Tensor | None:
    """The mean over all samples of the likelihood, ``[B]``; None where none was Metropolis-adjusted."""
    return torch.stack(likelihood.accepted).mean(0) if likelihood is not None and likelihood.accepted else None


def warn_of_mismatch(found: Diagnostics, model: NoiseModel, exact: bool) -> None:
    """One line where operator and noise cannot be what they were said to be, one where samples cannot be trusted.

    ``exact`` says that the images were projected onto what the measurement leaves possible: then nothing is too small.
    """
    residual = found.residual.flatten()
    largest, smallest = residual.max().item(), residual.min().item()
    if largest > TOO_LARGE or (smallest < TOO_SMALL and not exact):
        ratio = largest if largest > TOO_LARGE else smallest
        warnings.warn(
            f"the residual is {ratio:.2g} times what {described(model)} explains: is the noise or the operator wrong?",
            MismatchWarning,
            stacklevel=4,
        )
    if found.acceptance is not None and found.acceptance.min() < POOR:
        warnings.warn(
            f"only {found.acceptance.min().item():.0%} of the steps that sample the likelihood were accepted: "
            "its samples depend on where they start",
            MismatchWarning,
            stacklevel=4,
        )


def described(model: NoiseModel) -> str:
    sigma = getattr(model, "sigma", None)
    name = type(model).__name__
    if name == "Gaussian":
        return f"sigma_y = {sigma:g}" if isinstance(sigma, float | int) else "sigma_y"
    return f"{name} noise"
