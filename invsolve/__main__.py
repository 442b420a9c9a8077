"""``python -m invsolve``, which ``torchrun -m invsolve`` needs."""

from .cli import main
from .training.processes import leave

leave(main())
