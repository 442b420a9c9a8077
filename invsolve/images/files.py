"""Picture files <-> tensors. Inside, images are [C, H, W] in [-1, 1]; files are the only place with 0..255."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

from .decoding import Picture, decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
FURTHER = (".avif", ".heic", ".heif")  # which Pillow may lack, and says so
PACKAGED = "skimage:"  # prefix of the names of the pictures that come with scikit-image
ALIASES = {"cat": "chelsea", "immunohistochemistry": "ihc"}  # as scikit-image's own functions call them

LUMA = (0.299, 0.587, 0.114)  # Rec. 601, as Pillow's convert("L")
STD_WHITE = 0.5  # standard deviation, for images on [-1, 1], that the picture of one shows as white


def list_pictures(inputs: Sequence[str | Path]) -> list[str | Path]:
    """The pictures named by ``inputs``, in order: a file or a ``skimage:NAME`` is itself, a directory its pictures.

    A directory gives the files directly inside it whose suffix is one of ``SUFFIXES``, sorted by name.

    Raises:
        ValueError: a path does not exist, or a directory holds no picture.
    """
    pictures: list[str | Path] = []
    for source in inputs:
        if str(source).startswith(PACKAGED):
            pictures.append(str(source))
            continue
        path = Path(source)
        if not path.exists():
            raise ValueError(f"{path}: no such file or directory")
        if not path.is_dir():
            pictures.append(path)
            continue
        pictures.extend(list_folder(path))
    return pictures


def list_folder(folder: Path, recursive: bool = False) -> list[Path]:
    """The pictures in a directory, sorted by path, ``recursive``: with its sub-directories, hidden ones not.

    Raises:
        ValueError: there is none.
    """
    suffixes = (*SUFFIXES, *FURTHER)
    files = folder.rglob("*") if recursive else folder.iterdir()
    shown = (p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts[:-1]))
    found = sorted(p for p in shown if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        where = "in this directory or below" if recursive else "in this directory"
        raise ValueError(f"{folder}: no pictures {where} ({' '.join(suffixes)})")
    return found


def picture_name(source: str | Path) -> str:
    """The name its outputs carry: ``face`` for ``data/face.png``, ``astronaut`` for ``skimage:astronaut``."""
    text = str(source)
    return text.removeprefix(PACKAGED) if text.startswith(PACKAGED) else Path(text).stem


def read_image(
    source: str | Path, channels: int = 3, background: str = "white", keep_profile: bool = False
) -> torch.Tensor:
    """Read a picture as a float32 tensor ``[channels, H, W]`` in [-1, 1], of sRGB colours.

    Anything Pillow reads: 8 to 16 bits per channel, gray, palette, CMYK; see :func:`decode`. With ``channels=1``
    colours become gray by Rec. 601 luma; with ``channels=3`` gray is repeated.

    Args:
        source: a path, or ``skimage:NAME`` for one of the pictures packaged with scikit-image.
        background: what transparency is laid over, "white" or "black".
        keep_profile: leave the values as they are in the file, whatever colours its ICC profile says they mean.

    Raises:
        ValueError: the file is missing, truncated, not a picture, or holds values without a known range (floats,
            32-bit integers).
    """
    return in_channels(over(read_picture(source, keep_profile), background), channels)


def read_picture(source: str | Path, keep_profile: bool = False) -> Picture:
    """A picture's colours and what is kept of its file; ``source``, and what is raised, as of :func:`read_image`."""
    path = _packaged_path(str(source)) if str(source).startswith(PACKAGED) else Path(source)
    if not path.is_file():
        raise ValueError(f"{path}: is a directory, not a picture" if path.is_dir() else f"{path}: no such file")
    return decode(path, str(path), keep_profile)


def decode_image(file: Path | BinaryIO, name: str) -> torch.Tensor:
    """:func:`read_image` in three channels of a path or an open file, called ``name`` in errors."""
    return in_channels(over(decode(file, name), "white"), 3)


def over(picture: Picture, background: str) -> torch.Tensor:
    """A picture's image laid over "white" or "black"."""
    if picture.kept.alpha is None:
        return picture.image
    return torch.lerp(
        torch.full_like(picture.image, {"white": 1.0, "black": -1.0}[background]), picture.image, picture.kept.alpha
    )


def in_channels(image: torch.Tensor, channels: int) -> torch.Tensor:
    """An image ``[1 or 3, H, W]`` in 1 channel, by Rec. 601 luma, or in 3, gray repeated."""
    if len(image) == channels:
        return image
    if channels == 3:
        return image.expand(3, -1, -1).contiguous()
    return torch.tensordot(torch.tensor(LUMA).to(image), image, dims=1)[None]


def _packaged_path(source: str) -> Path:
    """Where scikit-image keeps a packaged picture; found without importing it, and never downloaded."""
    name = source.removeprefix(PACKAGED)
    package = find_spec("skimage")
    folder = Path(package.submodule_search_locations[0]) / "data"
    packaged = {p.stem: p for p in folder.iterdir() if p.suffix in (".png", ".jpg")}
    path = packaged.get(ALIASES.get(name, name))
    if path is None:
        names = ", ".join(sorted(packaged))
        raise ValueError(f"{source}: scikit-image has no packaged picture of this name; it has {names}")
    return path


def resized(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Images ``[..., H, W]`` in another size by Pillow's Lanczos filter, in floating point."""
    height, width = size
    if tuple(image.shape[-2:]) == (height, width):
        return image
    planes = image.detach().cpu().float().reshape(-1, *image.shape[-2:]).numpy()
    found = [np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.LANCZOS)) for plane in planes]
    return torch.from_numpy(np.stack(found)).reshape(*image.shape[:-2], height, width).to(image)


def central_crop(images: torch.Tensor, size: int) -> torch.Tensor:
    """The central ``size`` x ``size`` pixels of images ``[..., H, W]``. Raises ValueError where they are smaller."""
    height, width = images.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(f"a crop of {size} pixels does not fit into pictures of {width}x{height} pixels")
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size]


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """``[C, H, W]`` in [-1, 1] (clipped to it) to uint8 ``[H, W]`` for one channel, ``[H, W, 3]`` for three."""
    values = ((image.detach().cpu().double().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return values[0].numpy() if len(values) == 1 else values.permute(1, 2, 0).numpy()


def write_image(image: torch.Tensor, path: str | Path) -> None:
    """Write ``[C, H, W]`` in [-1, 1], C = 1 or 3, as an 8-bit PNG; atomically (see ``write_atomically``).

    It is not waited for until it is on the disk, for there may be thousands.
    """
    buffer = io.BytesIO()
    Image.fromarray(to_bytes(image)).save(buffer, format="PNG")
    write_atomically(path, lambda file: file.write(buffer.getbuffer()), durable=False)


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object], durable: bool = True) -> None:
    """Let ``write(file)`` fill ``path``, which then appears whole or not at all, whatever interrupts it.

    Where ``durable``, a loss of power is among that: the content is on the disk before the file has its name.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files private; a result is an ordinary file
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def grid(rows: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    """Images ``[C, H, W]`` of one size side by side, rows below each other."""
    return torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)
