"""Other zero-shot methods over the same operators and the same denoiser, for comparison: one file each."""

from __future__ import annotations

import math
from dataclasses import replace

from .base import Denoise, Peer, Settings
from .daps import DAPSSettings, daps
from .ddnm import DDNMSettings, ddnm
from .ddrm import DDRMSettings, ddrm
from .diffpir import PUBLISHED as DIFFPIR_PUBLISHED
from .diffpir import DiffPIRSettings, diffpir
from .dps import PUBLISHED as DPS_PUBLISHED
from .dps import DPSSettings, dps
from .levels import TIMESTEPS
from .pigdm import PiGDMSettings, pigdm
from .pnpdm import PnPDMSettings, pnpdm
from .reddiff import REDdiffSettings, reddiff
from .tuned import TUNED

REVISION = 2  # of the algorithms: raised when one changes, so that no benchmark mixes its results with older ones

PEERS: dict[str, Peer] = {
    "dps": Peer(dps, DPSSettings, TIMESTEPS, published=DPS_PUBLISHED),
    "pigdm": Peer(pigdm, PiGDMSettings, TIMESTEPS),
    "ddrm": Peer(ddrm, DDRMSettings, TIMESTEPS, spectral=True),
    "ddnm": Peer(ddnm, DDNMSettings, TIMESTEPS, spectral=True),
    "diffpir": Peer(diffpir, DiffPIRSettings, TIMESTEPS, published=DIFFPIR_PUBLISHED),
    "reddiff": Peer(reddiff, REDdiffSettings, TIMESTEPS),
    "daps": Peer(daps, DAPSSettings),
    "pnpdm": Peer(pnpdm, PnPDMSettings, first="rho"),
}


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
    settings, most = peer.settings(**peer.published.get(kind, {})), peer.most
    if steps is not None:
        if steps < 1 or (most is not None and steps > most):
            expected = "at least 1" if most is None else f"1 to {most}"
            raise ValueError(f"steps of {name} is {steps} but must be {expected}")
        settings = replace(settings, steps=steps)
    stages = TUNED.get(name, {}).get(task_name, {})
    if stages:
        nearest = min(stages, key=lambda tuned: abs(math.log(tuned / settings.steps)))
        settings = replace(settings, **stages[nearest])
    return replace(settings, **{peer.first: min(getattr(settings, peer.first), largest_sigma)})


__all__ = ["PEERS", "REVISION", "Denoise", "Peer", "Settings", "settings_for"]
