"""Priors stored as their difference from another one's weights."""

from __future__ import annotations

import shutil

import pytest
import torch
from prior_cases import RECORD, denoiser

from invsolve.cli import main
from invsolve.priors.difference import STEP, difference, restored
from invsolve.priors.file import CheckpointError, load_denoiser, read_checkpoint, save_denoiser, write_difference


@pytest.fixture
def files(tmp_path):
    """A prior, and one that was trained on a little."""
    base, trained = denoiser(conditional=True), denoiser(conditional=True)
    with torch.no_grad():
        for parameter in trained.network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    paths = tmp_path / "base.safetensors", tmp_path / "trained.safetensors"
    for path, each in zip(paths, (base, trained), strict=True):
        save_denoiser(path, each, RECORD, gamma=0.3)
    return paths


def test_rounding_is_off_by_at_most_half_a_step():
    """Each output channel has a step of its own; what is equal stays so, and what has one dimension is not rounded."""
    base = {"a": torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0)), "b": torch.ones(3)}
    d = torch.tensor([0.0, 1e-3, 0.1, 10.0])[:, None, None] * torch.randn(4, 3, 2)
    tensors = {"a": base["a"] + d, "b": torch.tensor([1.0, 2.0, 3.0])}
    stored = difference(tensors, base)
    assert stored["a"].dtype == torch.int8
    found = restored(stored, base)
    assert found.keys() == tensors.keys()
    limit = 0.51 * STEP * d.square().mean(dim=(1, 2)).sqrt() + 1e-6
    assert ((found["a"] - tensors["a"]).abs().amax(dim=(1, 2)) <= limit).all()
    assert torch.equal(found["b"], tensors["b"])


def test_a_file_is_small_and_its_prior_nearly_the_same(files, tmp_path):
    base, trained = files
    small = tmp_path / "small.safetensors"
    assert main(["convert", str(trained), "--base", str(base), "--out", str(small)]) == 0
    assert small.stat().st_size < 0.85 * trained.stat().st_size  # most of a tiny one is its header
    (header, tensors), (its_header, wanted) = read_checkpoint(small), read_checkpoint(trained)
    assert header == its_header
    weights = [name for name, value in wanted.items() if value.ndim > 1]
    changed, off = (
        sum((a[name].float() - wanted[name].float()).square().sum() for name in weights)
        for a in (read_checkpoint(base)[1], tensors)
    )
    assert (off / changed).sqrt() == pytest.approx(STEP / 12**0.5, rel=0.1)
    assert load_denoiser(small, train=True)[1]["gamma"] == 0.3


def test_it_needs_its_base_beside_it_and_unchanged(files, tmp_path):
    base, trained = files
    small, elsewhere = tmp_path / "small.safetensors", tmp_path / "elsewhere"
    write_difference(small, trained, base)
    elsewhere.mkdir()
    shutil.copy(small, elsewhere)
    with pytest.raises(CheckpointError, match=r"is a difference from base\.safetensors, which does not lie beside it"):
        read_checkpoint(elsewhere / small.name)
    shutil.copy(trained, base)
    with pytest.raises(CheckpointError, match=r"is a difference from base\.safetensors"):
        read_checkpoint(small)


def test_another_network_is_refused(files, tmp_path):
    save_denoiser(other := tmp_path / "other.safetensors", denoiser(), RECORD)
    with pytest.raises(CheckpointError, match="they are not of the same network"):
        write_difference(tmp_path / "small.safetensors", files[1], other)
    assert not (tmp_path / "small.safetensors").exists()
