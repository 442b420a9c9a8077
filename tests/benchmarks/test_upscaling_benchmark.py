"""benchmarks/upscaling.py on small pieces of two pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from invsolve.images.files import read_image, write_image

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.usefixtures("lpips_trunk")
def test_it_compares_with_bicubic_interpolation(tmp_path):
    for name in ("astronaut", "coffee"):
        write_image(read_image(f"skimage:{name}")[:, :300, 100:400], tmp_path / f"{name}.png")
    command = [sys.executable, str(ROOT / "benchmarks" / "upscaling.py"), "--data", str(tmp_path), "--size", "128"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    rows = {
        name: (float(a), float(b)) for name, a, b in re.findall(r"\| (\w+) \| ([\d.]+) \| ([\d.]+) \|", done.stdout)
    }
    assert rows["invsolve"][1] < rows["bicubic"][1]
    assert all(15 < psnr < 40 for psnr, _ in rows.values())
    assert Image.open(tmp_path / "coffee.png").size == (300, 300)  # the pictures stay
