"""Priors from the Hugging Face hub, and foreign checkpoints converted once into the user's cache."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from ..priors.file import sha256
from .convert import UNKNOWN_DATA, convert
from .unpickler import ForeignFileError

HUB = "hf://"
_CONVERSION = 1  # raise it when the same foreign file is to be converted anew


class HubFile(NamedTuple):
    """A file of a hub repository, with what is known of it."""

    repository: str
    file: str
    description: str
    data: str = UNKNOWN_DATA


PUBLISHED = {
    "ncvsd-ffhq256": HubFile(
        "xypeng9903/ncvsd",
        "ncvsd-ffhq256-xs.pkl",
        "the published NCVSD generative denoiser, faces at 256x256 (CC BY-NC-SA 4.0, downloaded once)",
        "FFHQ at 256x256",
    )
}


def prior_from_hub(name: str) -> Path:
    """File in our format of a name in ``PUBLISHED`` or of ``hf://OWNER/REPOSITORY/FILE``, downloaded if need be.

    The hub's own cache and settings are used, ``HF_HUB_OFFLINE`` among them. Raises :class:`ForeignFileError`.
    """
    known = PUBLISHED.get(name)
    if known is None:
        found = re.fullmatch(f"{HUB}([^/]+/[^/]+)/(.+)", name)
        if found is None:
            raise ForeignFileError(f"{name!r} is not of the form {HUB}OWNER/REPOSITORY/FILE")
        known = HubFile(*found.groups(), description="")
    path = download(known)
    return converted(path, known.data) if path.suffix == ".pkl" else path


def download(known: HubFile) -> Path:
    """Path of a hub file on this machine, in the hub's cache."""
    from huggingface_hub import hf_hub_download  # a slow import
    from huggingface_hub.utils import LocalEntryNotFoundError, logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it reports every retry; one line is enough
    try:
        return Path(hf_hub_download(known.repository, known.file))
    except LocalEntryNotFoundError:
        reason = "it is not in the hub's cache, and the hub cannot be reached (or HF_HUB_OFFLINE is set)"
    except (OSError, ValueError, RuntimeError) as error:  # no such repository, no right to it, ...
        reason = textwrap.shorten(str(error), 160) or type(error).__name__
    finally:
        logging.set_verbosity(verbosity)
    raise ForeignFileError(
        f"cannot get {known.file} from huggingface.co/{known.repository}: {reason}; "
        "where there is a copy, its path can be given as the prior"
    )


def converted(source: Path, data: str = UNKNOWN_DATA) -> Path:
    """A foreign checkpoint in our format, in the user's cache: converted when its content is first seen."""
    if not source.is_file():
        raise ForeignFileError(f"no file {source}")
    target = cache_folder() / f"{source.stem}-{sha256(source)[:16]}-{_CONVERSION}.safetensors"
    if not target.is_file():
        convert(source, target, data)
    return target


def cache_folder() -> Path:
    """Where converted priors lie: ``invsolve`` in ``$XDG_CACHE_HOME``, or in ``.cache`` of the home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "invsolve"
