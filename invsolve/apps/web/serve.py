"""`invsolve app`: the page, served until it is interrupted, with nothing sent to or fetched from elsewhere."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import tempfile
import time
from pathlib import Path

from ...images.files import read_picture, write_image
from ...priors.registry import resolve
from ...runtime.optional import import_optional
from ...runtime.printing import note, say
from ...runtime.signals import Stopped, StopSignals
from ...specs.options import AppOptions
from .desk import Desk

# Read by Gradio, when it is imported and when it makes a page: no telemetry, no look for a newer version, no tunnel.
PRIVATE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SHARE": "False"}
# The browser loads from here alone, whatever the page's libraries name.
POLICY = (
    b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self'; "
    b"frame-ancestors 'self'"
)
EXAMPLES = ("astronaut", "coffee", "cat", "rocket")  # of scikit-image's


class WithPolicy:
    """An ASGI application whose answers tell the browser the :data:`POLICY`."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"content-security-policy", POLICY)]}
            await send(message)

        await self.app(scope, receive, send_with_policy)


def serve(options: AppOptions) -> None:
    """Serve the page. What is uploaded and restored lies in a temporary folder, which is removed in the end.

    Raises:
        ValueError: the prior is unknown, or Gradio is not installed; OSError: the address cannot be served at;
            Stopped: by Ctrl-C or SIGTERM, in good order.
    """
    resolve(options.prior)
    try:
        socket.create_server((options.host, options.port)).close()
    except OSError as error:
        raise OSError(f"cannot serve at {options.host}:{options.port}: {error.strerror}") from None
    if options.auth is None and not is_this_computer(options.host):
        note(f"whoever reaches {options.host} can use the page: --auth USER:PASSWORD asks for a password")
    with tempfile.TemporaryDirectory(prefix="invsolve-app-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        os.environ.update(PRIVATE, GRADIO_TEMP_DIR=str(folder / "files"))
        try:
            gradio = import_optional("gradio", extra="app")
        except ImportError as error:
            raise ValueError(str(error)) from None
        from starlette.middleware import Middleware

        from .page import STYLE, build

        desk = Desk()
        stack.callback(desk.close)
        page = build(options, desk, folder, examples(folder))
        stack.callback(page.close, verbose=False)
        signals = stack.enter_context(StopSignals())
        page.launch(
            server_name=options.host,
            server_port=options.port,
            auth=None if options.auth is None else tuple(options.auth.split(":", 1)),
            max_file_size=options.upload * 10**6,
            share=False,
            ssr_mode=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            theme=gradio.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")),
            css=STYLE,
            app_kwargs={"middleware": [Middleware(WithPolicy)], "docs_url": None, "redoc_url": None},
        )
        say(f"restore pictures at http://{options.host}:{options.port} (Ctrl-C ends)")
        while not signals.received:
            time.sleep(0.2)
    raise Stopped(signals.received, "the page is closed")


def is_this_computer(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def examples(folder: Path) -> list[Path]:
    """Clean pictures to try the page with, written to ``folder``."""
    paths = [folder / f"{name}.png" for name in EXAMPLES]
    for path in paths:
        write_image(read_picture(f"skimage:{path.stem}").image, path)
    return paths
