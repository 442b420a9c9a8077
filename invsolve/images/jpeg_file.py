"""What a JPEG file says of its picture: rounded cosine coefficients, with their steps and the averaging of chroma."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from operators.jpeg import BLOCK, JPEG

SPACES = {"JCS_YCbCr": 3, "JCS_GRAYSCALE": 1}  # colour spaces that are read, and their planes
ARITHMETIC = (0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)  # markers of a frame with arithmetic coding
FRAMES = range(0xC0, 0xD0)
NO_FRAMES = (0xC4, 0xC8, 0xCC)


@dataclass(frozen=True)
class JpegFile:
    """A JPEG file's coefficients, as they are coded."""

    coefficients: tuple[np.ndarray, ...]  # of each plane, integers [rows, columns, 8, 8]
    tables: tuple[np.ndarray, ...]  # of each plane, steps [8, 8]
    subsampling: tuple[int, int]  # rows and columns over which chroma is averaged
    height: int
    width: int

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width up to whole blocks of all planes."""
        rows, columns = (BLOCK * factor for factor in self.subsampling)
        return -(-self.height // rows) * rows, -(-self.width // columns) * columns

    @property
    def key(self) -> str:
        """The same for files with one operator."""
        told = [self.padded, self.subsampling, [table.tolist() for table in self.tables]]
        shapes = [plane.shape for plane in self.coefficients]
        return hashlib.blake2b(repr((told, shapes)).encode(), digest_size=16).hexdigest()

    def operator(self) -> JPEG:
        """What was measured, of a picture that fills all blocks. What the file does not hold is not known."""
        height, width = self.padded
        factors = [(1, 1), self.subsampling, self.subsampling]
        steps = []
        for table, plane, (fy, fx) in zip(self.tables, self.coefficients, factors, strict=False):
            step = np.full((height // fy, width // fx), np.inf)
            rows, columns = (BLOCK * n for n in plane.shape[:2])
            step[:rows, :columns] = np.tile(table, plane.shape[:2])[: len(step), : step.shape[1]]
            steps.append(torch.from_numpy(step))
        return JPEG((len(self.tables), height, width), steps, self.subsampling)

    def measurement(self, operator: JPEG) -> Tensor:
        """y `[coefficients]` of that operator."""
        planes = []
        for plane, shape in zip(self.coefficients, operator.plane_shapes, strict=True):
            whole = np.zeros(shape, np.float32)
            placed = plane.transpose(0, 2, 1, 3).reshape(BLOCK * plane.shape[0], BLOCK * plane.shape[1])
            placed = placed[: shape[0], : shape[1]]
            whole[: placed.shape[0], : placed.shape[1]] = placed
            planes.append(torch.from_numpy(whole).flatten())
        counts, steps = torch.cat(planes).to(operator.steps), operator.steps[0]
        return torch.where(steps < torch.inf, counts * steps, 0) + operator.origins[0]


def read_jpeg(path: Path) -> JpegFile:
    """Read a JPEG's coefficients.

    Raises:
        ValueError: it is no JPEG, truncated or damaged, arithmetic-coded, of other colours than YCbCr and gray (CMYK,
            RGB), or chroma is not averaged over whole pixels of luma.
    """
    import jpeglib

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if not content.startswith(b"\xff\xd8\xff"):
        raise ValueError(f"{path}: is not a JPEG file, whose coefficients the task needs (try the task denoise)")
    if _frame(content) in ARITHMETIC:
        raise ValueError(f"{path}: is an arithmetic-coded JPEG, which cannot be read; save it with Huffman coding")
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()  # libjpeg itself would fill in what is missing
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as a JPEG ({error})") from None
    found = jpeglib.read_dct(str(path))
    space = str(found.jpeg_color_space)
    if space not in SPACES:
        raise ValueError(f"{path}: is a JPEG with {space.removeprefix('JCS_')} colours; it must be YCbCr or gray")
    count = SPACES[space]
    planes = (found.Y, found.Cb, found.Cr)[:count]
    tables = tuple(np.asarray(found.qt[found.quant_tbl_no[k]]) for k in range(count))
    (vertical, horizontal), *chroma = [tuple(int(n) for n in factor) for factor in found.samp_factor[:count]]
    if any(each != chroma[0] or vertical % each[0] or horizontal % each[1] for each in chroma):
        raise ValueError(f"{path}: its chroma is not averaged over whole pixels of luma, which is not supported")
    subsampling = (vertical // chroma[0][0], horizontal // chroma[0][1]) if chroma else (1, 1)
    return JpegFile(planes, tables, subsampling, int(found.height), int(found.width))


def _frame(content: bytes) -> int | None:
    """The marker of a JPEG's frame, which says how it is coded; None where there is none."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in FRAMES and marker not in NO_FRAMES:
            return marker
        place += 1 if marker == 0xFF else 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return None
