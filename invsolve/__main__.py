"""``python -m invsolve``, which ``torchrun -m invsolve`` needs."""

import sys

from .cli import main

sys.exit(main())
