"""Priors that are loaded once for many calls of the solver."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path

import pytest
import torch
from prior_cases import RECORD, denoiser, pictures

from invsolve.priors import registry as checkpoint
from invsolve.priors.denoiser import PosteriorMean
from invsolve.priors.file import CheckpointError, save_denoiser
from invsolve.priors.registry import cached_prior, load_prior
from invsolve.runtime.random_streams import NoiseStreams


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "prior.safetensors"
    save_denoiser(path, denoiser(conditional=True), RECORD, gamma=0.3)
    return path


def test_a_cached_prior_is_loaded_once_and_draws_as_a_fresh_one(saved, monkeypatch):
    prior = cached_prior(saved)
    assert not any(module.training for module in prior.modules())
    draw = load_prior(saved).sample(pictures(), 0.5, NoiseStreams(0, range(2)))
    assert torch.equal(prior.sample(pictures(), 0.5, NoiseStreams(0, range(2))), draw)
    assert load_prior(saved) is not prior
    monkeypatch.chdir(saved.parent)
    assert cached_prior(saved.name, torch.device("cpu")) is prior


def test_a_file_written_anew_is_loaded_anew(saved):
    """Also one of the same size, within the resolution of the file system's clock."""
    first, size = cached_prior(saved), saved.stat().st_size
    times = saved.stat().st_atime_ns, saved.stat().st_mtime_ns
    save_denoiser(saved, denoiser(conditional=True), RECORD, gamma=0.4)
    os.utime(saved, ns=times)
    assert saved.stat().st_size == size
    assert (first.gamma, cached_prior(saved).gamma) == (0.3, 0.4)


def test_the_cache_is_small_and_has_no_missing_files(saved, tmp_path):
    first = weakref.ref(cached_prior(saved))
    for i in range(2):
        save_denoiser(tmp_path / f"{i}.safetensors", denoiser(), RECORD)
        assert isinstance(cached_prior(tmp_path / f"{i}.safetensors"), PosteriorMean)
    gc.collect()
    assert first() is None
    with pytest.raises(CheckpointError, match="no prior named"):
        cached_prior(tmp_path / "none.safetensors")


def test_a_shipped_file_that_is_absent_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "shipped", lambda name: tmp_path)
    for load in (load_prior, cached_prior):
        with pytest.raises(CheckpointError, match=f"no checkpoint file {tmp_path}/default.safetensors"):
            load("default")


def test_default_samples_by_the_network_of_sampler_and_estimates_by_its_own():
    """Loaded anew or kept; by its file alone it has one network."""
    u = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    alone = {name: load_prior(checkpoint.resolve(name)) for name in ("default", "sampler")}
    for prior in (load_prior("default"), cached_prior("default")):
        for gamma, name in ((None, "sampler"), (0.0, "default")):
            found, other = (p.sample(u, 0.5, NoiseStreams(0, [0]), gamma=gamma) for p in (prior, alone[name]))
            assert torch.equal(found, other)
        assert torch.equal(prior.spectrum, alone["default"].spectrum)
    assert alone["default"].estimator is None
    first, second = (p.sample(u, 0.5, NoiseStreams(0, [0])) for p in alone.values())
    assert (first - second).abs().max() > 0.01


def test_the_hub_is_asked_once_a_process(saved, monkeypatch):
    asked = []
    monkeypatch.setattr("invsolve.foreign.hub.prior_from_hub", lambda name: asked.append(name) or saved)
    name = "hf://owner/repository/asked-once.safetensors"
    first = cached_prior(name)
    assert cached_prior(name) is first
    assert asked == [name]


def test_a_foreign_file_is_read_once_until_it_changes(saved, monkeypatch, tmp_path):
    read, source = [], tmp_path / "foreign.pkl"
    monkeypatch.setattr("invsolve.foreign.hub.converted", lambda path: read.append(path) or saved)
    for content in (b"one", b"another"):
        source.write_bytes(content)
        first = cached_prior(source)
        assert cached_prior(source) is first
    assert read == [source, source]
