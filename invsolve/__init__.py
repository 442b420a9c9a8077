"""Zero-shot image restoration: one generative denoiser, any linear degradation, four network evaluations."""

from . import _threads  # noqa: F401 (before anything that imports torch)
from .gaussian import GaussianMixturePrior, GaussianPrior
from .prior import Denoiser, DiffusionDraw, GenerativeDenoiser, MeanDraw
from .solve import Posterior, Settings, posterior, solve

__all__ = [
    "Denoiser",
    "DiffusionDraw",
    "GaussianMixturePrior",
    "GaussianPrior",
    "GenerativeDenoiser",
    "MeanDraw",
    "Posterior",
    "Settings",
    "posterior",
    "solve",
]
