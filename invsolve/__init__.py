"""Zero-shot image restoration: one generative denoiser, any linear degradation, four network evaluations.

The public names are imported when they are first asked for, so that what needs no torch does not wait for it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .automatic import automatic_settings
    from .checkpoint import load_prior
    from .gaussian import GaussianMixturePrior, GaussianPrior
    from .gray import GrayPrior
    from .inference import Inference
    from .noise import NoiseStreams
    from .prior import Denoiser, DiffusionDraw, GenerativeDenoiser, MeanDraw
    from .settings import Settings
    from .solve import Posterior, posterior, solve
    from .task import load_task

    __version__: str

__all__ = [
    "Denoiser",
    "DiffusionDraw",
    "GaussianMixturePrior",
    "GaussianPrior",
    "GenerativeDenoiser",
    "GrayPrior",
    "Inference",
    "MeanDraw",
    "NoiseStreams",
    "Posterior",
    "Settings",
    "automatic_settings",
    "load_prior",
    "load_task",
    "posterior",
    "solve",
]

_HOMES = {
    "Denoiser": "prior",
    "DiffusionDraw": "prior",
    "GaussianMixturePrior": "gaussian",
    "GaussianPrior": "gaussian",
    "GenerativeDenoiser": "prior",
    "GrayPrior": "gray",
    "Inference": "inference",
    "MeanDraw": "prior",
    "NoiseStreams": "noise",
    "Posterior": "solve",
    "Settings": "settings",
    "automatic_settings": "automatic",
    "load_prior": "checkpoint",
    "load_task": "task",
    "posterior": "solve",
    "solve": "solve",
}


class _Package(ModuleType):
    """A package whose functions have precedence: importing ``invsolve.solve`` would replace one by its module."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    """That of the installed package; of a checkout that is not installed, none that a release has."""
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:
        return "0+unknown"
