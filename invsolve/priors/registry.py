"""Priors by name: shipped and published ones, paths, and files of the Hugging Face hub.

Nothing is unpickled: published checkpoints of other projects are read by ``foreign`` and converted.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from ..networks.inference import Inference, accelerate
from ..runtime.shipped import shipped
from .denoiser import GenerativeDenoiser, PosteriorMean
from .file import GENERATIVE, CheckpointError, load_denoiser
from .tiled import OVERLAP, TILE, Tiled
from .training_record import largest_sigma

# name: (file in checkpoints/, what it is)
PRIORS = {
    "default": ("default.safetensors", "NCVSD generative denoiser, faces and natural photographs, any size"),
    "sampler": ("sampler.safetensors", "its samples of true spread alone: what default samples with, over-noised"),
    "teacher": ("teacher.safetensors", "its teacher: the plain EDM denoiser (posterior mean), for comparison"),
}
SAMPLERS = {"default": "sampler"}  # whose network another one's samples are made by, its own being for gamma 0


def list_priors() -> list[tuple[str, str]]:
    """Names that ``load_prior`` knows, with a line of description each."""
    return [(name, description) for name, (_, description) in PRIORS.items()]


def resolve(name: str | Path) -> Path:
    """File in our format of a shipped or published prior's name, ``hf://OWNER/REPOSITORY/FILE``, or a path.

    A published one is downloaded, and it and any other ``.pkl`` converted, when it is first asked for; the result lies
    in the user's cache. A process asks the hub, and reads a ``.pkl``, once. Raises :class:`CheckpointError`.
    """
    if str(name) in PRIORS:
        return shipped("checkpoints") / PRIORS[str(name)][0]
    path = Path(name)
    if path.suffix == ".safetensors" and path.is_file():
        return path
    from ..foreign.convert import ForeignFileError  # what a shipped prior does not need
    from ..foreign.hub import HUB, PUBLISHED

    try:
        if str(name) in PUBLISHED or str(name).startswith(HUB):
            return _from_hub(str(name))
        if path.suffix == ".pkl" and path.is_file():
            return _converted(path.resolve(), file_version(path))
    except ForeignFileError as error:
        raise CheckpointError(str(error)) from None
    if not path.is_file():
        known = ", ".join((*PRIORS, *PUBLISHED))
        raise CheckpointError(f"no prior named {str(name)!r} and no such file; known names: {known}")
    return path


def file_version(path: Path) -> tuple[int, ...]:
    """What changes when a file does: its inode, time of change and size. Raises OSError where there is none."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache
def _from_hub(name: str) -> Path:
    from ..foreign.hub import prior_from_hub

    return prior_from_hub(name)


@lru_cache
def _converted(path: Path, version: tuple[int, ...]) -> Path:
    from ..foreign.hub import converted

    return converted(path)


def load_prior(
    name: str | Path = "default",
    device: torch.device | str = "cpu",
    inference: Inference | None = None,
    tile: int | None = None,
) -> GenerativeDenoiser | PosteriorMean:
    """The prior of a name or a file (see :func:`resolve`), ready to ``sample`` on ``device``.

    A plain denoiser's file gives a :class:`PosteriorMean`. ``default`` has two networks: its samples are made by that
    of ``sampler`` (see :class:`GenerativeDenoiser`). ``inference`` says how networks are evaluated. Images of any size
    are taken: in tiles where a network needs it, or in tiles of ``tile`` pixels a side; see :class:`Tiled`. A network
    that knows one size only has it in its file's header, as ``image_size``. The prior has the largest noise level that
    it was trained for as ``largest_sigma``.

    Raises :class:`CheckpointError`, and ``ValueError`` where the device or the network refuses an option.
    """
    how = torch.device(device), inference or Inference(), tile
    denoiser, header, spectrum = _tiled(resolve(name), *how)
    sampler = _tiled(resolve(SAMPLERS[str(name)]), *how)[0] if str(name) in SAMPLERS else None
    if header["kind"] != GENERATIVE:
        prior = PosteriorMean(denoiser, spectrum)
    elif sampler is None:
        prior = GenerativeDenoiser(denoiser, header["gamma"], spectrum=spectrum)
    else:
        prior = GenerativeDenoiser(sampler, header["gamma"], spectrum=spectrum, estimator=denoiser)
    prior.largest_sigma = largest_sigma(header["record"])
    return prior.to(device).eval()


def _tiled(
    path: Path, device: torch.device, inference: Inference, tile: int | None
) -> tuple[Tiled, dict, torch.Tensor | None]:
    """The denoiser of a file, its header and its spectrum."""
    denoiser, header, spectrum = load_denoiser(path)
    denoiser.network = accelerate(denoiser.network, device, inference)
    size = header.get("image_size")
    if size is not None and tile not in (None, size):
        raise ValueError(f"tile is {tile} but this prior knows images of {size}x{size} pixels only")
    side = size or tile or TILE
    return Tiled(denoiser, side, min(OVERLAP, side // 4), size is not None, tile is not None), header, spectrum


def cached_prior(
    name: str | Path = "default", device: torch.device | str = "cpu"
) -> GenerativeDenoiser | PosteriorMean:
    """:func:`load_prior`, but what the last calls loaded is shared as long as its file is the same: not to be changed.

    Two are kept, with their device's memory. Raises :class:`CheckpointError`.
    """
    path = resolve(name).resolve()
    try:
        version = file_version(path)
    except OSError:
        raise CheckpointError(f"no checkpoint file {path}") from None
    return _loaded(name if str(name) in SAMPLERS else path, version, torch.device(device))


@lru_cache(maxsize=2)
def _loaded(name: str | Path, version: tuple[int, ...], device: torch.device) -> GenerativeDenoiser | PosteriorMean:
    """The prior of a name or a file as that was at ``version``."""
    return load_prior(name, device)
