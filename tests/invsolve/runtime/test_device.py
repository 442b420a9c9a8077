"""The device that is taken, and what an Apple GPU lacks."""

from __future__ import annotations

import os

import pytest
import torch

from invsolve.networks.inference import Inference, fast_precisions
from invsolve.priors.spectrum import dct_frequency
from invsolve.runtime.device import choose_device, with_float64

MPS = torch.device("mps")


@pytest.fixture
def machine(monkeypatch):
    def with_devices(cuda: bool, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return with_devices


@pytest.mark.parametrize(
    ("cuda", "mps", "taken"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")]
)
def test_auto_takes_what_is_there(machine, cuda, mps, taken):
    machine(cuda, mps)
    assert choose_device("auto").type == taken
    assert choose_device("cpu").type == "cpu"


def test_a_gpu_that_is_not_there_is_refused(machine):
    machine(False, False)
    with pytest.raises(ValueError, match=r"CUDA was asked for \(--device cuda\) but torch finds no CUDA device here"):
        choose_device("cuda")
    with pytest.raises(ValueError, match=r"an Apple GPU was asked for \(--device mps\) but torch finds none here"):
        choose_device("mps")


def test_what_needs_float64_is_made_on_the_cpu_for_an_apple_gpu():
    assert with_float64("mps") == torch.device("cpu")
    assert with_float64("cuda:1") == torch.device("cuda:1")
    frequency = dct_frequency(4, 6, MPS)
    assert frequency.device.type == "cpu"
    assert torch.equal(frequency, dct_frequency(4, 6))


def test_an_apple_gpu_computes_in_float32_and_leaves_to_the_cpu_what_it_lacks(monkeypatch):
    monkeypatch.delenv("INVSOLVE_PRECISION", raising=False)
    assert fast_precisions(MPS) == {"fp32"}
    assert Inference().precision_on(MPS) == "fp32"
    assert os.environ["PYTORCH_ENABLE_MPS_FALLBACK"] == "1"


def test_a_training_takes_the_cpu_in_its_place(machine):
    from training_cases import TEACHER

    from invsolve.specs.recipe import TrainConfig, from_mapping
    from invsolve.training.run import joined_and_seeded

    machine(False, True)
    settings = from_mapping(TrainConfig, TEACHER, "t.yaml")
    with joined_and_seeded("t.yaml", settings, "auto") as device:
        assert device.type == "cpu"
    with (
        pytest.raises(ValueError, match="a training runs on CUDA or on a CPU, not on an Apple GPU"),
        joined_and_seeded("t.yaml", settings, "mps"),
    ):
        pass
