"""The fields of the page as options of a run, and as the command line that does the same."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_pictures import picture
from PIL import Image

from invsolve.apps.web.form import Form, command
from invsolve.cli import _parser
from invsolve.commands.arguments import options_from
from invsolve.specs.options import AppOptions, RunOptions

FIELDS = {"wrong": "Too small", "simulate": False, "painted": None, "factor": 4, "std": 3, "kernel": None}
FIELDS |= {"estimate": True, "gray_levels": 5.0, "steps": 4, "samples": 1, "seed": 0, "format": "png"}
APP = AppOptions()


@pytest.fixture
def form(tmp_path, monkeypatch):
    """A form about a picture in the current folder, to which its results go."""
    monkeypatch.chdir(tmp_path)
    return Form(str(picture(Path("torn photo.png"))), **FIELDS)


def stroke(height: int = 48, width: int = 64) -> dict:
    """An editor's value: painted on a part, faintly at its rim."""
    layer = np.zeros((height, width, 4), np.uint8)
    layer[10:20, 30:40] = (255, 0, 255, 255)
    layer[20, 30:40, 3] = 1
    return {"background": None, "layers": [np.zeros_like(layer), layer], "composite": None}


CASES = {
    "plain": {},
    "larger": {"factor": 3, "samples": 8, "format": "webp"},
    "out of focus": {"wrong": "Out of focus", "std": 1.5, "estimate": False},
    "shaken": {"wrong": "Shaken", "kernel": "my kernel.npy", "std": 7, "seed": 5},
    "noisy": {"wrong": "Noisy", "estimate": False, "gray_levels": 12.5, "factor": 3},
    "painted": {"wrong": "Scratched", "painted": stroke(), "steps": 8},
    "spoilt": {"wrong": "Torn or with holes", "simulate": True},
    "gray": {"wrong": "Without colour"},
    "compressed": {"wrong": "Compressed (JPEG)", "estimate": False},
}


@pytest.mark.parametrize("case", CASES)
def test_the_command_says_the_same_options(form, case):
    options = replace(form, **CASES[case]).options(APP, Path())
    words = shlex.split(command(options))
    assert words[0] == "invsolve"
    assert options_from(_parser().parse_args(words[1:]), RunOptions) == options


def test_what_is_as_by_default_is_left_out(form):
    assert command(form.options(APP, Path())) == "invsolve run sr4x --input 'torn photo.png'"
    blurred = replace(form, wrong="Out of focus", estimate=False, gray_levels=2.5, std=1.5, samples=4)
    rest = "--samples 4 --sigma 2.5/255 --set operator.std=1.5"
    assert command(blurred.options(APP, Path())) == f"invsolve run deblur_gaussian --input 'torn photo.png' {rest}"
    more = replace(blurred, steps=8).options(APP, Path())
    assert command(more) == f"invsolve run deblur_gaussian --input 'torn photo.png' --steps 8 {rest}"


def test_what_is_painted_is_missing(form):
    options = replace(form, wrong="Scratched", painted=stroke()).options(APP, Path())
    expected = np.full((48, 64), 255)
    expected[10:21, 30:40] = 0
    assert np.array_equal(np.asarray(Image.open(options.mask)), expected)
    assert not options.fit_mask
    assert replace(form, wrong="Scratched", painted=stroke(24, 32)).options(APP, Path()).fit_mask


def test_a_mask_is_painted_transparent_or_the_simulation_s(form):
    torn = replace(form, wrong="Torn or with holes", painted={"layers": [np.zeros((48, 64, 4), np.uint8)]})
    with pytest.raises(ValueError, match="paint over it"):
        torn.options(APP, Path())
    assert replace(torn, simulate=True).options(APP, Path()).mask is None
    image = Image.open(form.picture).convert("RGBA")
    image.putpixel((3, 4), (0, 0, 0, 0))
    image.save("clear.png")
    assert replace(torn, picture="clear.png").options(APP, Path()).mask is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"picture": None}, "no picture yet"),
        ({"steps": 0}, "steps"),
        ({"samples": 2.5}, "samples"),
        ({"seed": -1}, "seed"),
        ({"estimate": False, "gray_levels": -1}, "noise level"),
        ({"format": "exe"}, "format"),
    ],
)
def test_bad_values_are_named(form, changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        replace(form, **changes).options(APP, Path())
