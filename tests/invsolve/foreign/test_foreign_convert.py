"""Published networks: replicas of their files are read, converted, and compute what the papers' equations say."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from edm2_equations import denoise, generate
from foreign_cases import FFHQ, IMG64, SMALL, published_shapes, random_tensors, stored, written
from hostile_cases import legacy, tensor_of
from safetensors import safe_open

from invsolve import solve
from invsolve.cli import main
from invsolve.foreign import hub
from invsolve.foreign.convert import convert, natural_spectrum
from invsolve.foreign.published import published_network
from invsolve.foreign.tensor_names import foreign_names
from invsolve.foreign.torch_file import read_foreign
from invsolve.networks.unet import UNet, UNetConfig
from invsolve.priors import registry
from invsolve.priors.denoiser import GenerativeDenoiser
from invsolve.priors.file import CheckpointError, load_denoiser
from invsolve.priors.registry import load_prior, resolve
from invsolve.priors.spectrum import power_on_grid
from invsolve.solver.solve import Settings
from operators import Mask

CLASSES = SMALL | {"label_dim": 5, "attn_resolutions": [16], "channel_mult": [1, 2, 3]}
PUBLISHED_CONFIG = UNetConfig(
    widths=(128, 256, 384, 512),
    blocks=(3, 3, 3, 3),
    haar=0,
    conditioning="encoder",
    bottom_attention=True,
    wide_up=True,
)


def noisy(size: int, count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    u, z = (torch.randn(count, 3, size, size, generator=generator) for _ in range(2))
    return u, torch.tensor([0.3, 2.0])[:count], z


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kwargs", [SMALL, CLASSES], ids=["small", "classes"])
def test_a_converted_teacher_computes_the_equations(tmp_path, kwargs):
    tensors = random_tensors(kwargs, conditional=False)
    target = tmp_path / "teacher.safetensors"
    convert(written(tmp_path / "edm2.pkl", stored(kwargs, False, tensors)), target)
    denoiser, header, _ = load_denoiser(target)
    assert header["kind"] == "denoiser"
    u, sigma, _ = noisy(16)
    assert relative_error(denoiser(u, sigma), denoise(u, sigma, tensors, 4)) < 1e-5
    if kwargs["label_dim"]:
        one_hot = torch.eye(5)[[3, 1]]
        expected = denoise(u, sigma, tensors, 4, labels=one_hot)
        assert relative_error(denoiser(u, sigma, labels=torch.tensor([3, 1])), expected) < 1e-5
        assert relative_error(denoiser(u, sigma), expected) > 1e-3  # they matter


@pytest.mark.parametrize("how", [{}, {"protocol": 2}, {"protocol": 5}, {"persistent": True}, {"zipped": True}], ids=str)
def test_a_converted_generative_denoiser_computes_the_equations(tmp_path, how):
    """However it is stored: by old and new protocols, with and without source code, as a pickle or a torch.save zip."""
    tensors = random_tensors(SMALL, conditional=True)
    target = tmp_path / "prior.safetensors"
    convert(written(tmp_path / "ncvsd.pkl", stored(SMALL, True, tensors, **how)), target)
    prior = load_prior(target)
    assert isinstance(prior, GenerativeDenoiser)
    u, sigma, z = noisy(16)
    assert relative_error(prior(u, sigma, z), generate(u, sigma, z, tensors, 4)) < 1e-5


def test_conversion_keeps_every_value(tmp_path):
    """Of half precision in half precision: the network before writing and after reading is the same to the bit."""
    tensors = random_tensors(SMALL, conditional=True, dtype=torch.float16)
    source, target = written(tmp_path / "ncvsd.pkl", stored(SMALL, True, tensors)), tmp_path / "prior.safetensors"
    before = published_network(read_foreign(source)).tensors
    convert(source, target)
    with safe_open(str(target), framework="pt") as file:
        after = {name.removeprefix("network."): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    spectrum = after.pop("spectrum")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) and after[name].dtype == torch.float16 for name in before)
    assert torch.equal(spectrum, natural_spectrum(0.5))
    theirs = foreign_names(before, published_network(read_foreign(source)).config, 16)
    assert all(torch.equal(before[ours], tensors[name]) for ours, name in theirs.items())


@pytest.mark.slow
def test_the_published_architecture_computes_the_equations(tmp_path):
    tensors = random_tensors(FFHQ, conditional=True)
    target = tmp_path / "prior.safetensors"
    convert(written(tmp_path / "ncvsd.pkl", stored(FFHQ, True, tensors)), target)
    denoiser, header, _ = load_denoiser(target)
    u, sigma, z = noisy(64, count=1)  # convolutional: a quarter of the width shows the same
    prior = GenerativeDenoiser(denoiser, header["gamma"])
    with torch.no_grad():
        assert relative_error(prior(u, sigma, z), generate(u, sigma, z, tensors, 64)) < 1e-5


def test_names_and_shapes_of_the_published_networks():
    """Every tensor of our network has one of theirs, of its shape, and none is left."""
    teacher = UNetConfig(
        widths=(192, 384, 576, 768), blocks=(3, 3, 3, 3), haar=0, attention=(2, 3), wide_up=True, labels=1000
    )
    for config, kwargs, conditional in ((PUBLISHED_CONFIG, FFHQ, True), (teacher, IMG64, False)):
        with torch.device("meta"):
            ours = {name: tuple(value.shape) for name, value in UNet(config).state_dict().items()}
        theirs = foreign_names(ours, config, kwargs["img_resolution"])
        assert {theirs[name]: shape for name, shape in ours.items()} == published_shapes(kwargs, conditional)


def parameters(shapes: dict) -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(("freqs", "phases")))


def test_numbers_of_parameters():
    """EDM2's paper says 125 M for XS and 280 M for S; NCVSD's network on 256x256 faces follows."""
    latents = {"img_resolution": 64, "img_channels": 4, "label_dim": 1000}
    assert round(parameters(published_shapes(latents | {"model_channels": 128}, False)) / 1e6) == 125
    assert round(parameters(published_shapes(latents | {"model_channels": 192}, False)) / 1e6) == 280
    assert parameters(published_shapes(FFHQ, True)) == 146_223_685
    assert parameters(published_shapes(FFHQ, False)) == 112_730_149


def test_the_command_says_what_it_found(tmp_path, capsys):
    source = written(tmp_path / "ncvsd.pkl", stored(SMALL, True, random_tensors(SMALL, True, torch.float16)))
    target = tmp_path / "deep" / "prior.safetensors"
    assert main(["convert", str(source), "--out", str(target)]) == 0
    found, last = capsys.readouterr().out.splitlines()
    assert found == (
        "GenerativeDenoiser: generative denoiser, gamma 0.414, 16x16 pixels of 3 channels, no classes, sigma_data 0.5, "
        f"{parameters(published_shapes(SMALL, True)) / 1e6:.1f} M parameters (float16)"
    )
    assert last == f"wrote {target}"
    with safe_open(str(target), framework="pt") as file:
        header = json.loads(file.metadata()["invsolve"])
    assert (header["gamma"], header["sigma_data"], header["kind"]) == (0.414, 0.5, "generative denoiser")
    assert header["image_size"] == 16  # larger pictures are taken in tiles
    record = header["record"]
    assert (record["source"], record["sha256"]) == ("ncvsd.pkl", hashlib.sha256(source.read_bytes()).hexdigest())
    assert "CC BY-NC-SA 4.0" in record["license"]


def test_the_source_is_not_overwritten(tmp_path, capsys):
    source = written(tmp_path / "ncvsd.pkl", stored())
    before = source.read_bytes()
    assert main(["convert", str(source), "--out", str(source)]) == 2
    assert source.read_bytes() == before
    assert main(["convert", str(source), "--out", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert list(tmp_path.iterdir()) == [source]


def test_the_spectrum_is_that_of_natural_pictures():
    """The default prior's was measured on pictures; ours, a formula, follows it, and has the stated variance."""
    measured = load_denoiser(resolve("default"))[2]
    formula = natural_spectrum(0.5, len(measured))
    assert abs(float(power_on_grid(formula, 256, 256).mean()) - 0.25) < 1e-4
    difference = (formula / measured).log()
    assert float((difference - difference.mean()).square().mean().sqrt()) < 0.35


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    registry._from_hub.cache_clear()  # a process asks the hub once
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "invsolve"


