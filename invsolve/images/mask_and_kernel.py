"""Masks and blur kernels from files: pictures or NumPy arrays."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch
from PIL import ImageColor
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from .files import SUFFIXES, read_image

GRAY_SHARE = 0.1  # of a mask's pixels that may be neither black nor white (edges, JPEG); with more it is a photograph
COLOUR_TOLERANCE = 24 / 255  # that a pixel of a colour may differ from it in each channel, as after JPEG
OPAQUE = 0.95  # opacity from which a pixel counts as observed
DAMAGE = (OSError, ValueError, EOFError, TypeError, SyntaxError, TokenError, MemoryError)  # in NumPy, on a bad header


def read_mask(path: Path) -> torch.Tensor:
    """A mask file as ``[H, W]`` of 1 (white: observed) and 0 (black: missing).

    White is 1 in an array, or 255 where that is its largest value and all are whole numbers.

    Raises:
        ValueError: unreadable, not black and white, or black all over.
    """
    values = torch.from_numpy(read_values(path))
    low, high = values.min().item(), values.max().item()
    if high == 255 and low >= 0 and torch.equal(values, values.round()):
        values = values / 255
    elif low < 0 or high > 1:
        wanted = "values must lie in 0..1, or be whole numbers up to 255"
        raise ValueError(f"mask {path}: {wanted}; found {low:g}..{high:g}")
    gray = ((values > 0.1) & (values < 0.9)).float().mean().item()
    if gray > GRAY_SHARE:
        raise ValueError(f"mask {path}: expected black (missing) and white (observed) pixels; {gray:.0%} are neither")
    mask = (values >= 0.5).float()
    if not mask.any():
        raise ValueError(f"mask {path}: no pixel is white (observed)")
    return mask


def find_mask(folder: Path, picture: Path) -> Path:
    """The mask of a picture in a folder of masks: the file of its name. Raises ValueError unless there is just one."""
    found = [path for suffix in (*SUFFIXES, ".npy") for path in [folder / f"{picture.stem}{suffix}"] if path.is_file()]
    if len(found) != 1:
        raise ValueError(f"{picture}: {len(found) or 'no'} masks of the name {picture.stem} in {folder}; expected one")
    return found[0]


def mask_of_colour(image: Tensor, colour: str) -> Tensor:
    """A mask ``[H, W]`` that is 0 where an image ``[C, H, W]`` has a colour (``#ff00ff``), and on the pixels around.

    Those may be a mixture with it. Raises ValueError where the text is no colour, or the image has no such pixel.
    """
    wanted = torch.tensor(colour_channels(colour)).to(image)[:, None, None] / 127.5 - 1
    painted = ((image - wanted).abs() <= 2 * COLOUR_TOLERANCE).all(dim=0)
    if not painted.any():
        raise ValueError(f"--mask-color {colour}: the picture has no pixel of this colour")
    return 1 - max_pool2d(painted.float()[None], 3, stride=1, padding=1)[0]


def colour_channels(colour: str) -> tuple[int, ...]:
    """Red, green and blue, 0 to 255, of a colour's text. Raises ValueError where it is none."""
    try:
        return ImageColor.getrgb(colour)[:3]
    except ValueError:
        wanted = "expected one such as '#ff00ff' or 'magenta'"
        raise ValueError(f"--mask-color {colour!r}: is no colour; {wanted}") from None


def mask_of_opacity(alpha: Tensor) -> Tensor:
    """A mask ``[H, W]`` of the opaque pixels of ``alpha`` ``[1, H, W]`` in [0, 1]."""
    return (alpha[0] >= OPAQUE).float()


def fitted(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask ``[H, W]`` in another size; a pixel that is missing in part is missing."""
    if tuple(mask.shape) == size:
        return mask
    return (interpolate(mask[None, None], size, mode="area")[0, 0] == 1).float()


def read_kernel(path: Path) -> torch.Tensor:
    """A blur kernel file as ``[h, w]`` float64, scaled to sum to 1. Raises ValueError where its sum is not positive."""
    kernel = torch.from_numpy(read_values(path)).double()
    if not kernel.sum() > 0:
        raise ValueError(f"kernel {path}: its sum is {kernel.sum().item():g} but must be positive")
    return kernel / kernel.sum()


def read_values(path: str | Path) -> np.ndarray:
    """Read a mask or a kernel: a picture (as gray, black 0 and white 1) or a 2-D ``.npy`` array; float32 ``[H, W]``.

    What is transparent in a picture is black: missing in a mask, zero in a kernel.

    Raises:
        ValueError: the file is missing or unreadable, or no 2-D array of real numbers that are finite as float32.
    """
    path = Path(path)
    if path.suffix.lower() != ".npy":
        return ((read_image(path, channels=1, background="black", keep_profile=True)[0] + 1) / 2).numpy()
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(f"{path}: cannot be read as a NumPy array ({error})") from None
    if values.ndim != 2 or values.dtype.kind not in "biuf" or 0 in values.shape:
        raise ValueError(f"{path}: expected a 2-D array of real numbers, found {values.dtype} of shape {values.shape}")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: expected finite real numbers, below {np.finfo(np.float32).max:.2g}")
    return values
