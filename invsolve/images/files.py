"""Picture files <-> tensors. Inside, images are [C, H, W] in [-1, 1]; files are the only place with 0..255."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
PACKAGED = "skimage:"  # prefix of the names of the pictures that come with scikit-image
ALIASES = {"cat": "chelsea", "immunohistochemistry": "ihc"}  # as scikit-image's own functions call them

BITS_PER_SAMPLE, ORIENTATION = 258, 274  # tags of TIFF, the second one of EXIF too
UPRIGHT = {  # what turns a picture of this EXIF orientation the right way up
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
STD_WHITE = 0.5  # standard deviation, for images on [-1, 1], that the picture of one shows as white
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, RuntimeError, struct.error)  # in Pillow


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
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise ValueError(f"{path}: no pictures in this directory ({' '.join(SUFFIXES)})")
        pictures.extend(inside)
    return pictures


def picture_name(source: str | Path) -> str:
    """The name its outputs carry: ``face`` for ``data/face.png``, ``astronaut`` for ``skimage:astronaut``."""
    text = str(source)
    return text.removeprefix(PACKAGED) if text.startswith(PACKAGED) else Path(text).stem


def read_image(source: str | Path, channels: int = 3, background: str = "white") -> torch.Tensor:
    """Read a picture as a float32 tensor ``[channels, H, W]`` in [-1, 1].

    Anything Pillow reads: 8 to 16 bits per channel, gray, palette, CMYK. The EXIF orientation is applied where it can
    be read, and of an animation the first frame is taken. With ``channels=1`` colours become gray by Rec. 601 luma;
    with ``channels=3`` gray is repeated.

    Args:
        source: a path, or ``skimage:NAME`` for one of the pictures packaged with scikit-image.
        background: what transparency is laid over, "white" or "black".

    Raises:
        ValueError: the file is missing, truncated, not a picture, or holds values without a known range (floats,
            32-bit integers).
    """
    path = _packaged_path(str(source)) if str(source).startswith(PACKAGED) else Path(source)
    if not path.is_file():
        raise ValueError(f"{path}: is a directory, not a picture" if path.is_dir() else f"{path}: no such file")
    return decode_image(path, str(path), channels, background)


def decode_image(file: Path | BinaryIO, name: str, channels: int = 3, background: str = "white") -> torch.Tensor:
    """:func:`read_image` of a path or an open file, called ``name`` in errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                opened.load()
                picture, white = _upright(opened), _white(opened)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"{name}: more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except DAMAGE as error:
        reason = "not a picture in a known format" if "cannot identify" in str(error) else str(error)
        raise ValueError(f"{name}: cannot be read as a picture ({reason})") from None
    if white is None:
        kind = "floating-point" if picture.mode == "F" else "32-bit or signed"
        raise ValueError(f"{name}: {kind} pixels have no known range; save it with 8 or 16 bits per channel")
    values = torch.from_numpy(_unit_values(picture, white, "L" if channels == 1 else "RGB", background))
    return (values * 2 - 1).reshape(picture.height, picture.width, channels).permute(2, 0, 1).contiguous()


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


def _upright(picture: Image.Image) -> Image.Image:
    """A picture as its EXIF orientation says, or as it is where its EXIF cannot be read."""
    try:
        turn = UPRIGHT.get(picture.getexif().get(ORIENTATION))
    except DAMAGE:
        turn = None
    return picture.copy() if turn is None else picture.transpose(turn)


def _white(picture: Image.Image) -> int | None:
    """The value of white in a picture's channels, or None where its file does not say."""
    if not picture.mode.startswith(("F", "I")):
        return 255
    if picture.format == "TIFF" and picture.mode.startswith("I;16"):
        return 2 ** picture.tag_v2[BITS_PER_SAMPLE][0] - 1
    # Other formats' gray of more than 8 bits is scaled to 16; some Pillow releases open it as 32-bit integers.
    known = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    return 65535 if known else None


def _unit_values(picture: Image.Image, white: int, mode: str, background: str) -> np.ndarray:
    """Pixels as float32 in [0, 1], ``[H, W]`` for mode "L" or ``[H, W, 3]`` for mode "RGB"."""
    if picture.mode.startswith("I"):
        gray = np.asarray(picture).astype(np.float32) / white
        return gray if mode == "L" else np.repeat(gray[..., None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, background), picture)
    return np.asarray(picture.convert("RGB" if picture.mode != "L" else "L").convert(mode), dtype=np.float32) / white


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
