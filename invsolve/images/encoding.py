"""A restored picture -> a file in the format of its name, with what was kept of the damaged one's."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from .decoding import XMP, Kept
from .files import write_atomically

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
DEEP = ("PNG", "TIFF")  # formats of 16 bits a channel
QUALITY = 95  # of JPEG and WebP, of 100
SEGMENT = 65000  # bytes of metadata that a JPEG's segment holds, with some to spare
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, INCH, PROFILE = 282, 283, 296, 2, 34675  # tags of TIFF
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXEL_CHUNKS = (b"IHDR", b"IDAT", b"IEND")


def suffix_for(choice: str, suffix: str) -> str:
    """``.png`` for the choice ``png`` and so on; for ``input`` the file's own ``suffix``, PNG where none is written."""
    if choice != "input":
        return f".{choice}"
    return suffix.lower() if suffix.lower() in FORMATS else ".png"


def write_picture(image: torch.Tensor, path: Path, kept: Kept, quality: int = QUALITY) -> None:
    """Write ``[C, H, W]`` in [-1, 1], C = 1 or 3, in the format of ``path``'s suffix; atomically.

    PNG and TIFF keep depth and opacity, WebP opacity; JPEG neither. ``quality`` is that of JPEG, and of WebP, which
    is lossless at 100.
    """
    name = FORMATS[path.suffix.lower()]
    colour = (image.detach().cpu().double().clamp(-1, 1) + 1) / 2
    planes = [colour if kept.gray or len(colour) == 3 else colour.expand(3, -1, -1)]
    if kept.alpha is not None and name != "JPEG":
        planes.append(kept.alpha.double().clamp(0, 1))
    deep = kept.depth > 8 and name in DEEP
    white, kind = (65535, np.uint16) if deep else (255, np.uint8)
    pixels = (torch.cat(planes).permute(1, 2, 0) * white).round().numpy().astype(kind)
    if name == "TIFF":
        content = _tiff(pixels, kept)
    elif deep:
        content = _deep_png(pixels, kept)
    else:
        content = _saved(pixels, name, **_metadata(kept, name), **_options(name, quality))
    write_atomically(path, lambda file: file.write(content), durable=False)


def _saved(pixels: np.ndarray, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, name, **options)
    return buffer.getvalue()


def _options(name: str, quality: int) -> dict[str, Any]:
    if name == "JPEG":
        return {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    if name == "WEBP":
        return {"lossless": True, "exact": True} if quality == 100 else {"quality": quality}
    return {}


def _metadata(kept: Kept, name: str) -> dict[str, Any]:
    """Arguments of Pillow's ``save`` for a format."""
    exif, xmp = (
        None if data is None or (name == "JPEG" and len(data) > SEGMENT) else data for data in (kept.exif, kept.xmp)
    )
    found: dict[str, Any] = {"exif": exif, "icc_profile": kept.profile, "dpi": kept.dpi}
    if name == "PNG" and xmp:
        found["pnginfo"] = PngImagePlugin.PngInfo()
        found["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif xmp:
        found["xmp"] = xmp
    return {key: value for key, value in found.items() if value is not None}


def _deep_png(pixels: np.ndarray, kept: Kept) -> bytes:
    """A PNG of 16 bits a channel: libpng's pixels, and the chunks that Pillow, which has no such pixels, writes."""
    import imagecodecs

    pixel = np.zeros((1, 1, 1), np.uint8)
    extra = [
        chunk for kind, chunk in _chunks(_saved(pixel, "PNG", **_metadata(kept, "PNG"))) if kind not in PIXEL_CHUNKS
    ]
    stored = imagecodecs.png_encode(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    parts = [PNG_SIGNATURE]
    for kind, chunk in _chunks(stored):
        parts += [chunk, *(extra if kind == b"IHDR" else [])]
    return b"".join(parts)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and bytes of a PNG's chunks."""
    start = len(PNG_SIGNATURE)
    while start < len(png):
        end = start + 12 + int.from_bytes(png[start : start + 4], "big")
        yield png[start + 4 : start + 8], png[start:end]
        start = end


def _tiff(pixels: np.ndarray, kept: Kept) -> bytes:
    """A TIFF of one strip, its directory written by Pillow, which has no 16 bits a channel and, deflated, no EXIF."""
    height, width, channels = pixels.shape
    data = zlib.compress(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
    tags = Image.Exif()
    if kept.exif:
        tags.load(kept.exif)
    directory = ImageFileDirectory_v2()
    for tag in tags:
        directory[tag] = tags.get_ifd(tag) if tag in TiffTags.TAGS_V2_GROUPS else tags[tag]
    further = {XMP: kept.xmp, PROFILE: kept.profile}
    further |= {X_RESOLUTION: kept.dpi[0], Y_RESOLUTION: kept.dpi[1], RESOLUTION_UNIT: INCH} if kept.dpi else {}
    for tag, value in (_structure(width, height, channels, 8 * pixels.itemsize, len(data)) | further).items():
        if value is not None:
            directory[tag] = value
    buffer = io.BytesIO()
    directory.save(buffer)
    return buffer.getvalue() + data


def _structure(width: int, height: int, channels: int, bits: int, size: int) -> dict[int, Any]:
    """TIFF's tags for one deflated strip of ``size`` bytes, whose even numbers of channels have opacity."""
    colour = 3 if channels >= 3 else 1
    found = {256: width, 257: height, 258: (bits,) * channels, 259: 8, 262: 2 if colour == 3 else 1}
    found |= {273: 0, 277: channels, 278: height, 279: size, 284: 1}
    return found | ({338: 2} if channels > colour else {})
