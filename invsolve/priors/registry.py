"""Priors by name: shipped and published ones, paths, and files of the Hugging Face hub.

Nothing is unpickled: published checkpoints of other projects are read by ``foreign`` and converted.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from ..foreign.hub import HUB, PUBLISHED, converted, prior_from_hub
from ..foreign.symbols import ForeignFileError
from ..networks.inference import Inference, accelerate
from .denoiser import GenerativeDenoiser, PosteriorMean
from .file import GENERATIVE, CheckpointError, load_denoiser
from .tiled import OVERLAP, TILE, Tiled

# name: (file in checkpoints/, what it is)
PRIORS = {
    "default": ("default.safetensors", "NCVSD generative denoiser, faces and natural photographs, any size"),
    "teacher": ("teacher.safetensors", "its teacher: the plain EDM denoiser (posterior mean), for comparison"),
}


def checkpoints_folder() -> Path:
    """Where the shipped weights lie: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "checkpoints"
    return installed if installed.is_dir() else package.parent / "checkpoints"


def list_priors() -> list[tuple[str, str]]:
    """Names that ``load_prior`` knows, with a line of description each."""
    return [(name, description) for name, (_, description) in PRIORS.items()]


def resolve(name: str | Path) -> Path:
    """File in our format of a shipped or published prior's name, ``hf://OWNER/REPOSITORY/FILE``, or a path.

    A published one is downloaded, and it and any other ``.pkl`` converted, when it is first asked for; the result lies
    in the user's cache. Raises :class:`CheckpointError`.
    """
    if str(name) in PRIORS:
        return checkpoints_folder() / PRIORS[str(name)][0]
    path = Path(name)
    try:
        if str(name) in PUBLISHED or str(name).startswith(HUB):
            return prior_from_hub(str(name))
        if path.suffix == ".pkl" and path.is_file():
            return converted(path)
    except ForeignFileError as error:
        raise CheckpointError(str(error)) from None
    if not path.is_file():
        known = ", ".join((*PRIORS, *PUBLISHED))
        raise CheckpointError(f"no prior named {str(name)!r} and no such file; known names: {known}")
    return path


def load_prior(
    name: str | Path = "default",
    device: torch.device | str = "cpu",
    inference: Inference | None = None,
    tile: int | None = None,
) -> GenerativeDenoiser | PosteriorMean:
    """The prior of a name or a file (see :func:`resolve`), ready to ``sample`` on ``device``.

    A plain denoiser's file gives a :class:`PosteriorMean`. ``inference`` says how the network is evaluated. Images of any
    size are taken: in tiles where the network needs it, or in tiles of ``tile`` pixels a side; see :class:`Tiled`. A
    network that knows one size only has it in its file's header, as ``image_size``.

    Raises :class:`CheckpointError`, and ``ValueError`` where the device or the network refuses an option.
    """
    denoiser, header, spectrum = load_denoiser(resolve(name))
    denoiser.network = accelerate(denoiser.network, torch.device(device), inference or Inference())
    size = header.get("image_size")
    if size is not None and tile not in (None, size):
        raise ValueError(f"tile is {tile} but this prior knows images of {size}x{size} pixels only")
    side = size or tile or TILE
    denoiser = Tiled(denoiser, side, min(OVERLAP, side // 4), fixed=size is not None, always=tile is not None)
    if header["kind"] == GENERATIVE:
        prior = GenerativeDenoiser(denoiser, header["gamma"], spectrum=spectrum)
    else:
        prior = PosteriorMean(denoiser, spectrum)
    return prior.to(device).eval()


def cached_prior(
    name: str | Path = "default", device: torch.device | str = "cpu"
) -> GenerativeDenoiser | PosteriorMean:
    """:func:`load_prior`, but what the last calls loaded is shared as long as its file is the same: not to be changed.

    Two are kept, with their device's memory. Raises :class:`CheckpointError`.
    """
    path = resolve(name).resolve()
    try:
        found = path.stat()
    except OSError:
        raise CheckpointError(f"no checkpoint file {path}") from None
    return _loaded(path, (found.st_ino, found.st_mtime_ns, found.st_size), torch.device(device))


@lru_cache(maxsize=2)
def _loaded(path: Path, version: tuple[int, ...], device: torch.device) -> GenerativeDenoiser | PosteriorMean:
    """The prior of a file as it was at ``version``."""
    return load_prior(path, device)
