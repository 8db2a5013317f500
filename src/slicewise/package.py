"""The model package: two ONNX networks with all that is needed to use them, and a digest over everything.

A package is a folder, or the same files in a zip:

    manifest.json   task, calibration, operating point, architecture, provenance, digests of the other files
    digest.txt      SHA-256 of manifest.json: the digest of the package
    encoder.onnx    stage 1: channels of slices -> descriptors, slice logits, summaries, and maps where it makes them
    fusion.onnx     stage 2: one series of those -> logits
    reference.json  optional: what the model says of its calibration patients (`inference/reference.py`)
    card.json       optional: what it was tested on and what came out (`evaluation/model_card.py`)
    LICENSE NOTICE  terms

Nothing in it is executable and nothing is pickled. ONNX initialisers keep the names of the torch state dict.
"""

from __future__ import annotations

import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.config import EncoderConfig, FusionConfig, FusionInputs, Pooling
from slicewise.errors import DigestMismatchError, ModelNotFoundError, PackageError, UsageError
from slicewise.files import is_unfinished, write_atomically
from slicewise.patients import DIGITS, SeenContent, SeenPatients, hash_patient, hash_study
from slicewise.task import Task

FORMAT_VERSION = 1
DEFAULT_MODEL = "ich-phantom-small"
MANIFEST, DIGEST, ENCODER, FUSION = "manifest.json", "digest.txt", "encoder.onnx", "fusion.onnx"
REFERENCE, CARD = "reference.json", "card.json"
NOT_CALIBRATED = "Not calibrated, since the calibration patients are all positive or all negative"
"""How a limitation starts that names labels whose probabilities are those of the network."""
PRIOR_STATED = "Probabilities are set for shares of positive slices that were stated, not measured"
"""How a limitation starts that names the prior of the calibration."""
NO_STUDY_THRESHOLD = "Studies are flagged at the threshold of slices, since the calibration studies cannot set another"
"""How a limitation starts that names labels without a threshold of their own for studies."""

LARGEST_FILE = 1 << 30
"""A file of a package beyond this size (bytes) is refused before it is read."""

# What zipfile raises on damaged content; RuntimeError is for a flag of encryption and for an unknown compression,
# ValueError for names and offsets that cannot be.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)

Probabilities = npt.NDArray[np.float32]
Size = Annotated[int, msgspec.Meta(ge=1)]
SizeOrZero = Annotated[int, msgspec.Meta(ge=0)]


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Platt scaling a label: calibrated logit = scale * logit + bias (Platt 1999).

    Attributes:
        scale: One factor a label, above 0.
        bias: One offset a label.
    """

    scale: tuple[float, ...]
    bias: tuple[float, ...]

    @classmethod
    def identity(cls, labels: int) -> Calibration:
        """Returns the calibration that changes nothing."""
        return cls(scale=(1.0,) * labels, bias=(0.0,) * labels)


class EncoderArchitecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the network of stage 1.

    Attributes:
        name: Model name of timm.
        pooling: As in `EncoderConfig`.
        map_channels: As in `EncoderConfig`; 0 where the network makes no occupancy maps.
        neighbours: As in `EncoderConfig`.
    """

    name: str
    pooling: Pooling = ""
    map_channels: SizeOrZero = 0
    neighbours: SizeOrZero = 0

    @classmethod
    def of(cls, config: EncoderConfig) -> EncoderArchitecture:
        """Takes from a configuration what shapes the network."""
        return cls(config.name, config.pooling, config.map_channels, config.neighbours)

    def config(self) -> EncoderConfig:
        """Returns a configuration that builds the network, without pretrained weights."""
        return EncoderConfig(
            self.name,
            self.pooling,
            pretrained=False,
            map_channels=self.map_channels,
            neighbours=self.neighbours,
        )


class FusionArchitecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the head of stage 2.

    Attributes:
        name: Registered head.
        hidden_size: As in `FusionConfig`.
        neighbours: As in `FusionConfig`.
        inputs: As in `FusionConfig`.
        components: As in `FusionConfig`.
        chain: As in `FusionConfig`.
        members: As in `FusionConfig`.
    """

    name: str
    hidden_size: Size
    neighbours: SizeOrZero
    inputs: FusionInputs = "descriptor"
    components: Size = 64
    chain: bool = False
    members: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1

    @classmethod
    def of(cls, config: FusionConfig) -> FusionArchitecture:
        """Takes from a configuration what shapes the head."""
        return cls(**{name: getattr(config, name) for name in cls.__struct_fields__})

    def config(self) -> FusionConfig:
        """Returns a configuration that builds the head."""
        return FusionConfig(**msgspec.structs.asdict(self))


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a model comes from.

    What has a default is not written: a copy of a package from before it came has the same bytes.

    Attributes:
        software_version: Version of slicewise that trained it.
        trained_on: The training data in words.
        dataset_digest: SHA-256 over ids and labels of the prepared dataset.
        patients: Number of training patients of stage 1, stage 2 and calibration.
        seen_patients: Every patient that the model has seen: those of the dataset, and those of models it started from.
        config: The run configuration, as it was written by the version that trained the model.
        versions: Versions of the libraries that trained it.
        seen_content: Series and studies that the model has seen, likewise; empty in packages from before it was kept.
    """

    software_version: str
    trained_on: str
    dataset_digest: str
    patients: dict[str, int]
    seen_patients: tuple[SeenPatients, ...]
    config: dict[str, Any]
    versions: dict[str, str]
    seen_content: tuple[SeenContent, ...] = ()


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `manifest.json` holds.

    Attributes:
        name: Name of the model.
        version: Version of the model.
        task: The task, whole.
        preprocessing_digest: Digest of the preprocessing that the model was trained on.
        encoder: The network of stage 1.
        descriptor_size: Length D of a descriptor.
        summary_size: Length M of a summary of the occupancy maps, 0 where the encoder has none.
        fusion: The head of stage 2.
        weights: Stored precision of the weights, "float16" or "float32".
        calibration: From logits to calibrated logits.
        thresholds: Operating point of every label for slices, on calibrated probabilities.
        threshold_rule: How the thresholds were set, in words.
        provenance: Where the model comes from.
        metrics: Figures measured in training on the calibration patients, by name.
        limitations: What the model is not for, one sentence each.
        study_thresholds: Operating point of every label for series and studies, on the score by the study rule of the
            task, none below that for slices. Empty where there is one for both; then it is not written.
        study_threshold_rule: How they were set, in words; likewise.
        license: SPDX identifier of the weights' licence.
        files: SHA-256 of every other file of the package, in hexadecimal.
        format_version: Version of the package format.
    """

    name: str
    version: str
    task: Task
    preprocessing_digest: str
    encoder: EncoderArchitecture
    descriptor_size: Size
    summary_size: SizeOrZero
    fusion: FusionArchitecture
    weights: Literal["float16", "float32"]
    calibration: Calibration
    thresholds: dict[str, float]
    threshold_rule: str
    provenance: Provenance
    metrics: dict[str, float]
    limitations: tuple[str, ...]
    study_thresholds: dict[str, float] = {}
    study_threshold_rule: str = ""
    license: str = "Apache-2.0"
    files: dict[str, str] = {}
    format_version: int = FORMAT_VERSION

    @property
    def thresholds_of_studies(self) -> dict[str, float]:
        """Operating point of every label for series and studies: their own, else that for slices."""
        return self.study_thresholds or self.thresholds


@dataclass(frozen=True, eq=False)
class ModelPackage:
    """A checked model package in memory.

    Attributes:
        manifest: What the model is.
        digest: SHA-256 of manifest.json, in hexadecimal, which covers every other file.
        files: Content of the other files by name.
    """

    manifest: Manifest
    digest: str
    files: dict[str, bytes]

    def has_seen(self, patient_id: str) -> bool:
        """Tells whether the model was trained or calibrated on this patient."""
        return any(hash_patient(patient_id, salt) in hashes for salt, hashes in self._seen_patients)

    def has_seen_content(self, values_digest: str) -> bool:
        """Tells whether the model was trained or calibrated on a series with these very values.

        Args:
            values_digest: `SeriesRecord.values_digest`: SHA-256 of the network input, in hexadecimal.
        """
        return values_digest[:DIGITS] in self._seen_series

    def has_seen_study(self, study_uid: str) -> bool:
        """Tells whether the model was trained or calibrated on the study with this Study Instance UID."""
        return any(hash_study(study_uid, salt) in hashes for salt, hashes in self._seen_studies)

    @cached_property
    def _seen_series(self) -> frozenset[str]:
        return frozenset(digest for group in self.manifest.provenance.seen_content for digest in group.series)

    @cached_property
    def _seen_studies(self) -> tuple[tuple[str, frozenset[str]], ...]:
        return tuple((group.salt, frozenset(group.studies)) for group in self.manifest.provenance.seen_content)

    @cached_property
    def _seen_patients(self) -> tuple[tuple[str, frozenset[str]], ...]:
        return tuple((group.salt, frozenset(group.hashes)) for group in self.manifest.provenance.seen_patients)


def probabilities_from_logits(
    logits: npt.NDArray[np.float32], calibration: Calibration, any_index: int | None
) -> Probabilities:
    """Turns logits of the network into calibrated probabilities.

    Args:
        logits: Shape (slices, labels).
        calibration: One scale and bias a label.
        any_index: Label that is never less probable than another one, None where there is no such label.

    Returns:
        Probabilities, shape (slices, labels).
    """
    calibrated = logits.astype(np.float64) * np.asarray(calibration.scale) + np.asarray(calibration.bias)
    probabilities: Probabilities = np.exp(-np.logaddexp(0.0, -calibrated)).astype(np.float32)
    if any_index is not None:
        probabilities[:, any_index] = probabilities.max(axis=1)
    return probabilities


def shipped_models() -> tuple[str, ...]:
    """Returns the names of the models that ship with slicewise."""
    folder = resources.files("slicewise") / "weights"
    return tuple(sorted(item.name for item in folder.iterdir() if (item / MANIFEST).is_file()))


def load_package(model: str | Path) -> ModelPackage:
    """Loads and checks a model package.

    Args:
        model: Name of a shipped model, path of a package (folder or zip) or of a run folder.

    Raises:
        ModelNotFoundError: If there is no such model.
        PackageError: If what is there is damaged, no model package, or does not fit this version of slicewise.
        DigestMismatchError: If a file is not what the digests say.
    """
    files = _read_files(model)
    for name in (MANIFEST, DIGEST, ENCODER, FUSION):
        if name not in files:
            raise PackageError(f"{model}: not a model package: {name} is missing")
    content = files.pop(MANIFEST)
    digest = hashlib.sha256(content).hexdigest()
    if files.pop(DIGEST).decode("ascii", errors="replace").strip() != digest:
        raise DigestMismatchError(f"{model}: manifest.json is not what digest.txt says. Get the package again")
    manifest = _decode_manifest(content, model)
    _check_values(manifest, model)
    for name, expected in manifest.files.items():
        if name not in files or hashlib.sha256(files[name]).hexdigest() != expected:
            raise DigestMismatchError(f"{model}: {name} is not what manifest.json says. Get the package again")
    unknown = sorted(set(files) - set(manifest.files))
    if unknown:
        raise DigestMismatchError(f"{model}: {unknown[0]} does not belong to the package. Get the package again")
    if manifest.preprocessing_digest != manifest.task.preprocessing.digest():
        raise PackageError(
            f"{model}: was trained on another version of the preprocessing than this slicewise "
            f"has. Train it again, or install the version that made it ({manifest.provenance.software_version})"
        )
    return ModelPackage(manifest, digest, files)


def write_package(path: Path, manifest: Manifest, files: dict[str, bytes]) -> str:
    """Writes a model package and returns its digest.

    Args:
        path: Folder to make, or a zip file if the name ends with ".zip".
        manifest: What the model is; its `files` are filled in here.
        files: Content of the other files by name; at least the two networks.

    Raises:
        UsageError: If the path exists.
    """
    if path.exists():
        raise UsageError(f"{path} exists. Remove it first or choose another path")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    content = _encode_manifest(msgspec.structs.replace(manifest, files=digests))
    digest = hashlib.sha256(content).hexdigest()
    members = {MANIFEST: content, DIGEST: f"{digest}\n".encode(), **files}
    with write_atomically(path) as temporary:
        if path.suffix == ".zip":
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, member in members.items():
                    archive.writestr(name, member)
        else:
            temporary.mkdir()
            for name, member in members.items():
                (temporary / name).write_bytes(member)
    return digest


def _encode_manifest(manifest: Manifest) -> bytes:
    # A copy of a package from before studies had thresholds of their own keeps its bytes.
    content = {
        name: value
        for name, value in msgspec.to_builtins(manifest).items()
        if value or name not in ("study_thresholds", "study_threshold_rule")
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=1)


def _decode_manifest(content: bytes, model: str | Path) -> Manifest:
    try:
        version = msgspec.json.decode(content, type=dict)["format_version"]
        if version != FORMAT_VERSION:
            raise PackageError(f"{model}: package format {version}, this slicewise reads {FORMAT_VERSION}")
        return msgspec.json.decode(content, type=Manifest)
    except KeyError as error:
        raise PackageError(f"{model}: manifest.json is not valid: {error} is missing") from error
    except (ValueError, RecursionError) as error:  # msgspec's own, and text that is not UTF-8
        raise PackageError(f"{model}: manifest.json is not valid: {error}") from error


def _check_values(manifest: Manifest, model: str | Path) -> None:
    # All numbers are finite: JSON has no others, and msgspec refuses what is beyond its range.
    names, calibration = manifest.task.label_names, manifest.calibration
    for key, values in (("scale", calibration.scale), ("bias", calibration.bias)):
        if len(values) != len(names):
            raise PackageError(
                f"{model}: manifest.json: calibration.{key} is {list(values)}. Expected {len(names)} numbers, "
                f"one for each of {', '.join(names)}"
            )
    if min(calibration.scale) <= 0:
        raise PackageError(
            f"{model}: manifest.json: calibration.scale is {list(calibration.scale)}. Expected numbers above 0"
        )
    for key, thresholds in (("thresholds", manifest.thresholds), ("study_thresholds", manifest.thresholds_of_studies)):
        if set(thresholds) != set(names) or not all(0 <= value <= 1 for value in thresholds.values()):
            raise PackageError(
                f"{model}: manifest.json: {key} is {thresholds}. Expected a number from 0 to 1 for each of "
                f"{', '.join(names)}"
            )
    for name, value in manifest.thresholds_of_studies.items():
        if value < manifest.thresholds[name]:
            raise PackageError(
                f"{model}: manifest.json: study_thresholds.{name} is {value}. Expected {manifest.thresholds[name]} or "
                "more, the threshold for slices: a flagged study has a flagged slice"
            )


def _read_files(model: str | Path) -> dict[str, bytes]:
    if str(model) in shipped_models():
        return _read_folder((resources.files("slicewise") / "weights" / str(model)).iterdir(), model)
    path = Path(model)
    if (path / MANIFEST).is_file():
        return _read_folder(path.iterdir(), model)
    if (path / "package" / MANIFEST).is_file():
        return _read_folder((path / "package").iterdir(), model)
    if path.is_file():
        return _read_zip(path)
    if path.is_dir():
        raise PackageError(f"{path}: neither a model package nor a finished run: no {MANIFEST}, no package/{MANIFEST}")
    raise ModelNotFoundError(
        f"There is no model '{model}'. Expected the path of a package or run folder, or one of: "
        f"{', '.join(shipped_models()) or 'none is shipped'}"
    )


def _read_folder(items: Iterable[Traversable], model: str | Path) -> dict[str, bytes]:
    files = {}
    for item in items:
        if is_unfinished(item.name):
            continue
        try:
            if isinstance(item, Path) and item.stat().st_size > LARGEST_FILE:
                raise PackageError(f"{model}: {item.name} is larger than {LARGEST_FILE} bytes")
            if item.is_file():
                files[item.name] = item.read_bytes()
        except OSError as error:
            raise PackageError(f"{model}: {item.name} cannot be read: {error.strerror}") from error
    return files


def _read_zip(path: Path) -> dict[str, bytes]:
    name = "its table of contents"
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            for info in members:
                if info.file_size > LARGEST_FILE:
                    raise PackageError(f"{path}: {info.filename} is larger than {LARGEST_FILE} bytes")
            files = {}
            for info in members:
                name = info.filename
                files[name] = archive.read(info)
            return files
    except _BROKEN_ZIP as error:
        raise PackageError(f"{path}: not a whole zip file: {name} cannot be read: {error}. Get it again") from error
