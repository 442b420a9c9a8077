"""The linear shortcuts: each link against its matrices written out, orthogonality, and what must not change."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from invsolve.networks.auxt import Shortcut
from invsolve.networks.layers import MPOrthogonal, fold, normalize_weights, orthogonalize
from invsolve.networks.unet import CONDITIONINGS, UNet, UNetConfig, conditional_from
from invsolve.priors.denoiser import Denoiser
from invsolve.priors.file import load_denoiser, save_denoiser

SHAPE = UNetConfig(widths=(8, 16, 24), blocks=(1, 1, 1), haar=1, auxt=True)


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(config: UNetConfig = SHAPE) -> UNet:
    """A float64 network away from its start, projections, subband gains and blends included."""
    torch.manual_seed(0)
    network = UNet(config).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gain") or name.endswith("gain_out"):
                parameter.fill_(0.7)
            elif name.endswith("log_gain"):
                parameter.uniform_(-0.5, 0.5)
            elif name.endswith("projection.weight"):
                parameter.mul_(3).add_(0.1 * torch.randn_like(parameter))
    return network


def inputs() -> tuple[Tensor, ...]:
    return normals(2, 3, 16, 16), normals(2, seed=1), normals(2, 3, 16, 16, seed=2), normals(2, seed=3)


@pytest.mark.parametrize("shape", [(5, 12), (12, 5), (7, 7), (3, 40)], ids=str)
def test_orthogonalize_is_the_polar_factor(shape):
    u, _, v = torch.linalg.svd(normals(*shape), full_matrices=False)
    values = torch.linspace(0.6, 1.4, min(shape), dtype=torch.float64)
    for magnitude in (1e-3, 1.0, 50.0):
        assert (orthogonalize(magnitude * u @ torch.diag(values) @ v) - u @ v).abs().max() < 1e-9


@pytest.mark.parametrize("shape", [(64, 24), (24, 64)], ids=["fewer channels", "more channels"])
def test_the_projection_is_orthogonal_and_keeps_variance(shape):
    torch.manual_seed(0)
    layer = MPOrthogonal(*shape).double()
    matrix = layer(torch.eye(shape[0], dtype=torch.float64)[..., None, None])[..., 0, 0].T
    gram = matrix @ matrix.T if shape[0] > shape[1] else matrix.T @ matrix * (shape[0] / shape[1])
    assert (gram - torch.eye(24)).abs().max() < 1e-12
    assert layer(normals(4, shape[0], 64, 64)).square().mean().item() == pytest.approx(1, abs=0.02)
    assert layer.weight.square().mean().item() == pytest.approx(1, rel=1e-6)  # so that learning rates are MPConv's


def test_a_large_optimiser_step_leaves_the_projection_orthogonal():
    """Every entry moves by 2 % of the weights' magnitude in a common direction, the worst there is."""
    torch.manual_seed(0)
    layer = MPOrthogonal(96, 48).double()
    with torch.no_grad():
        layer.weight.add_(0.02 * torch.sign(layer.weight))
        layer.weight.add_(0.02)
    normalize_weights(layer)
    gram = layer.weight @ layer.weight.T / 96
    assert (gram - torch.eye(48)).abs().max() < 1e-12


def literal_haar(x: Tensor) -> Tensor:
    """Each channel's four subbands in a row, as inner products with the four patterns of signs over 2."""
    signs = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=x.dtype) / 2
    kernel = signs.reshape(4, 1, 2, 2).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, kernel, stride=2, groups=x.shape[1])


def literal_inverse_haar(x: Tensor) -> Tensor:
    channels = x.shape[1] // 4
    signs = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=x.dtype) / 2
    return F.conv_transpose2d(x, signs.reshape(4, 1, 2, 2).repeat(channels, 1, 1, 1), stride=2, groups=channels)


@pytest.mark.parametrize("down", [True, False], ids=["down", "up"])
def test_a_link_is_its_matrices_evaluated_literally(down):
    torch.manual_seed(0)
    link = Shortcut(5, 7, down).double()
    with torch.no_grad():
        link.log_gain.uniform_(-1, 1)
        link.mix.weight.fill_(0.4)
    u, _, v = torch.linalg.svd(link.projection.weight, full_matrices=False)
    gain = (link.log_gain if down else -link.log_gain).exp()
    gain = gain / (gain.square().mean().sqrt() + 1e-4)
    linear = normals(2, 5, 4, 6)
    if down:
        expected = torch.einsum("oi,bihw->bohw", u @ v, literal_haar(linear) * gain[:, None, None])
    else:
        bands = math.sqrt(28 / 5) * torch.einsum("oi,bihw->bohw", u @ v, linear)
        expected = literal_inverse_haar(bands * gain[:, None, None])
    x = normals(*expected.shape, seed=1)
    mixed, passed = link(x, linear)
    assert (passed - expected).abs().max() < 1e-12
    assert (mixed - (0.6 * x + 0.4 * expected) / math.sqrt(0.6**2 + 0.4**2)).abs().max() < 1e-12


