"""The clean pictures of a benchmark: a folder or zip file in any of FFHQ's layouts, each read when it is due."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path, PurePosixPath

from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..data.sources import Source
from ..images.files import decode_image

DIGESTED = 256  # files at most that a digest reads: some 30 MB at 256 pixels a side


class Pictures:
    """Square pictures below a folder or in a zip file, sorted by path, reduced to one size.

    They may lie flat or in folders of a thousand (``00012.png`` or ``00000/00012.png``). A picture's name is that of
    its file without folders and suffix; it keys the picture's noise, so every layout gives the same results.

    Args:
        path: the folder or zip file.
        size: side of the pictures in pixels; larger ones, of a multiple of it, are averaged over blocks (by area).
        limit: take the first ones alone.

    Raises:
        ValueError: there is no picture, the first cannot be used, or two have one name.
    """

    def __init__(self, path: Path, size: int, limit: int | None = None):
        self.size, self._source = size, Source(path)
        self._files: dict[str, str] = {}  # by name
        for file in self._source.names[:limit]:
            name = PurePosixPath(file).stem
            if name in self._files:
                raise ValueError(
                    f"{path}: {self._files[name]} and {file} have one name, {name}, but each needs its own"
                )
            self._files[name] = file
        self.names = list(self._files)
        self.read(self.names[0])  # one of the wrong size is refused here, before anything is written

    def __len__(self) -> int:
        return len(self.names)

    def digest(self, first: int) -> str:
        """Of the first pictures' bytes, the same for a folder and a zip file; of many, of 256 spread evenly."""
        total, count = hashlib.sha256(), min(first, DIGESTED)
        for i in range(count):
            total.update(self._source.read(self._files[self.names[i * first // count]]))
        return total.hexdigest()[:12]

    def read(self, name: str) -> Tensor:
        """Picture ``[3, size, size]`` in [-1, 1].

        Raises:
            ValueError: it cannot be read, or is not square with a side that is a multiple of ``size``.
        """
        file = self._files[name]
        label = f"{self._source.path}/{file}"
        image = decode_image(io.BytesIO(self._source.read(file)), label)
        _, height, width = image.shape
        if height != width or height % self.size:
            wanted = f"square with a side that is a multiple of {self.size} (--size)"
            raise ValueError(f"{label}: is {width}x{height} but must be {wanted}")
        return avg_pool2d(image, height // self.size)
