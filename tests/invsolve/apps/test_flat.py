"""Flat pictures come back flat, by the real command and the default prior, and what is not flat is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cli_pictures import pixels
from PIL import Image, ImageDraw

from invsolve.apps.flat import flat_part, keep_flat
from invsolve.cli import main

COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0), "brown": (200, 120, 60)}
TASKS = ["sr4x", "deblur_gaussian", "denoise", "colorize", "inpaint_box"]


@pytest.mark.slow
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("task", TASKS)
def test_flat_pictures_stay_flat(tmp_path, task, colour):
    """By one of 255 everywhere, at the border too; of a flat gray picture only black and white have a known colour."""
    if task == "colorize" and colour == "brown":
        pytest.skip("many colours have this brightness")
    size = 24 if task == "sr4x" else 64
    Image.new("RGB", (size, size), COLOURS[colour]).save(tmp_path / "a.png")
    command = ["run", task, "--input", tmp_path / "a.png", "--output", tmp_path / "b.png", "--device", "cpu"]
    if task == "inpaint_box":
        mask = Image.new("L", (size, size), 255)
        ImageDraw.Draw(mask).ellipse([10, 20, 40, 50], fill=0)
        mask.save(tmp_path / "mask.png")
        command += ["--mask", tmp_path / "mask.png"]
    assert main([str(argument) for argument in command]) == 0
    found = pixels(tmp_path / "b.png")
    wanted = np.array(COLOURS[colour]) if found.ndim == 3 else COLOURS[colour][0]
    assert np.abs(found - wanted).max() <= 1


def textured(height: int, width: int) -> torch.Tensor:
    """Left of column 30 flat up to rounding, elsewhere not."""
    generator = torch.Generator().manual_seed(0)
    y = 0.25 + torch.randint(0, 2, (3, height, width), generator=generator) / 127.5
    y[..., 30:] += 0.2 * torch.rand(3, height, width - 30, generator=generator)
    return y


def test_only_what_is_flat_all_around_is_flat():
    y = textured(40, 60)
    weight, value = flat_part(y, None, 3)
    assert (weight[..., : 30 - 8] == 1).all()
    assert (weight[..., 30 - 8 :] == 0).all()
    assert (value[..., :22] - y[..., :22]).abs().max() <= 1 / 127.5
    x = torch.rand(2, 3, 80, 120)
    kept = keep_flat(x, weight, value)
    assert (kept[..., :40] - 0.25).abs().max() <= 1 / 127.5 + 1e-6
    assert torch.equal(kept[..., 46:], x[..., 46:])


def test_a_hole_is_flat_where_its_whole_rim_is():
    y = textured(60, 80)
    mask = torch.ones(60, 80)
    inner, outer = np.s_[10:40, 2:20], np.s_[45:50, 18:40]  # the second reaches into what is not flat
    for place in (inner, outer):
        mask[place] = 0
    weight, value = flat_part(torch.where(mask > 0, y, torch.nan), mask, 3)
    assert (weight[0][inner] == 1).all()
    assert (value[(slice(None), *inner)] - 0.25).abs().max() <= 1 / 127.5
    assert (weight[0][outer] == 0).all()


def test_a_gray_measurement_tells_no_colour_but_black_and_white():
    for gray, wanted in ((-1.0, 1), (0.0, 0), (1.0, 1), (0.9, 0)):
        assert (flat_part(torch.full((1, 20, 20), gray), None, 3)[0] == wanted).all()
        assert (flat_part(torch.full((1, 20, 20), gray), None, 1)[0] == 1).all()
