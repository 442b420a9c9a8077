"""Zero-shot image restoration: one generative denoiser, any degradation, four network evaluations.

The public names are imported when they are first asked for, so that what needs no torch does not wait for it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

# Let OpenMP threads sleep while they wait: by default they spin, and where another process wants their cores a
# restoration takes many times as long. torch's OpenMP reads this once, when torch is loaded.
if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# On an Apple GPU what PyTorch lacks there, such as some FFTs, runs on the CPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

if TYPE_CHECKING:
    from .networks.inference import Inference
    from .priors.denoiser import Denoiser, DiffusionSampler, GenerativeDenoiser, PosteriorMean
    from .priors.gaussian import GaussianMixturePrior, GaussianPrior
    from .priors.gray import GrayPrior
    from .priors.registry import load_prior
    from .runtime.random_streams import NoiseStreams
    from .solver.defaults import default_settings, posterior_settings
    from .solver.diagnostics import Diagnostics, MismatchWarning
    from .solver.noise_level import estimate_sigma
    from .solver.solve import Posterior, posterior, solve
    from .specs.settings import FewStep, Settings
    from .specs.task import load_task

    __version__: str

__all__ = [
    "Denoiser",
    "Diagnostics",
    "DiffusionSampler",
    "FewStep",
    "GaussianMixturePrior",
    "GaussianPrior",
    "GenerativeDenoiser",
    "GrayPrior",
    "Inference",
    "MismatchWarning",
    "NoiseStreams",
    "Posterior",
    "PosteriorMean",
    "Settings",
    "default_settings",
    "estimate_sigma",
    "load_prior",
    "load_task",
    "posterior",
    "posterior_settings",
    "solve",
]

_HOMES = {
    "Denoiser": "priors.denoiser",
    "Diagnostics": "solver.diagnostics",
    "DiffusionSampler": "priors.denoiser",
    "FewStep": "specs.settings",
    "GaussianMixturePrior": "priors.gaussian",
    "GaussianPrior": "priors.gaussian",
    "GenerativeDenoiser": "priors.denoiser",
    "GrayPrior": "priors.gray",
    "Inference": "networks.inference",
    "MismatchWarning": "solver.diagnostics",
    "PosteriorMean": "priors.denoiser",
    "NoiseStreams": "runtime.random_streams",
    "Posterior": "solver.solve",
    "Settings": "specs.settings",
    "default_settings": "solver.defaults",
    "estimate_sigma": "solver.noise_level",
    "load_prior": "priors.registry",
    "load_task": "specs.task",
    "posterior": "solver.solve",
    "posterior_settings": "solver.defaults",
    "solve": "solver.solve",
}


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
