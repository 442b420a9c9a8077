"""The magnitude-preserving U-Net against EDM2's equations written out, and the changes it must survive unchanged."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from invsolve.networks.blocks import DECODER, ENCODER, Block
from invsolve.networks.haar import haar, inverse_haar
from invsolve.networks.layers import (
    MPConv,
    MPFourier,
    fold,
    mp_cat,
    mp_silu,
    mp_sum,
    normalize,
    normalize_weights,
    pixel_norm,
)
from invsolve.networks.unet import CONDITIONINGS, UNet, UNetConfig, conditional_from
from invsolve.priors.denoiser import Denoiser

SHAPE = UNetConfig(widths=(8, 16, 16), blocks=(1, 1, 2), haar=1)


def trained(config: UNetConfig = SHAPE, seed: int = 0) -> UNet:
    """A float64 network whose gains are away from their zero start and whose weights are of unequal magnitudes."""
    torch.manual_seed(seed)
    network = UNet(config).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gain") or name.endswith("gain_out"):
                parameter.fill_(0.7)
            elif "conv" in name:
                parameter.mul_(torch.rand(len(parameter), *[1] * (parameter.ndim - 1)) + 0.5)
    return network


def inputs(batch: int = 2, size: int = 16, seed: int = 1) -> tuple[torch.Tensor, ...]:
    """``x``, ``c_noise``, ``condition`` and ``c_noise_condition`` of a conditional call."""
    stream = torch.Generator().manual_seed(seed)
    x, condition = torch.randn(2, batch, 3, size, size, generator=stream, dtype=torch.float64)
    levels = torch.randn(2, batch, generator=stream, dtype=torch.float64) / 2
    return x, levels[0], condition, levels[1]


def test_haar_is_the_explicit_orthonormal_matrix():
    matrix = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=torch.float64) / 2
    assert (matrix @ matrix.T - torch.eye(4)).abs().max() == 0
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bands = haar(x).reshape(2, 3, 4, 2, 3)
    for i in range(2):
        for j in range(3):
            block = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].flatten(2)
            assert (bands[..., i, j] - block @ matrix.T).abs().max() < 1e-15
    assert (inverse_haar(haar(x)) - x).abs().max() < 1e-15
    assert haar(x).norm().item() == pytest.approx(x.norm().item(), rel=1e-14)
    v = torch.randn(2, 12, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert ((haar(x) * v).sum() - (x * inverse_haar(v)).sum()).abs() < 1e-13


def test_elementary_operations_keep_unit_variance():
    n = 200_000
    a, b = torch.randn(2, n, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    bound = 5 * math.sqrt(2 / n)  # of a normal's sample variance; of the others, nearly
    for t in (0.0, 0.3, 0.5, 0.9):
        assert abs(mp_sum(a, b, t).var().item() - 1) < bound
    assert abs(mp_silu(a).square().mean().item() - 1) < 0.005 + 2 * bound  # equation 81 rounds to 0.596
    wide, narrow = torch.randn(2000, 96, generator=torch.Generator().manual_seed(3)), torch.randn(2000, 32)
    both = mp_cat(wide, narrow, t=0.5)
    assert both.square().mean().item() == pytest.approx(1, abs=0.02)
    # Each input contributes equally, whatever its number of channels (equation 103).
    parts = both[:, :96].square().sum().item(), both[:, 96:].square().sum().item()
    assert parts[0] == pytest.approx(parts[1], rel=0.05)
    assert (pixel_norm(7 * wide[..., None, None]).square().mean(1) - 1).abs().max() < 1e-3


def test_fourier_features_have_unit_variance():
    torch.manual_seed(0)
    features = MPFourier(4000).double()
    assert features(torch.tensor([-1.2, 0.0, 0.7], dtype=torch.float64)).square().mean(1) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("kernel", [(), (1, 1), (3, 3)], ids=str)
def test_convolution_ignores_the_magnitude_of_its_weights_and_keeps_variance(kernel):
    torch.manual_seed(0)
    layer = MPConv(64, 128, kernel).double()
    shape = (400, 64) if kernel == () else (4, 64, 32, 32)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    y = layer(x)
    inner = y if kernel != (3, 3) else y[..., 1:-1, 1:-1]  # zero padding lessens the variance at the border
    assert inner.square().mean().item() == pytest.approx(1, abs=0.05)
    with torch.no_grad():
        layer.weight.mul_(3)
    assert (layer(x) - y).abs().max() < 1e-3  # up to the epsilon of the normalisation, 1e-4 relative


def test_activations_have_unit_variance_through_the_network_at_its_start():
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(32, 48, 64), blocks=(2, 2, 2)))
    seen = {}
    for name, module in network.named_modules():
        if isinstance(module, Block):
            module.register_forward_hook(lambda _, __, y, name=name: seen.update({name: y.square().mean().item()}))
    network(torch.randn(4, 3, 32, 32), torch.zeros(4))
    assert len(seen) == len(network.encoder.blocks) + len(network.decoder)
    # 2x2 averaging, nearest upsampling and zero padding are the only departures; none of the 19 blocks may drift.
    assert all(0.4 < value < 1.6 for value in seen.values()), seen


def unit_rows(weight: torch.Tensor) -> torch.Tensor:
    """Each output channel's weights divided by their norm: equation 47's w / |w| without any epsilon."""
    return weight / weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.ndim - 1))


@pytest.mark.parametrize(("flavor", "resample"), [(ENCODER, "down"), (ENCODER, ""), (DECODER, "up"), (DECODER, "")])
def test_a_block_is_the_papers_equations_evaluated_literally(flavor, resample):
    torch.manual_seed(0)
    block = Block(6, 10, 12, flavor, resample, dropout=0.0).double()
    with torch.no_grad():
        block.emb_gain.fill_(0.6)
    normalize_weights(block)  # makes the epsilon a matter of 1e-4 in every layer
    stream = torch.Generator().manual_seed(5)
    x = torch.randn(3, 6, 8, 8, generator=stream, dtype=torch.float64)
    emb = torch.randn(3, 12, generator=stream, dtype=torch.float64)

    def silu(v):
        return v / (1 + (-v).exp()) / 0.596  # equation 81

    if resample == "down":
        h = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    else:
        h = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if resample == "up" else x
    skip = torch.einsum("oi,bihw->bohw", unit_rows(block.conv_skip.weight)[..., 0, 0], h)
    if flavor == ENCODER:
        h = skip / skip.square().mean(1, keepdim=True).sqrt()  # equation 30
    y = F.conv2d(silu(h), unit_rows(block.conv_res0.weight), padding=1)
    scale = 0.6 * emb @ unit_rows(block.emb_linear.weight).T + 1
    y = F.conv2d(silu(y * scale[..., None, None]), unit_rows(block.conv_res1.weight), padding=1)
    main = h if flavor == ENCODER else skip
    expected = (0.7 * main + 0.3 * y) / math.sqrt(0.7**2 + 0.3**2)  # equation 88 with t = 0.3
    assert (block(x, emb) - expected).abs().max() < 2e-3  # five epsilons of 1e-4 each on values up to 4


def test_forced_normalisation_makes_weights_of_unit_mean_square():
    network = trained()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)
    normalize_weights(network)
    layers = [m for m in network.modules() if isinstance(m, MPConv)]
    assert len(layers) > 20
    assert max((m.weight.flatten(1).square().mean(1) - 1).abs().max().item() for m in layers) < 1e-3


def test_the_gradient_is_orthogonal_to_normalised_weights():
    """Equation 47 normalises within the graph, which projects the gradient: magnitudes cannot grow by it."""
    layer = MPConv(16, 8, (3, 3)).double()
    normalize_weights(layer)
    x = torch.randn(2, 16, 6, 6, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(layer(x).pow(3).sum(), layer.weight)
    radial = (gradient * layer.weight).flatten(1).sum(1) / gradient.flatten(1).norm(dim=1)
    assert radial.abs().max() < 2e-3 * layer.weight[0].norm()


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_folding_changes_no_output(conditioning):
    config = replace(SHAPE, conditioning=conditioning)
    network = trained(config)
    arguments = inputs()[:2] if conditioning == "none" else inputs()
    before = network(*arguments)
    fold(network)
    assert before.abs().max() > 0.1
    assert (network(*arguments) - before).abs().max() < 1e-12
    fold(network)  # a second time is harmless
    assert (network(*arguments) - before).abs().max() < 1e-12


def test_a_conditional_copy_starts_as_the_same_function():
    network = trained()
    normalize_weights(network)
    conditional = conditional_from(network)
    x, c_noise, condition, c_noise_condition = inputs()
    assert next(conditional.parameters()).dtype == torch.float64
    plain, copied = network(x, c_noise), conditional(x, c_noise, condition, c_noise_condition)
    assert plain.abs().max() > 0.1
    assert (plain - copied).abs().max() < 1e-5
    levels = conditional.log_variance(c_noise, c_noise_condition)
    assert (network.log_variance(c_noise) - levels).abs().max() < 1e-5
    assert network.log_variance(c_noise).abs().max() > 0.1
    # What was added is there to be learned: every added parameter gets a gradient.
    (conditional(x, c_noise, condition, c_noise_condition).square().sum() + levels.sum()).backward()
    added = conditional.encoder.conv_in.weight.grad[:, 13:], conditional.encoder.cond_gain.grad
    assert all(gradient.abs().min() > 0 for gradient in added)
    assert conditional.logvar_linear.weight.grad[:, 128:].abs().max() > 0


def test_a_copied_network_leaves_the_original_alone():
    network = trained()
    before = copy.deepcopy(network.state_dict())
    conditional = conditional_from(network)
    with torch.no_grad():
        for parameter in conditional.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("size", [(16, 16), (13, 16), (9, 23), (8, 40), (3, 5), (1, 1)], ids=str)
def test_any_size_is_the_interior_of_a_padded_call(size):
    denoiser = Denoiser(trained())
    assert denoiser.network.multiple == 8
    u = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    output = denoiser(u, 0.4)
    assert output.shape == u.shape
    bottom, right = -size[0] % 8, -size[1] % 8
    mode = "reflect" if bottom < size[0] and right < size[1] else "edge"
    padded = torch.from_numpy(np.pad(u.numpy(), ((0, 0), (0, 0), (0, bottom), (0, right)), mode=mode))
    expected = denoiser(padded, 0.4)[..., : size[0], : size[1]]
    assert (output - expected).abs().max() < 1e-12


def test_images_of_a_batch_do_not_mix():
    network = trained()
    x, c_noise, *_ = inputs(batch=4)
    together = network(x, c_noise)
    alone = torch.cat([network(x[i : i + 1], c_noise[i : i + 1]) for i in range(4)])
    assert (together - alone).abs().max() < 1e-12


def test_normalize_is_the_root_mean_square():
    x = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    assert (normalize(x, eps=0.0).square().mean(dim=(1, 2)) - 1).abs().max() < 1e-14


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": (8, 16), "blocks": (1,)},
        {"widths": (), "blocks": ()},
        {"widths": (8, 0), "blocks": (1, 1)},
        {"haar": -1},
        {"dropout": 1.0},
    ],
    ids=str,
)
def test_an_impossible_shape_is_refused(wrong):
    with pytest.raises(ValueError, match=r"one entry a level|out of range"):
        UNetConfig(**wrong)
