"""The report's pictures: per task and image the tiles of truth, measurement and each method, the files inlined."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from ...images.files import STD_WHITE
from ..statistics import Entry
from ..store import MEASUREMENT, STD, TRUTH, file_name, picture_folders
from ..store_reading import Row
from .plots import family, marker

BIG = 24 * 1024  # bytes: a larger PNG is encoded again
QUALITY = 92  # of WebP
INITIAL = "ncvsd"  # the method first shown in the slider, where there is one


@dataclass(frozen=True)
class Picture:
    """A file as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


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


def gallery(directory: Path, entries: Sequence[Entry], numbers: Mapping[str, int]) -> str:
    """A task's pictures: the slider's frame, which the script fills, and a grid of tiles per image."""
    folders = picture_folders(directory, entries[0].task)
    if not folders:
        return ""
    grids = "".join(grid(folder, entries, numbers) for folder in folders)
    with_std = any((folder / f"{file_name(e.method)}{STD}.png").is_file() for folder in folders for e in entries)
    note = (
        f'<p class="note">Of several samples the first is shown, with their mean figures. Deviation: the standard '
        f"deviation of the samples, black 0, white {STD_WHITE} on [−1, 1].</p>"
        if with_std
        else ""
    )
    initial = next((entry.method for entry in entries if entry.method == INITIAL), entries[0].method)
    return f"""<div class="gallery" data-right="{escape(initial)}">
<div class="compare" hidden>
<div class="stage"><div class="handle" aria-hidden="true"></div>
<input type="range" min="0" max="100" step="any" value="50" aria-label="Share of the left picture"></div>
<div class="sides"><label>Left <select class="left"></select></label>
<label>Right <select class="right"></select></label></div>
<div class="thumbs" role="group" aria-label="Picture"></div>
</div>
<div class="grids">{grids}{note}</div>
</div>"""


def grid(folder: Path, entries: Sequence[Entry], numbers: Mapping[str, int]) -> str:
    """The tiles of one image: truth, measurement, each method that has a picture, then the deviation maps."""
    truth = load_picture(folder / f"{TRUTH}.png")
    where = f"picture {folder.name}, {entries[0].task}"
    tiles = [tile(truth, truth, TRUTH, "true picture", f"True picture: {where}")]
    path = folder / f"{MEASUREMENT}.png"
    if path.is_file():
        tiles.append(tile(load_picture(path), truth, MEASUREMENT, MEASUREMENT, f"Measurement: {where}"))
    maps = []
    for entry in entries:
        path, name = folder / f"{file_name(entry.method)}.png", entry.method
        mark = swatch(numbers[family(name)])
        if path.is_file():
            row = next((row for row in entry.rows if row["image"] == folder.name), {})
            tiles.append(tile(load_picture(path), truth, name, name, f"{name}: {where}", mark, scores(row)))
        path = path.with_name(f"{file_name(name)}{STD}.png")
        if path.is_file():
            text = f"Standard deviation of {name}: {where}"
            maps.append(tile(load_picture(path), truth, f"{name} deviation", f"{name}, deviation", text, mark))
    if maps:
        maps[0] = maps[0].replace("<figure", '<figure class="newline"', 1)
    return f'<div class="grid" data-picture="{escape(folder.name)}">{"".join(tiles + maps)}</div>'


def tile(picture: Picture, truth: Picture, name: str, label: str, alt: str, mark: str = "", note: str = "") -> str:
    """One picture at the size of the truth, with its caption; fewer pixels than the truth's are shown as squares."""
    kind = ' class="coarse"' if picture.width < truth.width else ""
    shape = f"aspect-ratio: {truth.width} / {truth.height}"
    image = f'<img{kind} src="{picture.uri}" alt="{escape(alt)}" width="{truth.width}" height="{truth.height}">'
    extra = f'<span class="score">{escape(note)}</span>' if note else ""
    return (
        f'<figure data-name="{escape(name)}"><button type="button" class="zoom" style="{shape}" title="Zoom">{image}'
        f'</button><figcaption>{mark}<span class="name">{escape(label)}</span>{extra}</figcaption></figure>'
    )


def swatch(number: int) -> str:
    """A family's marker, for text."""
    return f'<svg class="swatch" width="14" height="14" aria-hidden="true">{marker(number, 7, 7)}</svg>'


def scores(row: Row) -> str:
    """``LPIPS 0.142, 27.1 dB`` of one image."""
    parts = []
    if row.get("lpips") is not None:
        parts.append(f"LPIPS {row['lpips']:.3f}")
    if row.get("psnr") is not None:
        parts.append(f"{row['psnr']:.1f} dB")
    return ", ".join(parts)
