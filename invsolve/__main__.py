"""``python -m invsolve``, which ``torchrun -m invsolve`` needs."""

import os
import sys

from .cli import main

code = main()
# The process ends here and now: a KeyboardInterrupt that met ``exec`` makes ``python -m`` end by the signal, whatever
# the exit code, and under torchrun gloo's destructors now and then abort the process after all its work is done.
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
