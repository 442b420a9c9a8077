"""The network in half precision by autocast: its embeddings and its log-variance stay in float32, as EDM2's do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from invsolve.networks.layers import MPConv
from invsolve.networks.unet import CONDITIONINGS, UNet, UNetConfig


def trained(conditioning: str = "inputs") -> UNet:
    """With gains of 0.7 and blends of 0.3."""
    torch.manual_seed(0)
    network = UNet(UNetConfig(widths=(16, 32), blocks=(1, 2), conditioning=conditioning, labels=3))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(0.3 if "mix" in name else 0.7)
    return network


def inputs(seed: int = 1) -> tuple[Tensor, ...]:
    stream = torch.Generator().manual_seed(seed)
    x, condition = torch.randn(2, 2, 3, 16, 16, generator=stream)
    return x, torch.randn(2, generator=stream) / 2, condition, torch.randn(2, generator=stream) / 2


def linear_layers(network: UNet) -> list[MPConv]:
    return [m for m in network.modules() if isinstance(m, MPConv) and m.weight.ndim == 2]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_embeddings_and_log_variance_are_those_of_float32(conditioning, half):
    network, call, labels, seen = trained(conditioning), inputs(), torch.tensor([0, 2]), []
    for layer in linear_layers(network):
        layer.register_forward_hook(lambda module, given, output: seen.append(output))

    def outputs(enabled: bool) -> list[Tensor]:
        seen.clear()
        with torch.autocast("cpu", half, enabled=enabled):
            given = call if network.config.conditional else call[:2]
            seen.append(network(*given, labels=labels))
            seen.append(network.log_variance(call[1], call[3]))
        return list(seen)

    full, lower = outputs(enabled=False), outputs(enabled=True)
    assert len(full) == len(linear_layers(network)) + 2
    picture = next(i for i, output in enumerate(full) if output.ndim == 4)
    assert not torch.equal(lower.pop(picture), full.pop(picture))  # the convolutions are in half precision
    for found, expected in zip(lower, full, strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


def test_that_brings_the_output_nearer_to_float32():
    """Than with the linear layers in half precision as well; root mean square over eight calls."""
    network, errors = trained(), []
    for also_linear in (False, True):
        if also_linear:
            for layer in linear_layers(network):
                layer.register_forward_pre_hook(lambda module, given: (given[0].bfloat16(),))
        squared = []
        for seed in range(8):
            with torch.no_grad():
                expected = trained()(*inputs(seed))
                with torch.autocast("cpu", torch.bfloat16):
                    squared.append((network(*inputs(seed)).float() - expected).square().mean())
        errors.append(torch.stack(squared).mean().sqrt().item())
    assert 0 < errors[0] < errors[1]
