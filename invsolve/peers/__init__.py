"""Other zero-shot methods over the same operators and the same denoiser, for comparison: one file each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from operators import Gaussian, NoiseModel, Poisson, Saturated

from ..specs.fields import from_mapping, suggestion
from ..specs.yaml_file import read_yaml
from .base import Denoise, Peer, Settings
from .daps import DAPSSettings, daps
from .ddnm import DDNMSettings, ddnm
from .ddrm import DDRMSettings, ddrm
from .diffpir import DiffPIRSettings, diffpir
from .dps import DPSSettings, dps
from .levels import TIMESTEPS
from .pigdm import PiGDMSettings, pigdm
from .pnpdm import PnPDMSettings, pnpdm
from .reddiff import REDdiffSettings, reddiff

REVISION = 2  # of the algorithms: raised when one changes, so that no benchmark mixes its results with older ones

PEERS: dict[str, Peer] = {
    "dps": Peer(dps, DPSSettings, TIMESTEPS, takes=(Gaussian, Poisson)),
    "pigdm": Peer(pigdm, PiGDMSettings, TIMESTEPS),
    "ddrm": Peer(ddrm, DDRMSettings, TIMESTEPS, spectral=True),
    "ddnm": Peer(ddnm, DDNMSettings, TIMESTEPS, spectral=True),
    "diffpir": Peer(diffpir, DiffPIRSettings, TIMESTEPS),
    "reddiff": Peer(reddiff, REDdiffSettings, TIMESTEPS, takes=(Gaussian, Poisson, Saturated)),
    "daps": Peer(daps, DAPSSettings, takes=(Gaussian, Poisson, Saturated)),
    "pnpdm": Peer(pnpdm, PnPDMSettings, start="rho", takes=(NoiseModel,)),
}

TUNED = Path(__file__).with_name("tuned.yaml")
Tuned = Mapping[str, Mapping[str, Mapping[int, Mapping[str, float]]]]  # peer, task, steps, values


def settings_for(
    name: str, task_name: str, steps: int | None = None, kind: str | None = None, largest_sigma: float = math.inf
) -> Settings:
    """The tuned settings of a peer for a task, with ``steps`` (the published number unless given).

    Values tuned at another number of steps serve too, those of the nearest by ratio. A task that nothing was tuned for
    gets the published settings of its ``kind`` (``Task.kind``), the published defaults where there are none. The
    denoiser is evaluated at noise levels of at most ``largest_sigma``, for which it was trained.

    Raises:
        ValueError: no peer has that name, or ``steps`` is less than 1 or more than the method has.
    """
    if name not in PEERS:
        raise ValueError(f"no peer named {name!r}: it must be one of {', '.join(PEERS)}")
    peer = PEERS[name]
    settings, most = peer.settings(**peer.settings.published.get(kind, {})), peer.max_steps
    if steps is not None:
        if steps < 1 or (most is not None and steps > most):
            expected = "at least 1" if most is None else f"1 to {most}"
            raise ValueError(f"steps of {name} is {steps} but must be {expected}")
        settings = replace(settings, steps=steps)
    stages = tuned_settings().get(name, {}).get(task_name, {})
    if stages:
        nearest = min(stages, key=lambda tuned: abs(math.log(tuned / settings.steps)))
        settings = replace(settings, **stages[nearest])
    return replace(settings, **{peer.start: min(getattr(settings, peer.start), largest_sigma)})


@cache
def tuned_settings(path: Path = TUNED) -> Tuned:
    """What ``tuned.yaml`` holds, and how it was found. Raises ValueError for a peer or a value that cannot be."""
    tuned = read_yaml(path)
    for name, tasks in tuned.items():
        if name not in PEERS:
            raise ValueError(f"{path}: no peer {name!r}{suggestion(name, PEERS)}")
        for task, stages in tasks.items():
            for steps, values in stages.items():
                from_mapping(PEERS[name].settings, {"steps": steps, **values}, f"{path}: {name} at {task}")
    return tuned


__all__ = ["PEERS", "REVISION", "TUNED", "Denoise", "Peer", "Settings", "settings_for", "tuned_settings"]
