"""The report's pictures: per task and image those of truth, measurement and each method, read from their files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..statistics import Entry
from ..store import MEASUREMENT, STD, TRUTH, Row, file_name, picture_folders

BIG = 24 * 1024  # bytes: a larger PNG is encoded again
QUALITY = 92  # of WebP


@dataclass(frozen=True)
class Picture:
    """A file as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Tile:
    """A picture with its name in the menus of the slider, its caption, and of a method's the figures of this image."""

    picture: Picture
    name: str
    label: str
    alt: str
    method: str | None
    note: str


@dataclass(frozen=True)
class Grid:
    """One image: its truth, measurement and restorations, and the standard deviations of methods with samples."""

    name: str
    tiles: list[Tile]
    deviations: list[Tile]


def read_pictures(directory: Path, entries: Sequence[Entry]) -> list[Grid]:
    """The pictures of a task, one grid per image; ValueError if a file is no picture."""
    return [_read_grid(folder, entries) for folder in picture_folders(directory, entries[0].task)]


def _read_grid(folder: Path, entries: Sequence[Entry]) -> Grid:
    def read(file: str, name: str, label: str, alt: str, method: str | None = None, note: str = "") -> list[Tile]:
        path, alt = folder / f"{file}.png", f"{alt}: picture {folder.name}, {entries[0].task}"
        return [Tile(load_picture(path), name, label, alt, method, note)] if path.is_file() else []

    tiles = read(TRUTH, TRUTH, "true picture", "True picture")
    tiles += read(MEASUREMENT, MEASUREMENT, MEASUREMENT, "Measurement")
    deviations = []
    for entry in entries:
        name, file = entry.method, file_name(entry.method)
        row = next((row for row in entry.rows if row["image"] == folder.name), {})
        tiles += read(file, name, name, name, name, _scores(row))
        deviations += read(file + STD, f"{name} deviation", f"{name}, deviation", f"Standard deviation of {name}", name)
    return Grid(folder.name, tiles, deviations)


def load_picture(path: Path) -> Picture:
    """Read a PNG; a big one becomes WebP of quality 92 where that is smaller. ValueError if it is no picture."""
    data, kind = path.read_bytes(), "png"
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if len(data) > BIG:
                buffer = io.BytesIO()
                image.convert("RGB").save(buffer, "WEBP", quality=QUALITY)
                if buffer.tell() < len(data):
                    data, kind = buffer.getvalue(), "webp"
    except OSError:
        raise ValueError(f"{path} is not a picture: delete it, or run the benchmark again") from None
    return Picture(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", width, height)


def _scores(row: Row) -> str:
    """``LPIPS 0.142, 27.1 dB`` of one image."""
    lpips = "" if row.get("lpips") is None else f"LPIPS {row['lpips']:.3f}"
    psnr = "" if row.get("psnr") is None else f"{row['psnr']:.1f} dB"
    return ", ".join(filter(None, (lpips, psnr)))
