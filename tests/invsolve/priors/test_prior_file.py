"""Priors in files: what comes back, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from prior_cases import RECORD, SPECTRUM, denoiser, pictures
from safetensors import safe_open
from safetensors.torch import save_file

from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors.denoiser import Denoiser, GenerativeDenoiser, PosteriorMean
from invsolve.priors.file import CheckpointError, load_denoiser, save_denoiser
from invsolve.priors.registry import list_priors, load_prior, resolve
from invsolve.runtime.random_streams import NoiseStreams
from invsolve.runtime.shipped import shipped


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "prior.safetensors"
    save_denoiser(path, denoiser(conditional=True), RECORD, gamma=0.3, spectrum=SPECTRUM)
    return path


def rewrite(path: Path, change) -> None:
    """Let ``change(header, tensors)`` edit a prior's file."""
    with safe_open(str(path), framework="pt") as file:
        header, tensors = json.loads(file.metadata()["invsolve"]), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, str(path), metadata={"invsolve": json.dumps(header)})


def test_a_plain_denoiser_comes_back(tmp_path):
    path, original = tmp_path / "folder" / "d.safetensors", denoiser(sigma_data=0.4)
    save_denoiser(path, original, RECORD)
    loaded, header, spectrum = load_denoiser(path)
    assert header["record"] == RECORD
    assert header["kind"] == "denoiser"
    assert loaded.sigma_data == 0.4
    assert spectrum is None
    expected = original(pictures(), 0.5)
    assert (loaded(pictures(), 0.5) - expected).abs().max() < 2e-3 * expected.abs().max()  # half precision
    assert isinstance(load_prior(path), PosteriorMean)
    draw = load_prior(path).sample(pictures(), 0.5, NoiseStreams(0, range(2)))
    assert torch.equal(draw, loaded(pictures(), 0.5))


def test_a_generative_denoiser_comes_back(saved):
    prior = load_prior(saved)
    assert isinstance(prior, GenerativeDenoiser)
    assert prior.gamma == 0.3
    assert torch.equal(prior.spectrum, SPECTRUM)  # in float32
    original = GenerativeDenoiser(denoiser(conditional=True), 0.3)
    expected = original.sample(pictures(), 0.5, NoiseStreams(0, range(2)))
    draw = prior.sample(pictures(), 0.5, NoiseStreams(0, range(2)))
    assert (draw - expected).abs().max() < 2e-3 * expected.abs().max()
    assert not any(parameter.requires_grad for parameter in prior.parameters())


def written_by_version_0_1(header: dict, tensors: dict) -> None:
    known = ("image_channels", "widths", "blocks", "haar", "dropout")
    header["network"] = {**{name: header["network"][name] for name in known}, "conditional": True}


def test_a_file_of_version_0_1_is_read_as_before(saved):
    before, _, _ = load_denoiser(saved)
    rewrite(saved, written_by_version_0_1)
    after, _, _ = load_denoiser(saved)
    assert after.network.config == before.network.config
    arguments = (pictures(), 0.5, pictures().flip(0), 0.3)
    assert torch.equal(after(*arguments), before(*arguments))


def test_attention_classes_and_a_control_encoder_come_back(tmp_path):
    shape = UNetConfig(widths=(8, 16), blocks=(1, 1), attention=(1,), head_channels=8, labels=3, wide_up=True)
    torch.manual_seed(0)
    original = Denoiser(UNet(replace(shape, conditioning="encoder")))
    with torch.no_grad():
        for parameter in original.network.parameters():
            if parameter.ndim < 2:
                parameter.fill_(0.4)
    save_denoiser(tmp_path / "prior.safetensors", original, RECORD)
    loaded, header, _ = load_denoiser(tmp_path / "prior.safetensors")
    assert header["kind"] == "generative denoiser"
    arguments = (pictures(), 0.5, pictures().flip(0), 0.3, torch.tensor([2, 0]))
    expected = original(*arguments)
    assert (loaded(*arguments) - expected).abs().max() < 2e-3 * expected.abs().max()
    assert (loaded(*arguments[:4]) - expected).abs().max() > 0.02


def test_weights_are_stored_in_half_precision(saved):
    with safe_open(str(saved), framework="pt") as file:
        types = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert types["network.conv_out.weight"] == torch.float16
    assert types["spectrum"] == torch.float32


def test_saving_what_was_loaded_changes_nothing(saved, tmp_path):
    """Also of a network folded for inference: a file can be rewritten without drifting."""
    loaded, header, spectrum = load_denoiser(saved)
    save_denoiser(tmp_path / "again.safetensors", loaded, header["record"], header["gamma"], spectrum)
    noise = [NoiseStreams(0, range(2)) for _ in range(2)]
    first = load_prior(saved).sample(pictures(), 0.5, noise[0])
    second = load_prior(tmp_path / "again.safetensors").sample(pictures(), 0.5, noise[1])
    assert (first - second).abs().max() < 2e-3 * first.abs().max()


