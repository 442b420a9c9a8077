"""A picture file -> its colours, and what else of it is kept for the restored picture's file."""

from __future__ import annotations

import math
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image

from .colour_profile import cmyk_to_rgb, is_srgb, srgb_profile, to_srgb

DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, RuntimeError, struct.error)  # in Pillow
HEIF = (".heic", ".heif")

BITS_PER_SAMPLE, ORIENTATION = 258, 274  # tags of TIFF, the second one of EXIF too
XMP, EXIF_IFD = 700, 0x8769
# Tags that say how the pixels are stored, which the restored picture's file says anew, and those of its size.
STRUCTURE = (254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 317, 320, 322, 323, 324, 325)
STRUCTURE += (330, 338, 339, 340, 341, 347, 512, 513, 514, 529, 530, 531, 532, XMP, 34675)
PIXELS_X, PIXELS_Y = 0xA002, 0xA003
XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:=["']|>))[2-8](["'<])""")
UPRIGHT = {  # what turns pixels [H, W, ...] of this EXIF orientation the right way up
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels.swapaxes(0, 1), 2),
    8: np.rot90,
}


@dataclass(frozen=True)
class Kept:
    """What a restored picture's file has of the damaged one's beside its colours."""

    format: str = "PNG"  # Pillow's name
    depth: int = 8  # bits a channel, 8 or 16
    gray: bool = False  # one channel, where the restored image has one too
    alpha: torch.Tensor | None = None  # opacity [1, H, W] in [0, 1]; None: opaque
    profile: bytes | None = None  # ICC profile of the image's colours; None: sRGB
    exif: bytes | None = None  # the right way up, without a thumbnail
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    frames: int = 1  # of an animation or pages, of which the first is the picture
    orientation: int = 1  # EXIF's of the file; what is kept is the right way up


@dataclass(frozen=True)
class Picture:
    """A picture's colours ``[C, H, W]`` in [-1, 1], C = 1 (gray) or 3, and what is kept of its file."""

    image: torch.Tensor
    kept: Kept


@dataclass(frozen=True)
class Samples:
    """Pixels as they are stored: integers or floats ``[H, W, C]`` from 0 to ``white``, and opacity ``[H, W]``."""

    values: np.ndarray
    white: int
    alpha: np.ndarray | None = None
    alpha_white: int = 255


def decode(file: Path | BinaryIO, name: str, keep_profile: bool = False) -> Picture:
    """Decode a picture in any format of Pillow's (HEIC with pillow-heif), in 8 to 16 bits a channel.

    Its EXIF orientation is applied where it can be read, and its colours become sRGB by its ICC profile;
    ``keep_profile`` leaves them as they are, in the profile's colours (of CMYK there is no such choice). Of an
    animation the first frame is taken. ``name`` is what errors call it.

    Raises:
        ValueError: it is truncated, no picture, or holds values without a known range (floats, 32-bit integers).
    """
    with _open(file, name) as opened:
        return _decode(opened, file, name, keep_profile)


def decode_size(file: Path | BinaryIO, name: str) -> tuple[int, int]:
    """Height and width of the image that :func:`decode` gives, from the file's head. Raises ValueError as it does."""
    with _open(file, name) as opened:
        width, height = opened.size
        try:
            lies = opened.getexif().get(ORIENTATION, 1) >= 5
        except DAMAGE:
            lies = False
        return (width, height) if lies else (height, width)


@contextmanager
def _open(file: Path | BinaryIO, name: str) -> Iterator[Image.Image]:
    """The picture, opened by Pillow; what is wrong with it becomes a ValueError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _register_heif()
            with Image.open(file) as opened:
                yield opened
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"{name}: more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except _UnknownRange as error:
        raise ValueError(str(error)) from None
    except DAMAGE as error:
        reason = "not a picture in a known format" if "cannot identify" in str(error) else str(error)
        if str(name).lower().endswith(HEIF) and find_spec("pillow_heif") is None:
            reason = 'HEIC needs pillow-heif: pip install "invsolve[heif]"'
        raise ValueError(f"{name}: cannot be read as a picture ({reason})") from None


class _UnknownRange(ValueError):
    """Pixels of floats, or of integers whose white is not known."""


def _decode(opened: Image.Image, file: Path | BinaryIO, name: str, keep_profile: bool) -> Picture:
    frames = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)  # MPO: a photograph with its preview
    samples = _deep_samples(opened, file) or _samples(opened, name)
    orientation = _orientation(opened)
    turn = UPRIGHT.get(orientation, np.asarray)
    values = turn(samples.values).astype(np.float32) / samples.white
    alpha = None if samples.alpha is None else turn(samples.alpha).astype(np.float32) / samples.alpha_white
    profile = None if opened.mode == "CMYK" else opened.info.get("icc_profile")
    if profile and not keep_profile:
        try:
            if values.shape[2] == 1 or not is_srgb(profile):
                values, profile = to_srgb(values, profile), srgb_profile() if values.shape[2] == 3 else None
        except RuntimeError:
            profile = None  # damaged, or of other channels: what most viewers take for sRGB
    return Picture(
        _as_image(values * np.float32(2) - np.float32(1)),
        Kept(
            format=opened.format or "PNG",
            depth=16 if samples.white > 255 else 8,
            gray=values.shape[2] == 1,
            alpha=None if alpha is None or alpha.min() == 1 else _as_image(alpha[..., None]),
            profile=profile or None,
            exif=_exif(opened),
            xmp=_xmp(opened),
            dpi=_dpi(opened),
            frames=frames,
            orientation=orientation,
        ),
    )


def _as_image(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous()


def _samples(opened: Image.Image, name: str) -> Samples:
    """What Pillow reads: 8 bits a channel, or gray of more."""
    opened.load()
    white = _white(opened)
    if white is None:
        kind = "floating-point" if opened.mode == "F" else "32-bit or signed"
        raise _UnknownRange(f"{name}: {kind} pixels have no known range; save it with 8 or 16 bits per channel")
    if opened.mode.startswith("I"):
        return Samples(np.asarray(opened)[..., None], white)
    gray, alpha, picture = opened.mode in ("1", "L", "LA", "La"), None, opened
    if picture.has_transparency_data:
        picture = picture.convert("LA" if gray else "RGBA")
        alpha = np.asarray(picture.getchannel("A"))
    if picture.mode == "CMYK":
        picture = cmyk_to_rgb(picture, picture.info.get("icc_profile"))
    values = np.asarray(picture.convert("L" if gray else "RGB"))
    return Samples(values[..., None] if gray else values, white, alpha)


def _white(picture: Image.Image) -> int | None:
    """The value of white in a picture's channels, or None where its file does not say."""
    if not picture.mode.startswith(("F", "I")):
        return 255
    if picture.format == "TIFF" and picture.mode.startswith("I;16"):
        return 2 ** picture.tag_v2[BITS_PER_SAMPLE][0] - 1
    # Other formats' gray of more than 8 bits is scaled to 16; some Pillow releases open it as 32-bit integers.
    known = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    return 65535 if known else None


