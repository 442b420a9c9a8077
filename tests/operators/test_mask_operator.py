from __future__ import annotations

import pytest
import torch

from operators import Identity, Mask, box_mask, random_mask


def test_box_is_centred_or_at_its_corner():
    mask = box_mask((9, 12), (3, 4))
    assert mask.shape == (1, 9, 12)
    assert (mask == 0).sum() == 12
    assert not mask[0, 3:6, 4:8].any()
    assert not box_mask((9, 12), (3, 4), corner=(0, 8))[0, :3, 8:].any()


def test_random_mask_has_its_fraction_and_its_seed():
    mask = random_mask((31, 17), 0.7, seed=4)
    assert (mask == 0).sum() == round(0.7 * 31 * 17)
    assert torch.equal(mask, random_mask((31, 17), 0.7, seed=4))
    assert not torch.equal(mask, random_mask((31, 17), 0.7, seed=5))
    assert random_mask((4, 4), 0, seed=0).all()
    assert not random_mask((4, 4), 1, seed=0).any()


def test_random_mask_is_the_same_on_every_platform():
    missing = (random_mask((3, 4), 0.5, seed=0).flatten() == 0).nonzero().flatten().tolist()
    assert missing == [1, 2, 3, 6, 8, 11]  # the six smallest of the first twelve uniform numbers of PCG64(0)


def test_mask_shapes_and_types():
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    flat = random_mask((4, 5), 0.5, seed=0)[0]
    for mask in (flat, flat[None], flat.bool(), flat.to(torch.uint8)[None, None], flat.expand(3, 4, 5)):
        assert torch.equal(Mask((3, 4, 5), mask)(x), x * flat)
    per_image = torch.stack([flat, 1 - flat])[:, None]
    assert torch.equal(Mask((3, 4, 5), per_image)(x), x * per_image)


def test_missing_pixels_are_ignored_and_measured_as_zero():
    mask = random_mask((6, 6), 0.5, seed=0)
    op, noise = Mask((1, 6, 6), mask), lambda shape: torch.ones(2, *shape)
    x = torch.full((2, 1, 6, 6), 0.25)
    y = op.measure(x, 0.5, noise)
    assert torch.equal(y, (mask * 0.75).expand(2, 1, 6, 6))
    assert torch.equal(op.measure(x, 0.5, noise), (Mask((1, 6, 6), mask) @ Identity((1, 6, 6))).measure(x, 0.5, noise))
    for anything in (1e6, torch.nan, -torch.inf):
        spoilt = torch.where(mask > 0, y, anything)
        assert torch.equal(op(spoilt), y)
        assert torch.equal(op.adjoint(spoilt), y)
        assert torch.equal(op.pinv(spoilt), y)
        assert torch.equal(op.prox(x, spoilt, 0.1), op.prox(x, y, 0.1))


def test_missing_pixels_do_not_spoil_gradients():
    mask = torch.tensor([[1.0, 0.0]])
    y, lam = torch.tensor([[[[0.5, torch.nan]]]], requires_grad=True), torch.tensor([0.5], requires_grad=True)
    Mask((1, 1, 2), mask).prox(torch.zeros(1, 1, 1, 2), y, lam).sum().backward()
    assert torch.equal(y.grad[..., 1], torch.zeros(1, 1, 1))
    assert abs(float(lam.grad) + 0.5 / 1.5**2) < 1e-6


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(128, 128), "mask is 128x128 but the image is 256x256"),
        (torch.ones(2, 256, 256), "mask has 2 channels but the image has 3"),
        (torch.full((256, 256), 0.5), "mask has values other than 0 .missing. and 1 .observed."),
        (torch.full((256, 256), torch.nan), "mask has values other than"),
        (torch.ones(256), "mask is a tensor of 1 dimensions but must be a tensor"),
        ([[1, 0]], "mask is a list but must be a tensor"),
    ],
)
def test_wrong_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        Mask((3, 256, 256), mask)


def test_wrong_helpers():
    with pytest.raises(ValueError, match=r"a box of 10x3 at \(-1, 2\) is not inside the image of 8x8"):
        box_mask((8, 8), (10, 3))
    with pytest.raises(ValueError, match="fraction of missing pixels is 70 but must be between 0 and 1"):
        random_mask((8, 8), 70, seed=0)
