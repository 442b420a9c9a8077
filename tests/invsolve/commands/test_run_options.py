"""What `invsolve run` takes for known of a picture: its noise, what is missing of it, how it was reduced or blurred."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_pictures import picture, pixels
from PIL import Image

from invsolve import default_settings, solve
from invsolve.apps.observe import LEAST
from invsolve.cli import main
from invsolve.images.files import read_image, to_bytes, write_image
from invsolve.priors.gray import GrayPrior
from invsolve.priors.reflected import with_reflection
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import stream_index
from invsolve.specs.task import load_task
from operators import Grayscale, Identity, Resize

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def restore(tiny_prior, tmp_path):
    """Run the command on one picture; the pixels of the restored one."""

    def run_command(*arguments: object) -> np.ndarray:
        usual = ["--prior", tiny_prior, "--output", tmp_path / "out.png", "--device", "cpu"]
        command = ["run", *usual, *arguments]
        assert main([str(argument) for argument in command]) == 0
        return pixels(tmp_path / "out.png")

    return run_command


def solved(path: Path, operator, sigma_y: float, prior: Path, settings=None) -> np.ndarray:
    """What `solve` makes of a picture, by default with the settings that it chooses."""
    prior = with_reflection(load_prior(prior))
    prior = GrayPrior(prior) if operator.in_shape[0] == 1 else prior
    y = read_image(path, operator.out_shape[0])[None]
    settings = settings or default_settings(operator, sigma_y, prior)
    x = solve(y, operator, 4, sigma_y, prior, settings=settings, indices=[stream_index(path.stem)])
    return to_bytes(x[0]).astype(int)


@pytest.mark.parametrize("written", ["25/255", str(2 * 25 / 255)])
def test_settings_adapt_to_the_noise(restore, tiny_prior, tmp_path, written):
    """Noise of 25 of 255 is another one than the task's settings were tuned for; so is none, and so is the first."""
    image = picture(tmp_path / "a.png")
    wanted = solved(image, Identity((3, 48, 64)), 2 * 25 / 255, tiny_prior)
    assert np.abs(restore("denoise", "--input", image, "--sigma", written) - wanted).max() <= 1
    tuned = solved(image, Identity((3, 48, 64)), 0.06, tiny_prior, load_task("denoise").settings(4))
    assert np.abs(restore("denoise", "--input", image, "--sigma", "0.06") - tuned).max() <= 1
    assert np.array_equal(restore("denoise", "--input", image, "--sigma", 0), pixels(image))


def test_noise_is_estimated_said_and_used(restore, tmp_path, capsys):
    image = read_image("skimage:astronaut")[:, 60:188, 160:288] * 0.7  # away from black and white, where noise is cut
    write_image(image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0)), tmp_path / "a.png")
    found = restore("denoise", "--input", tmp_path / "a.png", "--prior", "default")
    said = re.search(r"a: noise of (\S+) of 255 gray levels \(sigma (\S+) on \[-1, 1\]\), est", capsys.readouterr().out)
    sigma = float(said[2])
    assert sigma == pytest.approx(0.1, rel=0.1)
    assert float(said[1]) == pytest.approx(127.5 * sigma, rel=0.05)
    again = restore("denoise", "--input", tmp_path / "a.png", "--prior", "default", "--sigma", sigma)
    assert np.array_equal(found, again)


def test_the_noise_of_a_flat_picture_is_that_of_rounding(restore, tmp_path, capsys):
    write_image(torch.zeros(3, 32, 32), tmp_path / "a.png")
    restore("denoise", "--input", tmp_path / "a.png")
    assert f"(sigma {LEAST} on [-1, 1]), estimated" in capsys.readouterr().out


def test_a_simulation_has_the_tasks_noise_or_the_given(restore, tmp_path, monkeypatch):
    monkeypatch.setattr("invsolve.apps.run.load_metrics", lambda *_: {})
    image = picture(tmp_path / "a.png")
    for options, sigma in ((("--set", "sigma_y=0.1"), 0.1), (("--sigma", "0.2"), 0.2)):
        restore("denoise", "--simulate", "--input", image, *options)
        assert json.loads((tmp_path / "out_metrics.json").read_text())["sigma_y"] == sigma
        noise = (pixels(tmp_path / "out_measurement.png") - pixels(image)) / 127.5
        assert noise.std() == pytest.approx(sigma, rel=0.1)


