"""What decides the content of a phantom folder, kept beside it, so that a later call goes on only with the same."""

from __future__ import annotations

from pathlib import Path

import msgspec

from slicewise.errors import UsageError
from slicewise.files import write_bytes_atomically
from slicewise.phantom.parameters import PhantomParameters
from slicewise.phantom.study import PHANTOM_VERSION

ARGUMENTS_FILE = "phantom.json"


class PhantomArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `phantom.json` holds: all that decides the content of the folder."""

    seed: int
    studies: int
    layout: str
    masks: bool
    parameters: PhantomParameters
    phantom_version: int = PHANTOM_VERSION


def claim_folder(output: Path, arguments: PhantomArguments, workers: int) -> None:
    """Makes a folder, or checks that it was made with the same arguments and no more studies.

    Raises:
        UsageError: If it was not, or a number does not fit.
    """
    if arguments.studies < 1 or workers < 1 or arguments.seed < 0:
        raise UsageError(
            f"studies ({arguments.studies}) and workers ({workers}) must be at least 1, seed ({arguments.seed}) at "
            "least 0"
        )
    path = output / ARGUMENTS_FILE
    if path.is_file():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=PhantomArguments)
        except msgspec.DecodeError as error:
            raise UsageError(
                f"{path}: not written by this version of the phantom ({error}). Choose another folder"
            ) from error
        if found.studies > arguments.studies or msgspec.structs.replace(found, studies=arguments.studies) != arguments:
            raise UsageError(
                f"{output} holds a phantom made with other arguments (see {ARGUMENTS_FILE}). Repeat them, with at "
                f"least {found.studies} studies, or choose another folder"
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} exists and is not a phantom folder. Choose another folder")
    content = msgspec.json.format(msgspec.json.encode(arguments, order="sorted"), indent=1) + b"\n"
    write_bytes_atomically(path, content)
