"""Every setting of a phantom in words: key, default, what it does; read from `PhantomParameters` and its docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple, get_args

import msgspec

from slicewise.phantom.parameters import PhantomParameters

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)


class Setting(NamedTuple):
    """One setting: its key, its default as TOML writes it ("" where the preset decides), and what it does."""

    key: str
    default: str
    description: str


def describe_settings() -> tuple[Setting, ...]:
    """Returns every setting that `override_parameters` knows, in order."""
    return tuple(_describe(PhantomParameters, PhantomParameters()))


def _describe(section: type[msgspec.Struct], defaults: msgspec.Struct | None, prefix: str = "") -> Iterator[Setting]:
    described = dict(_ATTRIBUTE.findall(inspect.cleandoc(section.__doc__ or "")))
    for field in msgspec.structs.fields(section):
        value = None if defaults is None else getattr(defaults, field.name)
        structs = [
            part
            for part in (field.type, *get_args(field.type))
            if isinstance(part, type) and issubclass(part, msgspec.Struct)
        ]
        if structs:
            yield from _describe(structs[0], value, f"{prefix}{field.name}.")
        else:
            default = "" if value is None else msgspec.json.encode(value).decode()
            yield Setting(f"{prefix}{field.name}", default, " ".join(described.get(field.name, "").split()))
