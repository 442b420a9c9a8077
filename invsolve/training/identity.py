"""What makes a training the one it is: a state goes on only where settings, pictures and teacher are the same.

It lies in ``state.pt`` in plain values, so that a refusal can say what differs. The device and the number of processes
are no part of it, for the same training comes of any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict

from torch import nn

from ..networks.unet import UNetConfig
from ..specs.recipe import RunConfig

# Settings that a restart may change: how long the training is and what is written of it, how it is computed, and the
# learning rates, which one that diverged needs lower.
FREE = (
    {"images", "checkpoint_every", "snapshot_every", "license", "data"}
    | {"accumulate", "precision", "compile", "workers", "memory_gb"}
    | {"learning_rate", "generator_rate", "fake_rate", "discriminator_rate"}
)
SHOWN = 3  # differences in a message


def identity(command: str, config: RunConfig, pictures: list[str], **more: object) -> dict[str, object]:
    """Of a training by ``command`` on ``pictures`` (``TrainingSet.describe()``); ``more`` is what it starts from."""
    settings = {name: value for name, value in asdict(config).items() if name not in FREE and name != "network"}
    return {"command": command, **settings, "pictures": pictures, **more}


def of_network(config: UNetConfig) -> dict[str, object]:
    """The settings of a network, the defaults among them."""
    return {f"network {name}": value for name, value in asdict(config).items()}


def of_weights(network: nn.Module) -> str:
    """A digest of a network's weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_identity(stored: Mapping[str, object], here: Mapping[str, object]) -> None:
    """Compare what both say: versions may differ in what they record, and the first ones recorded nothing.

    Raises:
        ValueError: naming what differs.
    """
    names = [name for name in here if name in stored and here[name] != stored[name]]
    if names:
        raise ValueError("; ".join(f"{name} is {here[name]} but was {stored[name]}" for name in names[:SHOWN]))
