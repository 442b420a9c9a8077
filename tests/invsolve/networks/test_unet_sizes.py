"""Published networks have the published numbers of weights, and those derived from the papers' figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from invsolve.networks.unet import UNet, UNetConfig

# name: (width of the finest level, millions of weights)
SIZES = {"XS": (128, 125), "S": (192, 280), "M": (256, 498), "L": (320, 777), "XL": (384, 1119), "XXL": (448, 1523)}


def block_weights(cin: int, cout: int, emb: int, decoder: bool, attention: bool) -> int:
    """3x3 and 3x3, embedding, gain, 1x1 skip where the width changes; 1x1 to three times the width and back."""
    first = cin if decoder else cout
    skip = cin * cout if cin != cout else 0
    return 9 * first * cout + 9 * cout**2 + emb * cout + 1 + skip + (4 * cout**2 if attention else 0)


def edm2_weights(base: int, image: int, labels: int, attention: set[int], control: bool) -> int:
    """Weights of EDM2's network (figure 21), or NCVSD's: two encoders, a decoder and the mixing weights."""
    c, n = [base * k for k in (1, 2, 3, 4)], 3
    embedding = base * c[3] + labels * c[3]
    encoder, skips = 9 * (image + 1) * base, [base]
    for level in range(4):
        if level:
            encoder += block_weights(c[level - 1], c[level - 1], c[3], False, False)
            skips.append(c[level - 1])
        for i in range(n):
            cin = c[level - 1] if level and i == 0 else c[level]
            encoder += block_weights(cin, c[level], c[3], False, level in attention)
            skips.append(c[level])
    decoder = block_weights(c[3], c[3], c[3], True, True) + block_weights(c[3], c[3], c[3], True, False)
    mixing, width = 1 + len(skips), c[3]
    for level in reversed(range(4)):
        if level < 3:
            decoder += block_weights(width, width, c[3], True, False)
        for _ in range(n + 1):
            decoder += block_weights(width + skips.pop(), c[level], c[3], True, level in attention)
            width = c[level]
    decoder += 9 * width * image + 1
    one = embedding + encoder + decoder + 128
    return one + encoder + 2 * embedding + mixing if control else one


def size(config: UNetConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(config).parameters())


def published(base: int, **options: object) -> UNetConfig:
    return UNetConfig(widths=tuple(base * k for k in (1, 2, 3, 4)), blocks=(3,) * 4, haar=0, wide_up=True, **options)


@pytest.mark.parametrize("name", SIZES)
def test_edm2s_networks_have_the_published_numbers_of_weights(name):
    """ImageNet-512: latents of 4 channels and 64x64, 1000 classes; millions of weights from the paper's tables."""
    base, millions = SIZES[name]
    counted = size(published(base, image_channels=4, attention=(2, 3), labels=1000))
    assert counted == edm2_weights(base, 4, 1000, {2, 3}, control=False)
    assert round(counted / 1e6) == millions


def test_the_published_ffhq_networks_have_the_derived_numbers_of_weights():
    """256x256 pixels: levels of 256 to 32, so no level of 16 or 8; only the decoder's first block has attention."""
    teacher = published(128, bottom_attention=True)
    assert size(teacher) == edm2_weights(128, 3, 0, set(), control=False) == 112_730_149
    generator = replace(teacher, conditioning="encoder")
    assert size(generator) == edm2_weights(128, 3, 0, set(), control=True) == 146_223_685
