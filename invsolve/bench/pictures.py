"""The clean pictures of a benchmark: a folder or zip file, of any sizes, each read when it is due."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from pathlib import Path, PurePosixPath

from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..data.sources import Source
from ..images.decoding import decode_size
from ..images.files import central_crop, decode_image

DIGESTED = 256  # files at most that a digest reads: some 30 MB at 256 pixels a side

Size = tuple[int, int]  # height, width


class Pictures:
    """Pictures below a folder or in a zip file, sorted by path; whole, or reduced, or cropped, but never stretched.

    They may lie flat or in folders of a thousand (``00012.png`` or ``00000/00012.png``). A picture's name is that of
    its file without folders and suffix; it keys the picture's noise, so every layout gives the same results.

    Args:
        path: the folder or zip file.
        size: side of the central crop in pixels; None: the whole picture.
        reduce: pictures are first averaged over blocks of ``reduce`` x ``reduce`` pixels; what is left of a block at
            the right and at the bottom is cut off.
        limit: take the first ones alone.

    Attributes:
        names: of the pictures, in order.
        sizes: of each name the size that :meth:`read` gives.
        file_sizes: how many files there are of each size, ``{"768x512": 24}``.

    Raises:
        ValueError: there is no picture, a file is none or too small, or two have one name.
    """

    def __init__(self, path: Path, size: int | None = None, reduce: int = 1, limit: int | None = None):
        self.size, self.reduce, self._source = size, reduce, Source(path)
        self._files: dict[str, str] = {}  # by name
        self.sizes: dict[str, Size] = {}
        found: list[Size] = []
        for file in self._source.names[:limit]:
            name = PurePosixPath(file).stem
            if name in self._files:
                raise ValueError(
                    f"{path}: {self._files[name]} and {file} have one name, {name}, but each needs its own"
                )
            self._files[name] = file
            with self._source.open(file) as opened:
                found.append(decode_size(opened, self._label(name)))
            self.sizes[name] = self._restored(found[-1], name)
        self.names = list(self._files)
        self.file_sizes = dict(Counter(map(written, found)))

    def __len__(self) -> int:
        return len(self.names)

    def digest(self, first: int) -> str:
        """Of the first pictures' bytes, the same for a folder and a zip file; of many, of 256 spread evenly."""
        total, count = hashlib.sha256(), min(first, DIGESTED)
        for i in range(count):
            total.update(self._source.read(self._files[self.names[i * first // count]]))
        return total.hexdigest()[:12]

    def read(self, name: str) -> Tensor:
        """Picture ``[3, H, W]`` in [-1, 1]. Raises ValueError where it cannot be read."""
        image = decode_image(io.BytesIO(self._source.read(self._files[name])), self._label(name))
        image = avg_pool2d(image, self.reduce) if self.reduce > 1 else image
        return image if self.size is None else central_crop(image, self.size)

    def _label(self, name: str) -> str:
        return f"{self._source.path}/{self._files[name]}"

    def _restored(self, size: Size, name: str) -> Size:
        """What is restored of a picture of ``size``."""
        height, width = (side // self.reduce for side in size)
        least = self.size or 1
        if min(height, width) < least:
            reduced = f" (--reduce {self.reduce})" if self.reduce > 1 else ""
            wanted = f"at least {least * self.reduce} pixels a side for --size {least}{reduced}"
            raise ValueError(f"{self._label(name)}: is {written(size)} but must have {wanted}")
        return (height, width) if self.size is None else (self.size, self.size)


def written(size: Size) -> str:
    """``(512, 768)`` -> ``"768x512"``, as files' sizes are written."""
    height, width = size
    return f"{width}x{height}"
