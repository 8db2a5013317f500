"""Optional parts of a model package, as JSON: read and checked when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from slicewise.errors import PackageError
from slicewise.package import ModelPackage

Part = TypeVar("Part")


def read_part(
    package: ModelPackage,
    file: str,
    type_: type[Part],
    *,
    format_version: int,
    largest_bytes: int,
    check: Callable[[Part], None],
    advice: str,
) -> Part | None:
    """Reads and checks an optional JSON file of a model package; None where it has none.

    Args:
        package: The model package.
        file: Name of the file.
        type_: What it holds.
        format_version: The only version of its format that is read.
        largest_bytes: A larger file is refused before it is parsed.
        check: Raises ValueError or PackageError where the content does not fit.
        advice: What to do where it is damaged, as a sentence without its full stop.

    Raises:
        PackageError: If it is not valid.
    """
    content = package.files.get(file)
    if content is None:
        return None
    name = package.manifest.name
    if len(content) > largest_bytes:
        raise PackageError(f"{name}: {file} is larger than {largest_bytes} bytes. Pack the model again")
    try:
        version = msgspec.json.decode(content, type=dict).get("format_version")
        if version != format_version:
            raise PackageError(f"{name}: {file} has format {version}, this slicewise reads {format_version}")
        part = msgspec.json.decode(content, type=type_)
        check(part)
    except (ValueError, RecursionError) as error:  # msgspec's own, text that is not UTF-8, and those of the check
        raise PackageError(f"{name}: {file} is not valid: {error}. {advice}") from error
    return part
