"""A prior of one channel, from pictures to a restored image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from training_cases import STUDENT, TEACHER, refused, write

from invsolve import solve
from invsolve.data.crops import Crops
from invsolve.data.training_set import TrainingSet, center_crops
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.training.calibrate import calibrate
from invsolve.training.distill import distill
from invsolve.training.finetune import finetune
from invsolve.training.teacher import train
from operators import Mask, random_mask

GRAY = {**TEACHER["network"], "image_channels": 1}


def gray_waves(pictures) -> torch.Tensor:
    """The held-out pictures in gray, ``[2, 1, 16, 16]``."""
    files = sorted(pictures.glob("*.png"))[-2:]
    images = np.stack([np.asarray(Image.open(file).convert("L"))[4:20, 2:18] for file in files])
    return torch.from_numpy(images / 127.5 - 1).float()[:, None]


def test_a_prior_of_one_channel_from_pictures_to_a_restored_image(pictures, tmp_path):
    config = write(tmp_path / "t.yaml", TEACHER, network=GRAY, images=64)
    teacher = train(config, [str(pictures)], tmp_path / "teacher", "cpu")
    assert load_denoiser(teacher)[1]["network"]["image_channels"] == 1
    few = {"images": 40, "fake_first": 2, "adversarial_from": 3, "discriminator_first": 1}
    written = distill(write(tmp_path / "d.yaml", STUDENT, **few), teacher, [str(pictures)], tmp_path / "prior", "cpu")
    prior, x = load_prior(written), gray_waves(pictures)
    operator = Mask((1, 16, 16), random_mask((16, 16), 0.3, seed=0))
    y = operator.measure(x, 0.05, NoiseStreams(1, range(2)))
    restored = solve(y, operator, 4, 0.05, written)
    assert torch.equal(restored, solve(y, operator, 4, 0.05, prior))
    assert restored.shape == x.shape
    seen = operator(torch.ones_like(x)) > 0
    assert (restored - x)[seen].square().mean() < 0.2 * x[seen].square().mean()
    colour = torch.zeros(1, 3, 16, 16)
    with pytest.raises(ValueError, match="the images have 3 channels but the prior's have 1"):
        solve(colour, Mask((3, 16, 16), torch.ones(16, 16)), 4, 0.05, prior)


@pytest.mark.slow
def test_all_trainings_take_one_channel(pictures, tmp_path):
    teacher = train(
        write(tmp_path / "t.yaml", TEACHER, network=GRAY, images=64), [str(pictures)], tmp_path / "t", "cpu"
    )
    prior = distill(write(tmp_path / "d.yaml", STUDENT), teacher, [str(pictures)], tmp_path / "d", "cpu")
    short = {**STUDENT, "images": 16}
    for name in ("fake_first", "adversarial_weight", "adversarial_from", "discriminator_first"):
        del short[name]
    tuned = finetune(write(tmp_path / "f.yaml", short), prior, teacher, [str(pictures)], tmp_path / "f", "cpu")
    calibrated = calibrate(
        write(tmp_path / "c.yaml", short, scales=[1, 2]), prior, [str(pictures)], tmp_path / "c", "cpu"
    )
    for path in (tuned, calibrated):
        assert load_denoiser(path)[1]["network"]["image_channels"] == 1


def test_gray_crops_are_those_of_the_gray_picture():
    picture = np.random.default_rng(0).integers(0, 256, (3, 20, 18), dtype=np.uint8)
    luma = np.tensordot([0.299, 0.587, 0.114], picture, 1).round()
    crops, colour = (Crops([([picture], 1.0)], 16, 0, channels=channels) for channels in (1, 3))
    for i in range(4):
        gray, whole = crops[i][0].numpy(), colour[i][0].numpy()
        assert gray.shape == (1, 16, 16)
        assert np.abs(gray[0] - np.tensordot([0.299, 0.587, 0.114], whole, 1)).max() < 0.51
    centre = center_crops([picture], 16, torch.device("cpu"), channels=1)
    assert np.abs((centre[0, 0].numpy() + 1) * 127.5 - luma[2:18, 1:17]).max() < 1e-3


def test_two_channels_have_no_pictures(pictures):
    refused("images of 2 channels but pictures have 3, or 1 in gray", TrainingSet, [str(pictures)], 0, 2)
