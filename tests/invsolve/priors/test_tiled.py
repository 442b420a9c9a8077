"""Tiles: a partition of unity, and with a local network the same result as the image as a whole."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from invsolve.networks.inference import Inference
from invsolve.priors.denoiser import Denoiser, GenerativeDenoiser
from invsolve.priors.tiled import Tiled, blend_weights, extend, starts
from invsolve.runtime.random_streams import NoiseStreams


class Local(nn.Module):
    """A nonlinear network that sees ``reach`` pixels around each, on a grid of 4, and remembers what it was given."""

    multiple = 4

    def __init__(self, reach: int = 4, room: float = float("inf")) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(6, 4, 2 * reach + 1, padding=reach)
        self.grid, self.ungrid = nn.Conv2d(4, 8, 4, stride=4), nn.ConvTranspose2d(8, 3, 4, stride=4)
        self.room, self.shapes = room, []

    def forward(self, x, c_noise, condition, c_noise_condition):
        self.shapes.append(tuple(x.shape))
        if x.shape[0] * x.shape[2] * x.shape[3] > self.room:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        hidden = self.mix(torch.cat([x, condition], dim=1)) + (c_noise + c_noise_condition)[:, None, None, None]
        return self.ungrid(torch.tanh(self.grid(torch.tanh(hidden))))


def arguments(batch: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
    stream = torch.Generator().manual_seed(3)
    u, condition = torch.randn(2, batch, 3, height, width, generator=stream)
    s = torch.rand(batch, generator=stream) + 0.2
    return u, 1.4 * s, condition, s


@pytest.mark.parametrize("length", [64, 68, 96, 112, 116, 400])
@pytest.mark.parametrize("overlap", [8, 16, 32])
def test_tiles_cover_evenly_and_their_weights_are_a_partition_of_unity(length, overlap):
    tile, multiple = 64, 4
    firsts = starts(length, tile, overlap, multiple)
    assert firsts[0] == 0
    assert firsts[-1] + tile == length
    assert all(first % multiple == 0 for first in firsts)
    assert all(b - a <= tile - overlap for a, b in itertools.pairwise(firsts))
    assert len(firsts) == 1 + -(-(length - tile) // (tile - overlap))  # as few as can be
    total = torch.zeros(length, dtype=torch.float64)
    weights = blend_weights(firsts, tile, overlap)
    for i, (first, weight) in enumerate(zip(firsts, weights, strict=True)):
        assert weight.min() >= 0
        assert i == 0 or weight[: overlap // 4].abs().max() == 0
        assert i == len(firsts) - 1 or weight[-(overlap // 4) :].abs().max() == 0
        total[first : first + tile] += weight
    assert (total - 1).abs().max() < 1e-15
    assert torch.cat([w.diff() for w in weights]).abs().max() < 4 / overlap  # smooth: no step


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 130), (150, 90), (128, 61)])
def test_tiles_of_a_local_network_give_the_whole_result(height, width):
    """Its field of view is 7 pixels: what the margins of the weights, a quarter of 32, leave out."""
    denoiser = Denoiser(Local(reach=4)).requires_grad_(False)
    tiled = Tiled(denoiser, tile=64, overlap=32, always=True)
    whole = denoiser(*arguments(2, height, width))
    denoiser.network.shapes.clear()
    difference = (tiled(*arguments(2, height, width)) - whole).abs().max()
    assert difference < 1e-5
    if max(height, width) > 64:
        assert {shape[2:] for shape in denoiser.network.shapes} == {(64, 64)}
        nearer = Tiled(denoiser, tile=64, overlap=8, always=True)(*arguments(2, height, width))
        assert (nearer - whole).abs().max() > 1e-3  # too small an overlap: the test can tell


def test_a_draw_in_tiles_sees_one_noise():
    denoiser = Denoiser(Local(reach=4)).requires_grad_(False)
    u = arguments(2, 100, 120)[0]
    prior, tiled = (GenerativeDenoiser(d) for d in (denoiser, Tiled(denoiser, 64, 32, always=True)))
    draws = [p.sample(u, 0.5, NoiseStreams(0, range(2))) for p in (prior, tiled)]
    assert (draws[0] - draws[1]).abs().max() < 1e-5


def test_a_network_of_one_size_gets_no_other():
    network = Local()
    tiled = Tiled(Denoiser(network).requires_grad_(False), tile=64, overlap=16, fixed=True)
    for height, width in [(64, 64), (20, 30), (64, 100), (3, 130)]:
        network.shapes.clear()
        assert tiled(*arguments(2, height, width)).shape == (2, 3, height, width)
        assert {shape[2:] for shape in network.shapes} == {(64, 64)}
    exact = arguments(2, 64, 64)
    assert torch.equal(tiled(*exact), tiled.denoiser(*exact))


def test_a_smaller_image_is_extended_by_reflection():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    expected = torch.nn.functional.pad(x, (0, 3, 0, 2), mode="reflect")
    assert torch.equal(extend(x, 5, 7), expected)
    assert torch.equal(extend(x, 3, 4), x)
    assert extend(x, 3, 12)[0, 0, 0].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]
    assert extend(x[..., :1], 3, 3)[0, 0, 1].tolist() == [4, 4, 4]


def test_portions_of_a_batch_give_the_whole_result():
    """Four images of 32x32 at a time, as the network's bytes a pixel say."""
    network = Local()
    denoiser = Denoiser(network).requires_grad_(False)
    tiled = Tiled(denoiser, tile=64, overlap=32)
    call = arguments(10, 32, 32)
    whole = denoiser(*call)
    tiled.pixel_bytes = 2**23 / (4 * 32 * 32)
    network.shapes.clear()
    assert (tiled(*call) - whole).abs().max() < 1e-5
    assert [shape[0] for shape in network.shapes] == [4, 4, 2]


