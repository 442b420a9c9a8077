"""The module tree in a foreign file: constructor arguments, attributes, and tensors by their dotted names."""

from __future__ import annotations

from torch import Tensor

from .symbols import ForeignFileError, Inert, described, shown

DEEPEST = 16  # modules within modules


def attributes(module: object, where: str) -> dict:
    """The attributes of a stored module, the object at ``where`` in the file."""
    if not isinstance(module, Inert):
        raise ForeignFileError(f"{where} is {described(module)}, not a network")
    if not isinstance(module.state, dict):
        raise ForeignFileError(f"{where} is {described(module)} without attributes")
    return module.state


def child(module: object, name: str, where: str) -> object:
    """The submodule ``name``."""
    modules = _table(module, "_modules", where)
    if not isinstance(modules.get(name), Inert):
        raise ForeignFileError(f"{where} has no part {name!r}")
    return modules[name]


def constructor_arguments(module: object, where: str) -> dict:
    """The keyword arguments that made the module, as the persistence mechanism keeps them."""
    state = attributes(module, where)
    arguments, keywords = state.get("_init_args", ()), state.get("_init_kwargs")
    if (
        not isinstance(keywords, dict)
        or not all(isinstance(name, str) for name in keywords)
        or arguments not in ((), [])
    ):
        raise ForeignFileError(f"{where} ({described(module)}) does not say its constructor's keyword arguments")
    return keywords


def tensors_of(module: object, where: str) -> dict[str, Tensor]:
    """Every parameter and buffer of a module and of the modules in it, by its dotted name.

    Raises:
        ForeignFileError: something else stands where a parameter, a buffer or a module must be; a module or a tensor
            stands in two places; or modules are nested too deeply.
    """
    found: dict[str, Tensor] = {}
    _collect(module, where, "", found, set(), DEEPEST)
    return found


def _collect(module: object, where: str, prefix: str, found: dict[str, Tensor], seen: set[int], depth: int) -> None:
    if depth == 0:
        raise ForeignFileError(f"{where} has modules nested more than {DEEPEST} deep")
    _once(module, f"the module {where}", seen)
    for table in ("_parameters", "_buffers"):
        for name, value in _table(module, table, where).items():
            path = f"{prefix}{name}"
            if value is None:
                continue
            if not isinstance(value, Tensor):
                raise ForeignFileError(f"{shown(path)} is {described(value)}, not a tensor")
            _once(value, f"the tensor {shown(path)}", seen)
            if path in found:
                raise ForeignFileError(f"{shown(path)} is in the file twice")
            found[path] = value
    for name, value in _table(module, "_modules", where).items():
        if value is not None:
            _collect(value, shown(f"{where}.{name}"), f"{prefix}{name}.", found, seen, depth - 1)


def _once(thing: object, what: str, seen: set[int]) -> None:
    if id(thing) in seen:
        raise ForeignFileError(f"{what} is also in another place of the network")
    seen.add(id(thing))


def _table(module: object, name: str, where: str) -> dict:
    table = attributes(module, where).get(name, {})
    if not isinstance(table, dict) or not all(isinstance(key, str) for key in table):
        raise ForeignFileError(f"{where} has {described(table)} for its {name}, not a dictionary of names")
    return table