def test_gray_pictures_are_restored_as_gray(restore, tiny_prior, tmp_path):
    Image.fromarray(pixels(picture(tmp_path / "a.png"))[..., 0].astype(np.uint8)).save(tmp_path / "a.png")
    wanted = solved(tmp_path / "a.png", Identity((1, 48, 64)), 0.1, tiny_prior)
    assert np.abs(restore("denoise", "--input", tmp_path / "a.png", "--sigma", 0.1) - wanted).max() <= 1
    colourised = solved(tmp_path / "a.png", Grayscale((3, 48, 64)), 0.1, tiny_prior)
    assert np.abs(restore("colorize", "--input", tmp_path / "a.png", "--sigma", 0.1) - colourised).max() <= 1


def test_any_factor(restore, tiny_prior, tmp_path):
    image = picture(tmp_path / "a.png", 24, 32)
    wanted = solved(image, Resize((3, 48, 64), 2), 0.05, tiny_prior)
    for options in (["--factor", 2], ["--set", "operator.factor=2"]):
        assert np.abs(restore("sr4x", "--input", image, "--sigma", 0.05, *options) - wanted).max() <= 1
    between = restore("sr4x", "--input", image, "--sigma", 0.05, "--outscale", 1.5)
    assert between.shape == (36, 48, 3)
    reduced = Image.fromarray(wanted.astype(np.uint8)).resize((48, 36), Image.Resampling.LANCZOS)
    assert np.abs(between - np.asarray(reduced).astype(int)).max() <= 3  # which rounds in between
    assert restore("sr4x", "--input", image, "--sigma", 0.05, "--outscale", 3, "--factor", 2).shape == (72, 96, 3)


def test_what_is_painted_in_a_colour_is_missing(restore, tmp_path, capsys):
    image = pixels(picture(tmp_path / "a.png"))
    painted = image.astype(np.uint8)
    painted[10:20, 10:30] = (255, 0, 255)
    Image.fromarray(painted).save(tmp_path / "a.png")
    for colour in ("#ff00ff", "magenta"):
        found = restore("inpaint_box", "--input", tmp_path / "a.png", "--mask-color", colour)
        changed = (found != painted).any(axis=2)
        assert changed[10:20, 10:30].all()
        assert not changed[np.r_[:9, 21:48]].any()  # but for one pixel around
        assert not changed[:, np.r_[:9, 31:64]].any()
        assert f"a: mask: {1 - 12 * 22 / (48 * 64):.0%} observed" in capsys.readouterr().out


def test_a_mask_the_wrong_way_round_is_noticed(restore, tmp_path, capsys):
    image = pixels(picture(tmp_path / "a.png"))
    mask = np.zeros((48, 64), np.uint8)
    mask[4:8, 4:30] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    command = ["inpaint_random", "--input", tmp_path / "a.png", "--mask", tmp_path / "mask.png"]
    restore(*command)
    assert "97% of it are missing; if white means missing in the mask: --invert-mask" in capsys.readouterr().err
    found = restore(*command, "--invert-mask")
    assert capsys.readouterr().err == ""
    changed = (found != image).any(axis=2)
    assert changed[4:8, 4:30].any()
    assert changed.sum() == changed[4:8, 4:30].sum()


def test_a_mask_may_be_fitted(restore, tmp_path):
    image = pixels(picture(tmp_path / "a.png"))
    mask = np.full((24, 32), 255, np.uint8)
    mask[5:8, 5:8] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    command = ["inpaint_box", "--input", tmp_path / "a.png", "--mask", tmp_path / "mask.png", "--fit-mask"]
    changed = (restore(*command) != image).any(axis=2)
    assert changed[10:16, 10:16].all()
    assert changed.sum() == 36


def test_samples_agree_where_pixels_are_observed(restore, tmp_path):
    image = pixels(picture(tmp_path / "a.png"))
    mask = np.full((48, 64), 255, np.uint8)
    mask[20:30, 20:30] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    restore("inpaint_box", "--input", tmp_path / "a.png", "--mask", tmp_path / "mask.png", "--samples", 3)
    observed = mask == 255
    for part in ("mean", "sample1", "sample3"):
        assert np.array_equal(pixels(tmp_path / f"out_{part}.png")[observed], image[observed])
    std = pixels(tmp_path / "out_std.png")
    assert (std[observed] == 0).all()
    assert std[~observed].min() > 0


def test_info_shows_a_task(capsys):
    assert main(["info", "deblur_gaussian"]) == 0
    shown = capsys.readouterr().out
    for words in ("operator.std", "3.0", "a number, above 0", "one of circular, reflect, replicate, zero, valid"):
        assert words in shown
    assert "--kernel FILE" in shown
    assert main(["info", "inpaint_random"]) == 0
    assert "tuned for noise near 0 and 0.05" in capsys.readouterr().out
