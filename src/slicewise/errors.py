"""The exception tree of slicewise.

    SlicewiseError                    everything that slicewise raises on purpose
    ├── UsageError                    the call is wrong: an option, a path, a combination (exit code 2)
    │   ├── ConfigError               a key or value of a run configuration
    │   ├── TaskError                 a key or value of a task file
    │   ├── ModelNotFoundError        no model has the name that was given
    │   └── MissingExtraError         an optional dependency is not installed
    ├── InputError                    what was read cannot be used; carries the code for `rejected.csv`
    │   ├── UnreadableFileError       one file
    │   ├── GeometryError             the geometry of one series
    │   ├── LabelTableError           a label file
    │   └── DatasetError              a prepared dataset
    ├── PackageError                  a model package
    │   └── DigestMismatchError       its content is not what its digest says
    └── TrainingError                 training cannot go on

A message says what was wrong, where (file, tag, column, key), what was expected and what to do.

The rule of the exit codes: what another call would mend is a `UsageError` and exits with 2: an option, a path or a name
that is not there or stands in the way, a combination that is refused, a configuration or task file. What is there but
damaged, incomplete or of no use exits with 1, whoever named it: the same call works once the content is mended.
"""

from __future__ import annotations


class SlicewiseError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        exit_code: What the command line exits with when this error reaches it.
    """

    exit_code = 1


class UsageError(SlicewiseError):
    """The call is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A run configuration holds an unknown key or a value that does not fit."""


class TaskError(UsageError):
    """A task file holds an unknown key or a value that does not fit."""


class ModelNotFoundError(UsageError):
    """No model has the name, and no model package or run folder the path, that was given."""


class MissingExtraError(UsageError):
    """An optional dependency is needed but not installed.

    Args:
        what: The feature that was asked for, as in "training".
        extra: The extra of the slicewise distribution that brings it, as in "train".
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed. Install them with: pip install 'slicewise[{extra}]'"
        )


class InputError(SlicewiseError):
    """What was read cannot be used.

    Args:
        message: What was wrong, where, what was expected, what to do.
        reason: The fixed code that `rejected.csv` lists, as in "no_pixel_data".
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnreadableFileError(InputError):
    """A file cannot be read."""


class GeometryError(InputError):
    """The slices of a series do not form a stack."""


class LabelTableError(InputError):
    """A label file cannot be used."""

    def __init__(self, message: str, *, reason: str = "bad_labels") -> None:
        super().__init__(message, reason=reason)


class DatasetError(InputError):
    """A prepared dataset is missing, incomplete or made for something else."""

    def __init__(self, message: str, *, reason: str = "bad_dataset") -> None:
        super().__init__(message, reason=reason)


class PackageError(SlicewiseError):
    """A model package cannot be used."""


class DigestMismatchError(PackageError):
    """The content of a model package is not what its digest says."""


class TrainingError(SlicewiseError):
    """Training cannot go on."""
