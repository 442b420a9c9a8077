"""Other zero-shot methods over the same operators and the same denoiser, for comparison: one file each."""

from __future__ import annotations

import math
from dataclasses import replace

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
from .tuned import TUNED

PEERS: dict[str, Peer] = {
    "dps": Peer(dps, DPSSettings, TIMESTEPS),
    "pigdm": Peer(pigdm, PiGDMSettings, TIMESTEPS),
    "ddrm": Peer(ddrm, DDRMSettings, TIMESTEPS, spectral=True),
    "ddnm": Peer(ddnm, DDNMSettings, TIMESTEPS, spectral=True),
    "diffpir": Peer(diffpir, DiffPIRSettings, TIMESTEPS),
    "reddiff": Peer(reddiff, REDdiffSettings, TIMESTEPS),
    "daps": Peer(daps, DAPSSettings),
    "pnpdm": Peer(pnpdm, PnPDMSettings),
}


def settings_for(name: str, task_name: str, steps: int | None = None) -> Settings:
    """The tuned settings of a peer for a task, with ``steps`` (the published number unless given).

    Values tuned at another number of steps serve too, those of the nearest by ratio. A task that nothing was tuned for
    gets the published defaults.

    Raises:
        ValueError: no peer has that name, or ``steps`` is less than 1 or more than the method has.
    """
    if name not in PEERS:
        raise ValueError(f"no peer named {name!r}: it must be one of {', '.join(PEERS)}")
    settings, most = PEERS[name].settings(), PEERS[name].most
    if steps is not None:
        if steps < 1 or (most is not None and steps > most):
            expected = "at least 1" if most is None else f"1 to {most}"
            raise ValueError(f"steps of {name} is {steps} but must be {expected}")
        settings = replace(settings, steps=steps)
    stages = TUNED.get(name, {}).get(task_name, {})
    if not stages:
        return settings
    nearest = min(stages, key=lambda tuned: abs(math.log(tuned / settings.steps)))
    return replace(settings, **stages[nearest])


__all__ = ["PEERS", "Denoise", "Peer", "Settings", "settings_for"]
