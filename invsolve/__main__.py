"""``python -m invsolve``, which ``torchrun -m invsolve`` needs."""

from .cli import main

code = main()

from .runtime.processes import leave  # noqa: E402 (which imports torch, and --help has ended by now)

leave(code)
