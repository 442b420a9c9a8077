"""Filters in the cosine transform, against scipy's."""

import pytest
import scipy.fft
import torch

from invsolve.priors.spectrum import dct_frequency
from invsolve.solver.dct import cosine_filter, cosine_transform, inverse_cosine_transform


@pytest.fixture(params=["scipy", "torch"], autouse=True)
def way(request, monkeypatch):
    """By SciPy, as on a CPU, and by torch, as elsewhere."""
    if request.param == "torch":
        monkeypatch.setattr("invsolve.solver.dct._for_scipy", lambda x: False)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (2, 2), (3, 4), (8, 7), (9, 5), (16, 64)])
@pytest.mark.parametrize("gains", [(), (1,), (2, 3)])
def test_against_scipys_transform(size, gains):
    x, gain = random(2, 3, *size) - 0.5, random(*gains, *size, seed=1)
    coefficients = gain.numpy() * scipy.fft.dctn(x.numpy(), axes=(-2, -1), norm="ortho")
    expected = torch.from_numpy(scipy.fft.idctn(coefficients, axes=(-2, -1), norm="ortho"))
    assert (cosine_filter(gain)(x) - expected).abs().max() < 1e-14
    orthonormal = torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=(-2, -1), norm="ortho"))
    assert (cosine_transform(x) - orthonormal).abs().max() < 1e-14


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 8), (8, 5), (7, 7), (16, 12)], ids=str)
def test_the_inverse_transform(size):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (inverse_cosine_transform(cosine_transform(x)) - x).abs().max() < 1e-12


def test_single_precision_keeps_its_digits():
    x, gain = random(1, 3, 96, 80) - 0.5, random(96, 80, seed=1)
    filtered = cosine_filter(gain.float())(x.float())
    assert filtered.dtype == torch.float32
    assert (filtered - cosine_filter(gain)(x)).abs().max() < 1e-6


def test_a_smooth_gain_is_a_convolution_between_reflecting_borders():
    """With the transfer function of the kernel [1 2 1] / 4, ``1/2 + cos(2πf) / 2``, along each axis."""
    x = random(1, 1, 12, 9)
    vertical, horizontal = (torch.arange(n, dtype=torch.float64) / (2 * n) for n in (12, 9))
    along = [0.5 + 0.5 * torch.cos(2 * torch.pi * f) for f in (vertical, horizontal)]
    padded = torch.cat([x[..., :1], x, x[..., -1:]], dim=-1)
    padded = torch.cat([padded[..., :1, :], padded, padded[..., -1:, :]], dim=-2)
    kernel = torch.tensor([1.0, 2, 1], dtype=torch.float64) / 4
    expected = torch.nn.functional.conv2d(padded, torch.outer(kernel, kernel)[None, None])
    assert (cosine_filter(torch.outer(*along))(x) - expected).abs().max() < 1e-15


def test_frequencies_are_those_of_the_transforms_cosines():
    """A cosine of f cycles per pixel, sampled in the middle of each pixel, is one coefficient alone: the one at f."""
    frequency = dct_frequency(8, 6)
    assert frequency.shape == (8, 6)
    assert frequency[3, 4] == pytest.approx(((3 / 16) ** 2 + (4 / 12) ** 2) ** 0.5, rel=1e-15)
    wave = torch.cos(2 * torch.pi * frequency[3, 0] * (torch.arange(8, dtype=torch.float64) + 0.5))
    x = wave[:, None].expand(8, 6).contiguous()
    only = torch.zeros(8, 6, dtype=torch.float64)
    only[3, 0] = 1
    assert (cosine_filter(only)(x) - x).abs().max() < 1e-15


def test_the_default_device_does_not_matter():
    """`meta` has no numbers: nothing that has any may be made there."""
    x, gain = random(1, 4, 5), random(4, 5, seed=1)
    expected = cosine_filter(gain)(x)
    with torch.device("meta"):
        assert torch.equal(cosine_filter(gain)(x), expected)
        assert dct_frequency(4, 5).device.type == "cpu"
