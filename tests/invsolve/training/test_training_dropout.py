"""Dropout acts on the networks that learn, and on no other: not on teachers, averages and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_cases import STUDENT, TEACHER, TUNING, figures, write

from invsolve.data.sources import Source, load_pictures
from invsolve.data.training_set import HeldOut, center_crops
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import load_denoiser
from invsolve.training import distill, finetune
from invsolve.training.ema import PowerEMA
from invsolve.training.teacher import train
from invsolve.training.validation import validate

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def teacher(pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    config = write(folder / "t.yaml", TEACHER, images=320, network={**TEACHER["network"], "dropout": 0.2})
    return train(config, [str(pictures)], folder / "out", "cpu")


def step_of(module, monkeypatch, training, *arguments) -> tuple:
    """The step of a training that is not begun, and its trainees."""
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(module, "train_loop", lambda run, trainees, step, *_: found.append((step, trainees)))
        training(*arguments)
    return found[0]


def differs(denoiser, conditional: bool = False) -> bool:
    """Whether a denoiser called twice on the same pictures gives two answers."""
    u = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    call = (u, 0.7, u, 0.5) if conditional else (u, 0.7)
    with torch.no_grad():
        return (denoiser(*call) - denoiser(*call)).abs().max().item() > 1e-3


def test_validation_figures_are_those_of_the_exported_weights(teacher, pictures):
    (logged,) = figures(teacher.parent, "validation")
    held_out = HeldOut(center_crops(load_pictures(Source(pictures))[-2:], 16, torch.device("cpu")))
    assert logged == pytest.approx(validate(load_denoiser(teacher)[0], held_out), abs=0.01)  # half precision


def test_the_networks_that_learn_alone_have_dropout(teacher, pictures, tmp_path, monkeypatch):
    rest = (teacher, [str(pictures)], tmp_path / "out", "cpu")
    config = write(tmp_path / "d.yaml", STUDENT, images=40)
    step, trainees = step_of(distill, monkeypatch, distill.distill, config, *rest)
    assert differs(step.fake, conditional=True)
    assert differs(step.generator.denoiser, conditional=True)
    assert not differs(step.teacher)
    assert not differs(Denoiser(trainees["generator"].averages[0].network), conditional=True)

    generator = distill.distill(config, *rest)
    step, _ = step_of(finetune, monkeypatch, finetune.finetune, write(tmp_path / "f.yaml", TUNING), generator, *rest)
    assert differs(step.denoiser, conditional=True)
    assert not differs(step.original, conditional=True)
    assert not differs(step.teacher)


def test_an_average_computes_without_dropout_and_leaves_the_network_as_it_is():
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))
    average = PowerEMA(network, 0.1).network
    assert network[1].training
    assert torch.equal(average(torch.ones(1, 3)), network[0](torch.ones(1, 3)))
