"""Foreign checkpoints to files of our format."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..priors.denoiser import GAMMA
from ..priors.file import sha256, write_prior
from ..priors.spectrum import TOP_FREQUENCY, power_on_grid
from .published import Published, published_network
from .torch_file import read_foreign
from .unpickler import ForeignFileError

LICENSE = "that of the source; NVIDIA's EDM2 and the published NCVSD weights are CC BY-NC-SA 4.0 (not commercial)"
UNKNOWN_DATA = "not stated in the source"


def convert(source: str | Path, target: str | Path, data: str = UNKNOWN_DATA) -> Published:
    """Write the network of a foreign file in our format, and return what was found. Nothing in the file is executed.

    The weights keep their values: half precision in the source is half precision in the target, float32 is float32.
    ``data`` says what the weights were trained on, for the record.

    Raises:
        ForeignFileError: the file is not a network that we know, or holds what no stored network holds; OSError:
            ``target`` cannot be written. It is written whole or not at all.
    """
    source, target = Path(source), Path(target)
    if target.is_dir() or (target.exists() and source.exists() and target.samefile(source)):
        raise ForeignFileError(f"cannot write {target}: it is a directory or the source itself")
    try:
        found = published_network(read_foreign(source))
    except ForeignFileError as error:
        raise ForeignFileError(f"{source}: {error}") from None
    except MemoryError:
        raise ForeignFileError(f"{source} does not fit into memory") from None
    tensors = {f"network.{name}": value.contiguous() for name, value in found.tensors.items()}
    if found.config.image_channels == 3:
        tensors["spectrum"] = natural_spectrum(found.sigma_data)
    record = {
        "license": LICENSE,
        "data": data,
        "source": source.name,
        "sha256": sha256(source),
        "class": found.kind,
        "spectrum": "a power law of natural pictures, not measured on the training data",
    }
    gamma = GAMMA if found.gamma is None else found.gamma
    write_prior(target, found.config, tensors, found.sigma_data, gamma, record, found.resolution)
    return found


def natural_spectrum(sigma_data: float, bins: int = 128) -> Tensor:
    """A radial power spectrum of natural pictures (see ``priors/spectrum.py``), since foreign files have none.

    ``P(f) ~ (f² + 0.01²)^-1.4`` fits the one measured on the default prior's training pictures within 0.25 (natural
    logarithm, root mean square); its mean over all frequencies is the variance of a pixel, ``sigma_data²``.
    """
    frequency = torch.linspace(0, TOP_FREQUENCY, bins)
    power = (frequency.square() + 0.01**2) ** -1.4
    return power * (sigma_data**2 / power_on_grid(power, 256, 256).mean())


def summary(found: Published) -> str:
    """What a foreign file holds, in a line."""
    config = found.config
    kind = f"generative denoiser, gamma {found.gamma:g}" if found.gamma is not None else "denoiser"
    labels = f"{config.labels} classes" if config.labels else "no classes"
    note = "" if config.image_channels == 3 else "; not a prior of RGB pictures"
    fixed = ("frequencies", "phases")  # the random Fourier features are not learnt
    count = sum(value.numel() for name, value in found.tensors.items() if not name.endswith(fixed))
    bits = {value.dtype for value in found.tensors.values()}
    precision = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in bits))
    return (
        f"{found.kind}: {kind}, {found.resolution}x{found.resolution} pixels of {config.image_channels} channels, "
        f"{labels}, sigma_data {found.sigma_data:g}, {count / 1e6:.1f} M parameters ({precision}){note}"
    )
