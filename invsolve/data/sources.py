"""The pictures of a folder or a zip file, each decoded once to uint8: into memory, or into a cache file.

A cache file holds all pictures of a source, one after the other; every worker and process maps it into memory, and so
they share it. Beside it lies an index of the pictures' heights and widths, written last: where the file is as long as
the index says, it is whole. Both are named by a digest of the source's files, their sizes and times, so that a source
that has changed is decoded anew, and one that has not is not decoded again by a restart.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..images.files import SUFFIXES, decode_image, to_bytes, write_atomically
from ..runtime import processes

MACOS_EXTRAS = "__MACOSX"  # a folder of hidden files, with pictures' suffixes, that macOS adds to zip files
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError)
POLL = 0.5  # seconds between looks for a cache file that another process writes


class Source:
    """A folder (with all below it) or a zip file of pictures, whose ``names`` in it are sorted by path.

    Raises:
        ValueError: it is not there, is no readable zip file, or has no pictures.
    """

    def __init__(self, path: Path):
        if not path.exists():
            raise ValueError(f"no folder or zip file {path}")
        self.path, self._archive = path, None
        if path.is_file():
            with self._readable():
                self._archive = zipfile.ZipFile(path)
            files = self._archive.namelist()
        else:
            files = [file.relative_to(path).as_posix() for file in path.rglob("*")]
        entries = [PurePosixPath(name) for name in files]
        pictures = [e for e in entries if e.suffix.lower() in SUFFIXES and e.parts[0] != MACOS_EXTRAS]
        self.names = [str(entry) for entry in sorted(pictures)]
        if not self.names:
            raise ValueError(f"no pictures {'in' if self._archive else 'below'} {path}")

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except ZIP_ERRORS as error:
            raise ValueError(f"{self.path}: cannot be read as a zip file of pictures ({error})") from None

    def has(self, name: str) -> bool:
        return name in self._archive.namelist() if self._archive else (self.path / name).is_file()

    def read(self, name: str) -> bytes:
        if not self._archive:
            return (self.path / name).read_bytes()
        with self._readable():
            return self._archive.read(name)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file of it, of which a part may be read."""
        if not self._archive:
            with (self.path / name).open("rb") as file:
                yield file
            return
        with self._readable(), self._archive.open(name) as file:
            yield file

    def decoded(self) -> Iterator[np.ndarray]:
        """Every picture, in colour, as uint8 ``[3, H, W]``. Raises ValueError where one cannot be read."""
        for name in tqdm(self.names, desc=self.path.name, leave=False, disable=processes.rank() > 0):
            image = decode_image(io.BytesIO(self.read(name)), f"{self.path}/{name}")
            yield np.ascontiguousarray(to_bytes(image).transpose(2, 0, 1))

    def decoded_bytes(self) -> int:
        """What all pictures take once they are decoded, from their headers alone; unreadable ones count as nothing."""
        total = 0
        for name in self.names:
            with contextlib.suppress(Exception), warnings.catch_warnings():  # decoding says what is wrong with it
                warnings.simplefilter("ignore")
                file = self._archive.open(name) if self._archive else (self.path / name).open("rb")
                with file, Image.open(file) as picture:
                    total += 3 * picture.width * picture.height
        return total

    def content(self) -> str:
        """A digest of the pictures' names and the sizes of their files: of a copy, or packed into a zip, the same."""
        if self._archive:
            sizes = [self._archive.getinfo(name).file_size for name in self.names]
        else:
            sizes = [(self.path / name).stat().st_size for name in self.names]
        return digest((self.names, sizes))

    def version(self) -> str:
        """A digest of the source's path and its pictures' names, sizes and times of change."""
        files = [self.path] if self._archive else [self.path / name for name in self.names]
        times = [(stat.st_size, stat.st_mtime_ns) for stat in (file.stat() for file in files)]
        return digest((str(self.path.resolve()), self.names, times))


def digest(value: object) -> str:
    """Of plain values: 16 hexadecimal digits."""
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def load_pictures(source: Source, cache: Path | None = None) -> list[np.ndarray]:
    """All pictures of a source as uint8 arrays ``[3, H, W]``: in memory, or in a file in the folder ``cache``.

    Of several processes the first decodes, and the others wait for its file. Raises ValueError where a picture cannot
    be read.
    """
    if cache is None:
        return list(source.decoded())
    data = cache / f"{source.path.stem}-{source.version()}.u8"
    index = data.with_suffix(".json")
    if _read_index(data, index) is None and processes.rank() == 0:
        _decode_into(data, index, source)
    while (sizes := _read_index(data, index)) is None:
        time.sleep(POLL)
    ends = np.cumsum([3 * height * width for height, width in sizes])
    pixels = np.split(np.asarray(np.memmap(data, np.uint8, "r")), ends[:-1])
    return [part.reshape(3, *size) for part, size in zip(pixels, sizes, strict=True)]


def _read_index(data: Path, index: Path) -> list[list[int]] | None:
    """Heights and widths of the pictures in a cache file; None where it is not there, or damaged."""
    try:
        sizes = json.loads(index.read_bytes())
        whole = data.stat().st_size == sum(3 * height * width for height, width in sizes)
    except (OSError, ValueError, TypeError):
        return None
    return sizes if whole else None


def _decode_into(data: Path, index: Path, source: Source) -> None:
    data.parent.mkdir(parents=True, exist_ok=True)
    sizes = []
    with_sizes = (sizes.append(picture.shape[1:]) or picture for picture in source.decoded())
    write_atomically(data, lambda file: [file.write(picture.data) for picture in with_sizes])
    write_atomically(index, lambda file: file.write(json.dumps(sizes).encode()))
