"""The commands: one file each, with ``add(commands)`` that declares its arguments and the function it runs.

They parse and print; the work is done elsewhere, and imported when the command runs, so that ``--help`` is fast.
"""

from . import app, bench, convert, generate, info, report, run, train

COMMANDS = (run, app, bench, generate, convert, info, report, train)