def test_a_pickle_is_a_prior_and_is_converted_once(tmp_path, cache, monkeypatch):
    source = written(tmp_path / "ncvsd.pkl", stored())
    u, sigma, z = noisy(16)
    expected = load_prior(source)(u, sigma, z)
    (target,) = cache.iterdir()
    monkeypatch.setattr(hub, "convert", None)  # not called again
    assert torch.equal(load_prior(str(source))(u, sigma, z), expected)
    assert list(cache.iterdir()) == [target]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written(source, stored(SMALL, True, random_tensors(SMALL, True, torch.float16)))  # other content, other file
    load_prior(source)
    assert len(list(cache.iterdir())) == 2


def test_the_published_prior_is_downloaded_by_name(tmp_path, cache, monkeypatch):
    source = written(tmp_path / "ncvsd-ffhq256-xs.pkl", stored())
    asked = []

    def hf_hub_download(*arguments):
        asked.append(arguments)
        return str(source)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    assert resolve("ncvsd-ffhq256").parent == cache
    assert load_denoiser(resolve("ncvsd-ffhq256"))[1]["record"]["data"] == "FFHQ at 256x256"
    assert set(asked) == {("xypeng9903/ncvsd", "ncvsd-ffhq256-xs.pkl")}
    assert resolve("hf://someone/priors/folder/ncvsd.pkl").parent == cache
    assert asked[-1] == ("someone/priors", "folder/ncvsd.pkl")


