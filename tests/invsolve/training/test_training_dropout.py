"""Dropout acts on the networks that learn, and on no other: not on teachers, averages and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_cases import STUDENT, TEACHER, TUNING, figures, write

from invsolve.data.sources import Source, load_pictures
from invsolve.data.training_set import center_crops
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import load_denoiser
from invsolve.training import finetune
from invsolve.training import teacher as commands
from invsolve.training.ema import PowerEMA
from invsolve.training.teacher import distill, train, validate

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def teacher(pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    config = write(folder / "t.yaml", TEACHER, images=320, network={**TEACHER["network"], "dropout": 0.2})
    return train(config, [str(pictures)], folder / "out", "cpu")


@pytest.fixture(scope="module")
def generator(teacher, pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("generator")
    return distill(write(folder / "d.yaml", STUDENT, images=40), teacher, [str(pictures)], folder / "out", "cpu")


def the_step(module, monkeypatch) -> list:
    """Have a module's command train nothing: its step and trainees go to the list returned."""
    steps = []
    monkeypatch.setattr(
        module, "train_loop", lambda config, crops, trainees, step, *rest: steps.append((step, trainees))
    )
    return steps


def differs(denoiser, conditional: bool = False) -> bool:
    """Whether a denoiser called twice on the same pictures gives two answers."""
    u = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    call = (u, 0.7, u, 0.5) if conditional else (u, 0.7)
    with torch.no_grad():
        return (denoiser(*call) - denoiser(*call)).abs().max().item() > 1e-3


def test_validation_figures_are_those_of_the_exported_weights(teacher, pictures):
    (logged,) = figures(teacher.parent, "validation")
    held_out = center_crops(load_pictures(Source(pictures))[-2:], 16, torch.device("cpu"))
    assert logged == pytest.approx(validate(load_denoiser(teacher)[0], held_out), abs=0.01)  # half precision


def test_a_distillation_has_dropout_in_the_networks_that_learn_alone(teacher, pictures, tmp_path, monkeypatch):
    steps = the_step(commands, monkeypatch)
    distill(write(tmp_path / "d.yaml", STUDENT), teacher, [str(pictures)], tmp_path, "cpu")
    ((step, trainees),) = steps
    assert differs(step.fake, conditional=True)
    assert differs(step.generator.denoiser, conditional=True)
    assert not differs(step.teacher)
    assert not differs(Denoiser(trainees["generator"].averages[0].network), conditional=True)


def test_a_fine_tuning_has_dropout_in_the_network_that_learns_alone(
    generator, teacher, pictures, tmp_path, monkeypatch
):
    steps = the_step(finetune, monkeypatch)
    finetune.finetune(write(tmp_path / "f.yaml", TUNING), generator, teacher, [str(pictures)], tmp_path, "cpu")
    ((step, _),) = steps
    assert differs(step.denoiser, conditional=True)
    assert not differs(step.before, conditional=True)
    assert not differs(step.teacher)


def test_an_average_computes_without_dropout_and_leaves_the_network_as_it_is():
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))
    average = PowerEMA(network, 0.1).network
    assert network[1].training
    assert torch.equal(average(torch.ones(1, 3)), network[0](torch.ones(1, 3)))
