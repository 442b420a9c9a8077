"""Recipes are found by name; bad ones, bad data and bad teachers are refused in one line, before a file is written."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from training_cases import STUDENT, TEACHER, refused, write

from invsolve.cli import main
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import save_denoiser
from invsolve.runtime.shipped import shipped
from invsolve.specs.recipe import (
    RECIPES,
    CalibrateConfig,
    DistillConfig,
    FinetuneConfig,
    Network,
    TrainConfig,
    find_recipe,
    load_config,
)
from invsolve.training.distill import distill
from invsolve.training.run import check_crop
from invsolve.training.teacher import train

KINDS = {"teacher": TrainConfig, "distill": DistillConfig, "finetune": FinetuneConfig, "calibrate": CalibrateConfig}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_denoiser(path, Denoiser(UNet(UNetConfig(**TEACHER["network"]))), {"license": "CC0", "data": "none"})
    return path


BAD_TRAINING = {
    "unknown key": ({"learning": 0.1}, "t.yaml: unknown key 'learning'; did you mean 'learning_rate'"),
    "distillation's key": ({"gamma": 0.4}, "unknown key 'gamma'"),
    "precision": ({"precision": "fp16"}, "precision is 'fp16' but must be one of bf16, fp32"),
    "no averages": ({"ema": []}, "ema is [] but must be a list of one or more"),
    "one beta": ({"betas": [0.9]}, "betas is [0.9] but must be a list of 2"),
    "crop": ({"crop": 18}, "crop 18 is no multiple of the network's 4"),
    "key of the network": ({"network": {"width": [8]}}, "network: unknown key 'width'; did you mean 'widths'"),
    "conditional": ({"network": {"conditional": True}}, "network: unknown key 'conditional'"),
    "blocks": ({"network": {"widths": [8, 16], "blocks": [1]}}, "t.yaml: network: widths (8, 16) and blocks (1,)"),
    "attention": ({"network": {**TEACHER["network"], "attention": [2]}}, "network: attention is (2,) but must list"),
    "enlarging": ({"zoom": [0.5, 2]}, "entry 2 of zoom is 2 but must be finite and above 0 and at most 1"),
    "zoom in reverse": ({"zoom": [0.9, 0.5]}, "zoom is [0.9, 0.5] but its first number must not exceed its second"),
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
        ({"crop": 15}, "crop 15 is no multiple of the network's 4"),
        ({"sigma_levels": 1}, "sigma_levels is 1 but must be 0, or at least 2"),
        ({"energy_weight": 1.0}, "crop is 16 but the largest patch at the coarsest scale has 32 pixels"),
        ({"scales": [1, 2, 3]}, "scales is [1, 2, 3] but each must be a larger multiple of the one before"),
        ({"patches": []}, "patches [] and scales [1, 2, 4, 8] must have an entry each"),
    ],
    ids=str,
)
def test_a_bad_configuration_of_the_distillation_is_refused(teacher, pictures, tmp_path, change, message):
    config = write(tmp_path / "d.yaml", STUDENT, **change)
    refused(message, distill, config, teacher, [str(pictures)], tmp_path / "out", "cpu")
    assert not (tmp_path / "out").exists()


def test_bad_data_and_devices_are_refused(pictures, tmp_path):
    config, out = write(tmp_path / "t.yaml", TEACHER), tmp_path / "out"
    refused("no folder", train, config, [str(tmp_path / "gone")], out, "cpu")
    refused("positive, finite weight", train, config, [f"{pictures}:0"], out, "cpu")
    refused(
        "12 pictures but holdout is 12",
        train,
        write(tmp_path / "h.yaml", TEACHER, holdout=12),
        [str(pictures)],
        out,
        "cpu",
    )
    if not torch.cuda.is_available():
        refused("CUDA was asked for", train, config, [str(pictures)], out, "cuda")


def test_a_generative_denoiser_is_no_teacher(tiny_prior, pictures, tmp_path):
    config, rest = write(tmp_path / "d.yaml", STUDENT), ([str(pictures)], tmp_path / "out", "cpu")
    refused("is a generative denoiser; a teacher is a plain denoiser", distill, config, tiny_prior, *rest)
    refused("no prior named", distill, config, "gone", *rest)


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


def test_all_recipes_beside_the_weights_have_a_name_that_finds_them():
    assert sorted(path.stem for path in shipped("checkpoints").glob("*.yaml")) == sorted(RECIPES)
    for name, (command, _) in RECIPES.items():
        assert find_recipe(name, command) == shipped("checkpoints") / f"{name}.yaml"


@pytest.mark.parametrize("path", ["checkpoints/default-teacher.yaml", "default-teacher.yaml", "mine.yml", "mine"])
def test_a_path_is_a_path(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").touch()
    assert find_recipe(path, "train") == Path(path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("default-techer", "; did you mean 'default-teacher'?"),
        ("default-distill", "; did you mean 'default-teacher'?"),
        ("mine", "; expected one of default-photos-teacher, default-teacher, published-ffhq256-teacher"),
    ],
)
def test_an_unknown_name_is_one_line(capsys, name, advice):
    assert main(["train", name, "--data", "d", "--out", "o"]) == 2
    expected = f"no configuration {name!r} of invsolve train{advice} (or give the path of a .yaml file)"
    assert capsys.readouterr().err == f"invsolve: error: {expected}\n"


def test_info_lists_tasks_priors_and_recipes(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    for name in ("sr4x", "colorize", "default", "teacher"):
        assert f"  {name} " in printed
    for name, (command, description) in RECIPES.items():
        assert f"  {name:<26} invsolve {command}: {description}\n" in printed
