"""Classes from the folders' names to the samples: a teacher and a prior that know dark pictures from bright ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training_cases import STUDENT, TEACHER, TUNING, figures, refused, write

from invsolve.data.sources import Source, load_pictures
from invsolve.data.training_set import HeldOut, center_crops
from invsolve.priors.file import load_denoiser
from invsolve.priors.registry import load_prior
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.solver.solve import Settings, solve
from invsolve.training.distill import distill
from invsolve.training.finetune import finetune
from invsolve.training.teacher import train
from invsolve.training.validation import validate
from operators import Mask

pytestmark = pytest.mark.usefixtures("one_thread")

DARK, BRIGHT = 0, 1
NETWORK = {**TEACHER["network"], "labels": 2}


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory) -> Path:
    """Eight dark and eight bright pictures, with a little texture, in a folder each."""
    folder, stream = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for name, brightness in (("a-dark", 50), ("b-bright", 205)):
        (folder / name).mkdir()
        for i in range(8):
            pixels = brightness + stream.normal(0, 12, (16, 16, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def class_teacher(two_classes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    config = write(folder / "t.yaml", TEACHER, network=NETWORK, images=160 * 8, sigma_mean=0.5, label_dropout=0.25)
    return train(config, [str(two_classes)], folder / "out", "cpu")


@pytest.fixture(scope="module", params=["inputs", "encoder"])
def class_student(request, class_teacher, two_classes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    config = write(folder / "d.yaml", STUDENT, conditioning=request.param, images=24 * 8)
    return distill(config, class_teacher, [str(two_classes)], folder / "out", "cpu")


def brightness(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1).mean(1)


def noisy(count: int) -> torch.Tensor:
    return 5 * torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_teacher_knows_the_classes(class_teacher):
    """From noise alone the mean of a class is as bright as its pictures, and without a class it is in between."""
    denoiser, header, _ = load_denoiser(class_teacher)
    dark, bright = (denoiser(noisy(8), 5.0, labels=torch.full((8,), label)) for label in (DARK, BRIGHT))
    either = denoiser(noisy(8), 5.0)
    assert brightness(dark).max() < brightness(either).max() - 0.1
    assert brightness(bright).min() > brightness(either).min() + 0.1
    assert (brightness(bright) - brightness(dark)).mean() > 0.6  # of the 1.2 between the pictures
    assert header["record"]["classes"] == ["a-dark", "b-bright"]


def test_validation_is_given_the_classes(class_teacher, two_classes):
    images = center_crops(load_pictures(Source(two_classes))[7::8], 16, torch.device("cpu"))  # the last of each class
    denoiser, _, _ = load_denoiser(class_teacher)
    right, wrong = (
        validate(denoiser, HeldOut(images, torch.tensor(labels)))["psnr_2"]
        for labels in ([DARK, BRIGHT], [BRIGHT, DARK])
    )
    assert right > wrong + 0.5
    logged = figures(class_teacher.parent, "validation")[-1]
    assert logged["psnr_2"] == pytest.approx(right, abs=0.05)  # the file has half precision


def test_the_distilled_prior_knows_the_classes_too(class_student):
    prior = load_prior(class_student)
    samples = [
        prior.sample(noisy(8), 5.0, NoiseStreams(0, range(8)), labels=torch.full((8,), label))
        for label in (DARK, BRIGHT)
    ]
    assert (brightness(samples[1]) - brightness(samples[0])).min() > 0.4


def test_a_prior_of_classes_restores_without_one(class_student):
    operator = Mask((3, 16, 16), torch.ones(16, 16))
    x = solve(torch.zeros(2, 3, 16, 16), operator, 2, 0.05, class_student, settings=Settings(sigma_max=0.5))
    assert x.isfinite().all()
    assert x.abs().max() < 1


def test_classes_that_do_not_fit_are_refused(two_classes, pictures, tmp_path):
    one = write(tmp_path / "one.yaml", TEACHER, network={**TEACHER["network"], "labels": 1})
    refused("has class 1 but the network has labels: 1", train, one, [str(two_classes)], tmp_path / "out", "cpu")
    two = write(tmp_path / "two.yaml", TEACHER, network=NETWORK)
    refused("lies in no folder that names its class", train, two, [str(pictures)], tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_classes_are_those_of_the_weights(class_student, class_teacher, two_classes, tmp_path):
    """Of the data's order and of weights' from another one, none is right."""
    shutil.copytree(two_classes, tmp_path / "other")
    (tmp_path / "other" / "a-dark").rename(tmp_path / "other" / "z-dark")
    rest, found = ([str(tmp_path / "other")], tmp_path / "out", "cpu"), "classes are b-bright, z-dark but the"
    config = write(tmp_path / "d.yaml", STUDENT)
    refused(f"{found} teacher's a-dark, b-bright", distill, config, class_teacher, *rest)
    config, weights = write(tmp_path / "f.yaml", TUNING, images=8), (class_student, class_teacher)
    refused(f"{found} generator's a-dark, b-bright", finetune, config, *weights, *rest)
    assert not (tmp_path / "out").exists()
    tuned = finetune(config, *weights, [str(two_classes)], tmp_path / "out", "cpu")
    assert load_denoiser(tuned)[1]["record"]["classes"] == ["a-dark", "b-bright"]