def test_a_network_to_be_trained_is_not_folded(saved):
    trainable, _, _ = load_denoiser(saved, train=True)
    assert all(parameter.requires_grad for parameter in trainable.parameters())
    folded, _, _ = load_denoiser(saved)
    condition = (pictures(), 0.3)
    difference = trainable(pictures(), 0.5, *condition) - folded(pictures(), 0.5, *condition)
    assert difference.abs().max() < 1e-5
    trainable(pictures(), 0.5, *condition).square().sum().backward()
    assert trainable.network.encoder.conv_in.weight.grad.abs().max() > 0


def nan_weight(header: dict, tensors: dict) -> None:
    tensors["network.encoder.conv_in.weight"][0, 0, 0, 0] = float("nan")


def infinite_spectrum(header: dict, tensors: dict) -> None:
    tensors["spectrum"][0] = float("inf")


def wrong_shape(header: dict, tensors: dict) -> None:
    tensors["network.conv_out.weight"] = tensors["network.conv_out.weight"][:3].contiguous()


def missing_tensor(header: dict, tensors: dict) -> None:
    del tensors["network.conv_out.weight"]


def surplus_tensor(header: dict, tensors: dict) -> None:
    tensors["network.other"] = torch.zeros(3)


def unknown_field(header: dict, tensors: dict) -> None:
    header["network"]["depth"] = 3


def other_widths(header: dict, tensors: dict) -> None:
    header["network"]["widths"] = [8, 32]


def no_widths(header: dict, tensors: dict) -> None:
    header["network"]["widths"] = 8


def other_kind(header: dict, tensors: dict) -> None:
    header["kind"] = "denoiser"


def no_kind(header: dict, tensors: dict) -> None:
    del header["kind"]


def no_record(header: dict, tensors: dict) -> None:
    del header["record"]


def later_format(header: dict, tensors: dict) -> None:
    header["format"] = "invsolve-prior-9"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_weight, "tensor network.encoder.conv_in.weight has NaN"),
        (infinite_spectrum, "tensor spectrum has NaN or infinite"),
        (wrong_shape, "conv_out.weight"),
        (missing_tensor, "conv_out.weight"),
        (surplus_tensor, "other"),
        (unknown_field, "depth"),
        (other_widths, "size mismatch"),
        (no_widths, "do not make a network"),
        (other_kind, "its kind is 'denoiser' but its network is that of a generative denoiser"),
        (no_kind, "kind"),
        (no_record, "record"),
        (later_format, "format 'invsolve-prior-9', expected 'invsolve-prior-1'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_is_off_is_refused_in_one_line(saved, change, message):
    rewrite(saved, change)
    refused(saved, message)


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load_prior(path)
    text = str(error.value)
    assert message in text
    assert path.name in text
    assert "\n" not in text


@pytest.mark.parametrize("kept", [0.0, 1e-4, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused_in_one_line(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(kept * len(content))])
    refused(saved, "is not a readable safetensors file")


def test_foreign_files_are_refused_in_one_line(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, str(foreign))
    refused(foreign, "is not one of ours")
    save_file({"weight": torch.zeros(3)}, str(foreign), metadata={"invsolve": "[1]"})
    refused(foreign, "is not one of ours")
    save_file({"weight": torch.zeros(3)}, str(foreign), metadata={"invsolve": "{"})
    refused(foreign, "is not one of ours")
    pickled = tmp_path / "network.pt"
    torch.save({"weight": torch.zeros(3)}, pickled)
    refused(pickled, "is not a readable safetensors file")


def test_names_resolve_to_the_shipped_files():
    names = [name for name, _ in list_priors()]
    assert "default" in names
    assert all(resolve(name).parent == shipped("checkpoints") for name in names)
    with pytest.raises(CheckpointError, match="no prior named 'best' and no such file; known names: default"):
        load_prior("best")


def test_a_directory_is_no_prior(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_prior(tmp_path)


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(saved, monkeypatch):
    before = saved.read_bytes()

    def interrupted(temporary, path):
        assert Path(temporary).stat().st_size > 0
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_denoiser(saved, denoiser(), RECORD)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
    with pytest.raises(KeyboardInterrupt):
        save_denoiser(saved.parent / "new.safetensors", denoiser(), RECORD)
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_permissions_of_any_other(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_denoiser(tmp_path / "d.safetensors", denoiser(), RECORD)
    finally:
        os.umask(before)
    assert (tmp_path / "d.safetensors").stat().st_mode & 0o777 == mode