def _deep_samples(opened: Image.Image, file: Path | BinaryIO) -> Samples | None:
    """A PNG of 16 bits a channel, or a colour TIFF of 9 to 16, which Pillow would cut to 8; None for all others."""
    if opened.format == "PNG" and _content(file, 25)[24] == 16:
        import imagecodecs

        values = imagecodecs.png_decode(_content(file))
        white = 65535
    elif opened.format == "TIFF" and opened.mode in ("LA", "RGB", "RGBA", "RGBX") and _tiff_bits(opened) > 8:
        import tifffile

        source = file if isinstance(file, Path) else _rewound(file)
        with tifffile.TiffFile(source) as tiff:
            page = tiff.pages[0]
            values = page.asarray()
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
                values = np.moveaxis(values, 0, -1)
        white = 2 ** _tiff_bits(opened) - 1
    else:
        return None
    values = values[..., None] if values.ndim == 2 else values
    if values.dtype.kind != "u":
        raise ValueError(f"its samples are {values.dtype}; save it with 8 or 16 bits per channel")
    if values.shape[2] % 2:
        clear = opened.info.get("transparency")  # the one colour that is transparent
        alpha = None if clear is None else np.where((values == np.array(clear)).all(axis=2), 0, white)
        return Samples(values, white, alpha, white)
    return Samples(values[..., :-1], white, values[..., -1], white)


def _tiff_bits(opened: Image.Image) -> int:
    return max(opened.tag_v2.get(BITS_PER_SAMPLE, (1,)))


def _content(file: Path | BinaryIO, first: int = -1) -> bytes:
    """All of a file, or its first bytes."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(first)
    return _rewound(file).read(first)


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _orientation(picture: Image.Image) -> int:
    """That of its EXIF; 1, the right way up, where that cannot be read."""
    try:
        return picture.getexif().get(ORIENTATION, 1)
    except DAMAGE:
        return 1


def upright(image: torch.Tensor, orientation: int) -> torch.Tensor:
    """Images ``[..., H, W]`` as they are stored, turned as an EXIF orientation says."""
    turn = UPRIGHT.get(orientation)
    if turn is None:
        return image
    pixels = turn(image.movedim((-2, -1), (0, 1)).cpu().numpy())
    return torch.from_numpy(np.ascontiguousarray(pixels)).movedim((0, 1), (-2, -1)).to(image)


def _exif(picture: Image.Image) -> bytes | None:
    """The EXIF of an upright picture of any size, without thumbnail (Pillow writes none); None where it is damaged."""
    try:
        exif = picture.getexif()
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        for tag in STRUCTURE:
            exif.pop(tag, None)
        for tag in (PIXELS_X, PIXELS_Y) if EXIF_IFD in exif else ():
            exif.get_ifd(EXIF_IFD).pop(tag, None)
        return exif.tobytes() if len(exif) else None
    except DAMAGE:
        return None


def _xmp(picture: Image.Image) -> bytes | None:
    """The XMP packet, of an upright picture."""
    packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    if packet is None and picture.format == "TIFF":
        packet = picture.tag_v2.get(XMP)
    packet = packet.encode() if isinstance(packet, str) else packet
    return XMP_ORIENTATION.sub(rb"\g<1>1\2", packet) if isinstance(packet, bytes) else None


def _dpi(picture: Image.Image) -> tuple[float, float] | None:
    found = picture.info.get("dpi")
    if not isinstance(found, tuple) or len(found) != 2:
        return None
    dpi = tuple(float(value) for value in found)
    return dpi if all(math.isfinite(value) and value > 0 for value in dpi) else None


def _register_heif() -> None:
    """Have Pillow read HEIC where pillow-heif is installed."""
    if find_spec("pillow_heif") is not None:
        import pillow_heif

        pillow_heif.register_heif_opener()
