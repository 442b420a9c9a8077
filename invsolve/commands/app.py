"""`invsolve app`: arguments."""

from __future__ import annotations

import argparse

from ..specs.options import AppOptions
from .arguments import DEVICE, argument_adder, options_from


def add(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "app",
        help="restore pictures on a web page of this computer",
        description="Serve a web page to restore pictures on, to this computer alone unless --host says otherwise.",
    )
    parser.set_defaults(command=_app)
    add = argument_adder(parser, AppOptions)
    add("--host", "ADDRESS", "address to serve at (default 127.0.0.1; 0.0.0.0: to the whole network)")
    add("--port", "N", "port to serve at")
    add("--auth", "USER:PASSWORD", "ask for these")
    add("--upload", "MB", "megabytes that an uploaded file may have")
    add("--prior", "NAME|PATH", "a name of invsolve info, or a file")
    add("--device", None, DEVICE)
    add("--precision", None, "of the network (default: bf16 where the processor has instructions for it)")


def _app(arguments: argparse.Namespace) -> None:
    from ..apps.web.serve import serve

    serve(options_from(arguments, AppOptions))
