"""JPEG's coefficients: libjpeg's own numbers, samples within the intervals with the right law, projections."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from test_noise_models import seeded

from operators import JPEG
from operators.jpeg import SUBSAMPLING, quality_tables
from operators.likelihood import likelihood_of

PILLOW = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def picture(height: int = 64, width: int = 96) -> np.ndarray:
    return np.ascontiguousarray(astronaut()[60 : 60 + height, 170 : 170 + width])


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].double() / 127.5 - 1


def encoded(pixels: np.ndarray, quality: int, subsampling: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=PILLOW[subsampling])
    return file.getvalue()


def coefficients(content: bytes, tmp_path) -> torch.Tensor:
    """A file's coefficients in the order of the operator's."""
    import jpeglib

    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    found = jpeglib.read_dct(str(path))
    planes = [plane.transpose(0, 2, 1, 3).reshape(-1) for plane in (found.Y, found.Cb, found.Cr)]
    return torch.from_numpy(np.concatenate(planes)).double()


@pytest.mark.parametrize("subsampling", PILLOW)
@pytest.mark.parametrize("quality", [10, 50, 85])
def test_a_measurement_is_what_libjpeg_writes(quality, subsampling, tmp_path):
    pixels = picture()
    operator = JPEG((3, 64, 96), quality_tables(quality), SUBSAMPLING[subsampling]).double()
    y = operator.measure(tensor(pixels), operator.rounding)
    found = ((y - operator.origins) / operator.steps)[0].round()
    expected = coefficients(encoded(pixels, quality, subsampling), tmp_path)
    assert (found == expected).double().mean() > 0.97  # libjpeg computes in integers
    assert (found - expected).abs().max() <= 1


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 51, 90, 100])
def test_tables_of_a_quality_are_libjpegs(quality):
    with Image.open(io.BytesIO(encoded(picture(), quality, "4:4:4"))) as opened:
        tables = opened.quantization
    luma, chroma, _ = quality_tables(quality)
    assert luma.flatten().tolist() == tables[0]
    assert chroma.flatten().tolist() == tables[1]


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0", "4:4:0", "4:1:1"])
def test_samples_round_to_the_measurement_and_so_do_projections(subsampling):
    x = tensor(picture())
    operator = JPEG((3, 64, 96), quality_tables(20), SUBSAMPLING[subsampling]).double()
    y = operator.measure(x, operator.rounding)
    half = operator.steps / 2
    u = likelihood_of(y, operator, operator.rounding).sample(x + 0.2, 0.3, seeded())
    assert ((operator(u) - y).abs() <= half * (1 + 1e-9)).all()
    assert (u - x).abs().max() > 0.1
    far = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    near = operator.project_within(far, y - half, y + half)
    assert ((operator(near) - y).abs() <= half * (1 + 1e-9)).all()
    assert (near - x).square().mean() < (far - x).square().mean()
    fine = JPEG((3, 64, 96), quality_tables(100), SUBSAMPLING[subsampling]).double()
    assert torch.allclose(fine.project_within(x, fine(x) - 1, fine(x) + 1), x, atol=1e-12)


def test_samples_have_the_law_of_rejection():
    """One frequency of 4:4:4 is a normal vector (Y, Cb, Cr) in a box, with correlations from the colour transform."""
    count, rho = 4000, 0.15
    steps = [torch.full((8, 8), 127.5 * step) for step in (0.2, 0.15, 0.12)]
    operator = JPEG((3, 8, 8), steps, (1, 1)).double()
    x = torch.zeros(count, 3, 8, 8, dtype=torch.float64)
    y = torch.zeros(count, 3 * 64, dtype=torch.float64)
    y[:, 5], y[:, 64 + 5], y[:, 128 + 5] = 0.2, -0.15, 0.12
    u = likelihood_of(y, operator, operator.rounding).sample(x, rho, seeded(count))
    found = operator(u).unflatten(1, (3, 64))[..., 5]
    covariance = rho**2 * (operator.to_planes @ operator.to_planes.T)
    proposals = torch.randn(400_000, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    proposals = proposals @ torch.linalg.cholesky(covariance).T
    centre, half = torch.tensor([0.2, -0.15, 0.12]).double(), torch.tensor([0.1, 0.075, 0.06]).double()
    kept = proposals[((proposals - centre).abs() <= half).all(1)]
    assert len(kept) > 1000
    error = kept.std(0) * (1 / count + 1 / len(kept)) ** 0.5
    assert ((found.mean(0) - kept.mean(0)).abs() < 4 * error).all()
    assert torch.allclose(found.T.cov(), kept.T.cov(), atol=0.1 * kept.var(0).max().item())


def test_unmeasured_coefficients_are_free():
    step = torch.full((8, 16), 2.0)
    step[:, 8:] = torch.inf
    operator = JPEG((1, 8, 16), [step], (1, 1)).double()
    x = torch.full((200, 1, 8, 16), 0.3, dtype=torch.float64)
    y = operator.measure(x, operator.rounding)
    u = likelihood_of(y, operator, operator.rounding).sample(x, 0.2, seeded(200))
    assert u[..., 8:].std().item() == pytest.approx(0.2, rel=0.05)
    assert u[..., :8].std().item() < 0.02


def test_the_estimate_is_the_decoded_picture():
    pixels = picture()
    operator = JPEG((3, 64, 96), quality_tables(50), (1, 1)).double()
    y = operator.measure(tensor(pixels), operator.rounding)
    with Image.open(io.BytesIO(encoded(pixels, 50, "4:4:4"))) as opened:
        decoded = tensor(np.asarray(opened))
    assert (operator.estimate(y, seeded()).clamp(-1, 1) - decoded).abs().mean() * 127.5 < 1.3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JPEG((2, 8, 8), quality_tables(50)), "the image has 2 channels but a JPEG has 1 or 3"),
        (lambda: JPEG((3, 8, 8), quality_tables(50)), "is 8x8 but the blocks of a JPEG fill multiples of 16x16"),
        (lambda: JPEG((3, 16, 16), quality_tables(50, 1)), "there are 1 tables but 3 planes"),
        (lambda: JPEG((1, 8, 8), [torch.ones(4, 4)], (1, 1)), r"a table is \(4, 4\) but must be 8x8"),
        (lambda: quality_tables(0), "quality is 0 but must be an integer from 1 to 100"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