def test_a_link_up_undoes_a_link_down_of_the_same_weights():
    """As synthesis undoes analysis: with as many channels as subbands, up to the two common factors of the gains."""
    torch.manual_seed(0)
    down, up = Shortcut(3, 12, down=True).double(), Shortcut(12, 3, down=False).double()
    with torch.no_grad():
        up.projection.weight.copy_(down.projection.weight.T)
    x = normals(2, 3, 8, 8)
    restored = up(x, down(normals(2, 12, 4, 4), x)[1])[1]
    factor = (restored * x).sum() / x.square().sum()
    assert (restored - factor * x).abs().max() < 1e-12
    assert 0.8 < factor <= 1


def test_the_chain_along_the_encoder_is_linear_and_of_unit_variance():
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(32, 48, 64), blocks=(1, 1, 1), auxt=True)).double()
    outputs = []
    for link in network.encoder.shortcuts:
        link.register_forward_hook(lambda _, __, result: outputs.append(result[1]))
    x, z = normals(4, 3, 64, 64), normals(4, 3, 64, 64, seed=1)
    for image in (x, z, 2 * x - 3 * z):
        network.encoder(image, torch.zeros(4, dtype=torch.float64))
    assert len(outputs) == 6
    for i in range(2):
        assert outputs[i].square().mean().item() == pytest.approx(1, abs=0.1)
        assert (2 * outputs[i] - 3 * outputs[i + 2] - outputs[i + 4]).abs().max() < 1e-12


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_folding_and_normalisation_change_no_output(conditioning):
    network = trained(replace(SHAPE, conditioning=conditioning))
    call = inputs()[: 2 if conditioning == "none" else 4]
    before = network(*call)
    assert before.abs().max() > 0.1
    normalize_weights(network)
    after = network(*call)
    assert (after - before).abs().max() < 1e-2  # up to the epsilons of the other layers
    fold(network)
    assert (network(*call) - after).abs().max() < 1e-9
    fold(network)  # a second time is harmless
    assert (network(*call) - after).abs().max() < 1e-9


@pytest.mark.parametrize("conditioning", CONDITIONINGS[1:])
def test_a_conditional_copy_starts_as_the_same_function(conditioning):
    network, call = trained(), inputs()
    normalize_weights(network)
    plain = network(*call[:2])
    assert (conditional_from(network, conditioning)(*call) - plain).abs().max() < 1e-5
    assert plain.abs().max() > 0.1


def test_every_parameter_of_the_shortcuts_learns_and_stays_admissible():
    network, call = trained(), inputs()
    normalize_weights(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    network(*call[:2]).sub(call[2]).square().mean().backward()
    links = [*network.encoder.shortcuts, *network.shortcuts]
    assert len(links) == 4
    for link in links:
        assert all(parameter.grad.abs().max() > 0 for parameter in link.parameters())
        # The projection's gradient leaves singular values alone: symmetric part of G W' (or W' G) is zero.
        w, g = link.projection.weight, link.projection.weight.grad
        product = g @ w.T if len(w) <= w.shape[1] else w.T @ g
        assert (product + product.T).abs().max() < 1e-6 * product.abs().max()
    optimizer.step()
    normalize_weights(network)
    for link in links:
        w = link.projection.weight / link.projection.scale
        gram = w @ w.T if len(w) <= w.shape[1] else w.T @ w
        assert (gram - torch.eye(len(gram))).abs().max() < 1e-9
        assert 0 <= link.mix.weight.item() <= 1


def test_a_network_with_shortcuts_comes_back_from_its_file(tmp_path):
    original = Denoiser(trained().float())
    save_denoiser(tmp_path / "d.safetensors", original, {"license": "CC0", "data": "none"})
    loaded, _, _ = load_denoiser(tmp_path / "d.safetensors")
    assert loaded.network.config == SHAPE
    u = normals(2, 3, 16, 16).float()
    expected = original(u, 0.5)
    assert (loaded(u, 0.5) - expected).abs().max() < 3e-3 * expected.abs().max()  # half precision


def test_half_precision_leaves_the_projection_orthogonal():
    torch.manual_seed(0)
    layer, x = MPOrthogonal(48, 24), normals(2, 48, 8, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    assert output.dtype == torch.bfloat16
    assert (output.float() - layer(x)).abs().max() < 0.03
