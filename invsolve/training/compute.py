"""How networks in training compute: precision, memory layout, compilation, and gradients of micro-batches."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from ..specs.recipe import RunConfig

Module = TypeVar("Module", bound=nn.Module)


def place(module: Module, config: RunConfig, device: torch.device) -> Module:
    """Move a module to the device: on a CPU in float32 the usual layout is faster (1.2 times), else channels last."""
    usual = device.type == "cpu" and config.precision == "fp32"
    return module.to(device, memory_format=torch.contiguous_format if usual else torch.channels_last)


def compiled(module: Module, config: RunConfig) -> Module:
    return torch.compile(module, dynamic=False) if config.compile else module


def autocast(config: RunConfig, like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, torch.bfloat16, enabled=config.precision == "bf16")


def backward(loss: Tensor, config: RunConfig) -> Tensor:
    """Gradients of a micro-batch's mean ``loss``, as its share of the batch's; returns that share of the loss."""
    share = loss / config.accumulate
    share.backward()
    return share.detach()
