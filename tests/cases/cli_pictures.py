"""What the tests of the command line share: how to start it, and pictures to give to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from invsolve.images.files import read_image, write_image

COMMAND = [sys.executable, "-m", "invsolve.cli"]


def environment() -> dict[str, str]:
    """This process's, with the packages under test on the path wherever the command runs."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def picture(path: Path, height: int = 48, width: int = 64, offset: int = 0) -> Path:
    """A piece of a real photograph as a file."""
    write_image(read_image("skimage:astronaut")[:, offset : offset + height, 180 : 180 + width], path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