def test_without_a_network_the_published_prior_is_refused_in_one_line(tmp_path, cache, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match=r"cannot get ncvsd-ffhq256-xs\.pkl .* cannot be reached") as error:
        load_prior("ncvsd-ffhq256")
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="not of the form"):
        load_prior("hf://someone")
    assert not cache.exists()


def test_what_the_hub_refuses_is_one_line(cache, monkeypatch):
    def hf_hub_download(*arguments):
        raise ValueError("404 Client Error.\n\nRepository Not Found " + 50 * "and so on ")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    with pytest.raises(CheckpointError, match=r"cannot get a\.pkl from huggingface\.co/o/r: 404 Client") as error:
        load_prior("hf://o/r/a.pkl")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_warm_start_works_with_a_converted_prior(tmp_path, cache):
    operator = Mask((3, 16, 16), torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.5)
    y = operator(noisy(16, count=1)[0].clamp(-1, 1))
    prior = load_prior(written(tmp_path / "ncvsd.pkl", stored()))
    assert torch.equal(prior.spectrum, natural_spectrum(0.5))
    x = solve(y, operator, steps=2, prior=prior, settings=Settings(warm_start=True))
    assert x.isfinite().all()


def read(folder: Path, value: object, protocol: int) -> object:
    return read_foreign(written(folder / "foreign.pkl", pickle.dumps(value, protocol=protocol)))


@pytest.mark.parametrize("stride", [1, 7, 2**62, 2**63, 2**100])
def test_the_stride_of_a_dimension_of_size_1_does_not_matter(tmp_path, stride):
    storage = legacy(torch.arange(6.0)._typed_storage())
    found = read(tmp_path, tensor_of(storage, 0, (3, 1, 2), (2, stride, 1)), 4)
    assert torch.equal(found, torch.arange(6.0).reshape(3, 1, 2))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_the_file_holds_once_is_within_its_budget(tmp_path, protocol):
    """Sets are lists and bytes are texts in old protocols; a storage's bytes become a tensor's, twice their size."""
    weights = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    stored = {"tensor": tensor_of(legacy(weights._typed_storage()), 0, (20_000,), (1,)), "set": set(range(20_000))}
    found = read(tmp_path, stored | {"bytes": bytes(range(256))}, protocol)
    assert torch.equal(found["tensor"], weights)
    assert (found["set"], found["bytes"]) == (set(range(20_000)), bytes(range(256)))
