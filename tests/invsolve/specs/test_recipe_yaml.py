"""Bad configurations, data and teachers are refused in one line that names the thing, before anything is written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from training_cases import STUDENT, TEACHER, refused, write

from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import save_denoiser
from invsolve.runtime.shipped import shipped
from invsolve.specs.recipe import DistillConfig, FinetuneConfig, Network, TrainConfig, load_config
from invsolve.training.distill import distill
from invsolve.training.run import check_crop
from invsolve.training.teacher import train

KINDS = {"teacher": TrainConfig, "distill": DistillConfig, "finetune": FinetuneConfig}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_denoiser(path, Denoiser(UNet(UNetConfig(**TEACHER["network"]))), {"license": "CC0", "data": "none"})
    return path


BAD_TRAINING = {
    "unknown key": ({"learning": 0.1}, "t.yaml: unknown key 'learning'; did you mean 'learning_rate'"),
    "distillation's key": ({"gamma": 0.4}, "unknown key 'gamma'"),
    "text for a number": ({"learning_rate": "fast"}, "learning_rate is 'fast' but must be a number"),
    "negative rate": ({"learning_rate": -0.1}, "learning_rate is -0.1"),
    "nan": ({"sigma_mean": float("nan")}, "sigma_mean is nan"),
    "fraction": ({"batch": 8.5}, "batch is 8.5 but must be an integer"),
    "zero": ({"images": 0}, "images is 0"),
    "true for a number": ({"warmup": True}, "warmup is True"),
    "number for a switch": ({"compile": 1}, "compile is 1 but must be true or false"),
    "precision": ({"precision": "fp16"}, "precision is 'fp16' but must be one of bf16, fp32"),
    "no averages": ({"ema": []}, "ema is [] but must be a list of one or more"),
    "average too wide": ({"ema": [0.1, 0.5]}, "entry 2 of ema is 0.5 but must be finite and above 0 and at most 0.28"),
    "one beta": ({"betas": [0.9]}, "betas is [0.9] but must be a list of 2"),
    "text in a list": ({"betas": [0.9, "x"]}, "entry 2 of betas is 'x' but must be a number"),
    "crop": ({"crop": 18}, "crop 18 is no multiple of the network's 4"),
    "network": ({"network": 3}, "t.yaml: network: expected a mapping"),
    "key of the network": ({"network": {"width": [8]}}, "network: unknown key 'width'; did you mean 'widths'"),
    "conditional": ({"network": {"conditional": True}}, "network: unknown key 'conditional'"),
    "widths": ({"network": {"widths": [8, 0]}}, "network: entry 2 of widths is 0 but must be at least 1"),
    "blocks": ({"network": {"widths": [8, 16], "blocks": [1]}}, "t.yaml: network: widths (8, 16) and blocks (1,)"),
    "attention": ({"network": {**TEACHER["network"], "attention": [2]}}, "network: attention is (2,) but must list"),
    "shortcuts": ({"network": {**TEACHER["network"], "auxt": 1}}, "network: auxt is 1 but must be true or false"),
    "dropout": ({"network": {"dropout": 1.5}}, "network: dropout is 1.5"),
    "enlarging": ({"zoom": [0.5, 2]}, "entry 2 of zoom is 2 but must be finite and above 0 and at most 1"),
    "zoom in reverse": ({"zoom": [0.9, 0.5]}, "zoom is [0.9, 0.5] but its first number must not exceed its second"),
    "label dropout": ({"label_dropout": 1.1}, "label_dropout is 1.1"),
}


@pytest.mark.parametrize(("change", "message"), BAD_TRAINING.values(), ids=BAD_TRAINING)
def test_a_bad_configuration_of_the_teacher_is_refused(pictures, tmp_path, change, message):
    refused(message, train, write(tmp_path / "t.yaml", TEACHER, **change), [str(pictures)], tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 0}, "gamma is 0 but must be finite and above 0"),
        ({"sigma_min": 3.0, "sigma_max": 2.0}, "sigma_min is 3.0 but must not exceed sigma_max, 2.0"),
        ({"learning_rate": 0.1}, "unknown key 'learning_rate'"),
        ({"crop": 15}, "crop 15 is no multiple of the network's 4"),
        ({"adversarial_weight": -1}, "adversarial_weight is -1"),
        ({"sigma_levels": 1}, "sigma_levels is 1 but must be 0, or at least 2"),
        ({"conditioning": "none"}, "conditioning is 'none' but must be one of inputs, encoder"),
    ],
    ids=str,
)
def test_a_bad_configuration_of_the_distillation_is_refused(teacher, pictures, tmp_path, change, message):
    config = write(tmp_path / "d.yaml", STUDENT, **change)
    refused(message, distill, config, teacher, [str(pictures)], tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_configuration_is_refused(pictures, tmp_path):
    path, rest = tmp_path / "t.yaml", ([str(pictures)], tmp_path / "out", "cpu")
    refused("t.yaml: No such file", train, path, *rest)
    path.write_text("a: [1")
    refused("t.yaml: not a YAML file", train, path, *rest)
    path.write_text("- a\n- b\n")
    refused("t.yaml: expected a mapping", train, path, *rest)


def test_bad_data_and_devices_are_refused(pictures, tmp_path):
    config, out = write(tmp_path / "t.yaml", TEACHER), tmp_path / "out"
    refused("no folder", train, config, [str(tmp_path / "gone")], out, "cpu")
    refused("positive, finite weight", train, config, [f"{pictures}:0"], out, "cpu")
    refused("12 pictures but 12", train, write(tmp_path / "h.yaml", TEACHER, holdout=12), [str(pictures)], out, "cpu")
    if not torch.cuda.is_available():
        refused("CUDA was asked for", train, config, [str(pictures)], out, "cuda")


def test_a_generative_denoiser_is_no_teacher(tiny_prior, pictures, tmp_path):
    config, rest = write(tmp_path / "d.yaml", STUDENT), ([str(pictures)], tmp_path / "out", "cpu")
    refused("is a generative denoiser; a teacher is a plain denoiser", distill, config, tiny_prior, *rest)
    refused("no prior named", distill, config, "gone", *rest)


def test_numbers_that_yaml_takes_for_text_are_read(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("learning_rate: 3e-4\nema: [1e-1, 5.E-2]\nimages: 2_000\nnetwork: {dropout: 1e-1}\ndata: '1e3'\n")
    config = load_config(path, TrainConfig)
    assert (config.learning_rate, config.ema, config.images) == (3e-4, (0.1, 0.05), 2000)
    assert (config.network, config.data) == (Network(dropout=0.1), "1e3")


@pytest.mark.parametrize("name", sorted(path.name for path in shipped("checkpoints").glob("*.yaml")))
def test_every_recipe_is_a_configuration(name):
    """And its network, its crops and its batch fit each other."""
    path = shipped("checkpoints") / name
    config = load_config(path, KINDS[name.removesuffix(".yaml").rpartition("-")[2]])
    if isinstance(config, TrainConfig):
        check_crop(path, config, UNet(UNetConfig(**asdict(config.network))))
    assert all(len(getattr(config, key)) > 10 for key in ("license", "data"))


def test_the_default_network_is_that_of_the_unet_with_shortcuts():
    assert UNetConfig(**asdict(Network())) == UNetConfig(auxt=True)