def test_tiles_are_the_last_resort_of_an_image_that_does_not_fit(monkeypatch):
    """A single image of 80x96 is refused, tiles of 64x64 are taken; of two images the caller has to know."""
    monkeypatch.delattr(torch, "OutOfMemoryError", raising=False)  # which torch 2.4 has not
    network = Local(room=64 * 64)
    denoiser = Denoiser(network).requires_grad_(False)
    tiled = Tiled(denoiser, tile=64, overlap=32)
    tiled.pixel_bytes = 1.0
    call = arguments(2, 80, 96)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        tiled(*call)
    call = tuple(value[:1] for value in call)
    network.shapes.clear()
    in_tiles = tiled(*call)
    assert [shape[0] for shape in network.shapes] == [1, 4, 2, 1, 1, 1, 1]
    network.shapes.clear()
    assert torch.equal(tiled(*call), in_tiles)
    assert [shape[0] for shape in network.shapes] == [1, 1, 1, 1]  # it remembers what fitted
    network.shapes.clear()
    tiled(*arguments(1, 64, 64))
    assert network.shapes == [(1, 3, 64, 64)]
    network.room = float("inf")
    assert (in_tiles - denoiser(*call)).abs().max() < 1e-5
    network.room = 60 * 60  # not even a tile
    with pytest.raises(torch.cuda.OutOfMemoryError):
        tiled(*call)


def test_memory_that_runs_out_between_two_tiles_adds_none_twice():
    """The first micro_batch, of four tiles, fails once: when its first tile has been given."""

    class FailsOnce(Denoiser):
        failed = False

        def forward(self, **inputs):
            first, *rest = super().forward(**inputs)
            yield first
            if not self.failed:
                self.failed = True
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            yield from rest

    call = arguments(1, 80, 96)
    network = Local().requires_grad_(False)
    wanted = Tiled(Denoiser(network), tile=64, overlap=32, always=True)(*call)
    failing = Tiled(FailsOnce(network), tile=64, overlap=32, always=True)
    failing.pixel_bytes = 1.0  # all tiles at a time
    network.shapes.clear()
    assert (failing(*call) - wanted).abs().max() < 1e-5
    assert [shape[0] for shape in network.shapes] == [4, 2, 2]


def test_a_large_image_on_a_cpu_is_tiled_beyond_the_documented_size():
    network = Local()
    tiled = Tiled(Denoiser(network).requires_grad_(False), tile=64, overlap=32)
    for bytes_, expected in ((2**27 / (80 * 96), (80, 96)), (2**27 / (80 * 96) + 1, (64, 64))):
        tiled.pixel_bytes = bytes_
        network.shapes.clear()
        tiled(*arguments(1, 80, 96))
        assert {shape[2:] for shape in network.shapes} == {expected}


@pytest.mark.parametrize("options", [{"tile": 66}, {"tile": 64, "overlap": 36}])
def test_tiles_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match=f"tiles are {options['tile']} pixels a side but must be a multiple of 4"):
        Tiled(Denoiser(Local()), **options)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'half' but must be one of auto, fp32, bf16, fp16"):
        Inference("half")
