"""Settings of the peers per task, tuned by ``benchmarks/tune_peers.py``: peer -> task -> steps -> values.

What is not named here stays at its published default.
"""

from __future__ import annotations

TUNED: dict[str, dict[str, dict[int, dict[str, float | int]]]] = {}
