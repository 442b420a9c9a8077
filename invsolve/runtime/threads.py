"""Let OpenMP threads sleep while they wait. For the command alone: the threads of another program are its own affair.

By default they spin. Where another process wants the same core, each of the thousands of parallel regions of a
restoration then waits for a thread that is not running while the spinning ones hold its place. With one busy process
beside it on two cores `invsolve run sr4x` (64x64 to 256x256) took 16 to 18 s so, 2 to 3 s with sleeping threads; alone,
1.2 to 1.4 s both ways.
"""

import os
import sys


def sleep_while_waiting() -> None:
    """Set ``OMP_WAIT_POLICY`` unless the user has, or torch is loaded already: its OpenMP reads it then, once."""
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
