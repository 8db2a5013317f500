"""A model's card from the files that measured it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from slicewise.errors import UsageError
from slicewise.evaluation.evidence import METRICS_SCHEMA_VERSION, Estimate, Metrics
from slicewise.evaluation.model_card import (
    Card,
    EvaluatedOn,
    LevelFigures,
    Making,
    MeasuredLocalisation,
    Robustness,
    read_card,
)
from slicewise.evaluation.operating_points import MODEL
from slicewise.package import ModelPackage

METRICS_FILE = "metrics.json"
_NOT_MEASURED = Estimate(None, None, None)
_LAYOUTS = {"phantom": "synthetic studies of the slicewise phantom"}

Content = TypeVar("Content")


def build_card(
    package: ModelPackage,
    evaluations: Sequence[Path],
    *,
    words: Sequence[str] = (),
    robustness: Path | None = None,
    localisation: Path | None = None,
    making: Path | None = None,
) -> Card:
    """Builds the card of a model.

    Args:
        package: The model.
        evaluations: Output folders of `slicewise evaluate`, at least one.
        words: What the data of every evaluation are; empty for what `metrics.json` says.
        robustness: What `benchmarks/phantom_effects.py` wrote.
        localisation: What `benchmarks/localisation.py` wrote.
        making: What `recipes/retrain.py` keeps of its stages.

    Raises:
        UsageError: If a file is missing or not valid, measured another model, or its figures cannot stand on a card.
    """
    if words and len(words) != len(evaluations):
        raise UsageError(
            f"--tested-on: given {len(words)} times for {len(evaluations)} evaluations. Give it once for each, in order"
        )
    before = read_card(package)
    digests = {package.digest} if before is None else {package.digest, before.evaluated_digest}
    card = Card(
        evaluated_digest=package.digest if before is None else before.evaluated_digest,
        evaluations=tuple(
            _evaluated(folder / METRICS_FILE, package, digests, data)
            for folder, data in zip(evaluations, words or ("",) * len(evaluations), strict=True)
        ),
    )
    if robustness is not None:
        found = _read(robustness, Robustness)
        _check_model(robustness, found.model_digest, digests, package)
        card = msgspec.structs.replace(card, robustness=found)
    if localisation is not None:
        measured = _read(localisation, MeasuredLocalisation)
        _check_model(localisation, measured.model_digest, digests, package)
        _check_labels(localisation, {item.label for item in measured.labels}, package)
        card = msgspec.structs.replace(card, localisation=measured.labels)
    if making is not None:
        record = _read(making, Making)
        stages = tuple(stage for stage in record.stages if stage.finished)
        card = msgspec.structs.replace(card, making=msgspec.structs.replace(record, stages=stages))
    return card


def _evaluated(path: Path, package: ModelPackage, digests: set[str], words: str) -> EvaluatedOn:
    version = _read(path, dict).get("schema_version")
    if version != METRICS_SCHEMA_VERSION:
        raise UsageError(f"{path}: schema version {version}, expected {METRICS_SCHEMA_VERSION}. Evaluate again")
    metrics = _read(path, Metrics)
    _check_model(path, metrics.model.get("digest", ""), digests, package)
    if metrics.leakage:
        raise UsageError(
            f"{path}: {'; '.join(metrics.leakage)}: such figures say nothing about new patients. Evaluate on others"
        )
    if metrics.resamples == 0:
        raise UsageError(f"{path}: has no intervals. Evaluate again with --resamples 1000")
    names = package.manifest.task.label_names
    for level in (metrics.slice, metrics.study):
        if set(level) != set(names):
            raise UsageError(f"{path}: has figures of {sorted(level)}, expected {sorted(names)}. Evaluate again")
    return EvaluatedOn(
        data=words or _words(metrics.dataset),
        dataset_digest=metrics.dataset.get("digest", ""),
        patients=metrics.n_patients,
        studies=metrics.n_studies,
        slices=metrics.n_slices,
        weighted_log_loss=metrics.weighted_log_loss,
        slice={name: _figures(metrics, "slice", name) for name in names},
        study={name: _figures(metrics, "study", name) for name in names},
    )


def _words(dataset: dict[str, str]) -> str:
    layout = dataset.get("layout", "")
    which = {"test": "held-out patients", "all": "all patients"}.get(dataset.get("split", ""), "patients")
    what = _LAYOUTS.get(layout, f"studies in the layout '{layout}'" if layout else "data that are not named")
    return f"{which} of {what}"


def _figures(metrics: Metrics, level: str, label: str) -> LevelFigures:
    found = (metrics.slice if level == "slice" else metrics.study)[label]
    counts = metrics.counts[level][label]
    point = metrics.operating_points.get(level, {}).get(label, {}).get(MODEL)
    at_point = {} if point is None else point.metrics
    return LevelFigures(
        positive=counts.positive,
        negative=counts.negative,
        log_loss=found.get("log_loss", _NOT_MEASURED),
        auroc=found.get("auroc", _NOT_MEASURED),
        average_precision=found.get("average_precision", _NOT_MEASURED),
        calibration_slope=found.get("calibration_slope", _NOT_MEASURED),
        calibration_intercept=found.get("calibration_intercept", _NOT_MEASURED),
        ece=found.get("ece", _NOT_MEASURED),
        threshold=None if point is None else point.threshold,
        sensitivity=at_point.get("sensitivity", _NOT_MEASURED),
        specificity=at_point.get("specificity", _NOT_MEASURED),
    )


def _check_model(path: Path, digest: str, digests: set[str], package: ModelPackage) -> None:
    if digest not in digests:
        raise UsageError(
            f"{path}: measured {f'the model with digest {digest}' if digest else 'a model that it does not name'}, "
            f"this one is '{package.manifest.name}' with digest {package.digest}. Measure this model"
        )


def _check_labels(path: Path, labels: set[str], package: ModelPackage) -> None:
    names = package.manifest.task.label_names
    foreign = sorted(labels - set(names))
    if foreign:
        raise UsageError(f"{path}: has label '{foreign[0]}', the model has {', '.join(names)}. Measure this model")


def _read(path: Path, kind: type[Content]) -> Content:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid: {error}") from error
