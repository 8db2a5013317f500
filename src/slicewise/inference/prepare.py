"""All of a study that needs no network: which series are read, their pixels, and what the networks will see."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from slicewise.errors import InputError
from slicewise.imaging.geometry import median_spacing_mm
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import ModelInput, preprocess
from slicewise.imaging.series import Series, Study, choose_series, rejection_of, rejection_of_error
from slicewise.inference.familiarity import unlike_warnings
from slicewise.inference.timing import Timer, no_timing
from slicewise.results import Rejection, SeriesResult, SliceResult
from slicewise.source import Source
from slicewise.task import Task
from slicewise.volume import ScanWarning, Volume


@dataclass(frozen=True, eq=False)
class PreparedSeries:
    """One series that waits for the networks. Its original pixels, which take most of the memory, are gone.

    Attributes:
        unscored: Its result, but for the probabilities.
        model_input: What the networks see.
    """

    unscored: SeriesResult
    model_input: ModelInput


@dataclass(frozen=True, eq=False)
class PreparedStudy:
    """One study that waits for the networks.

    Attributes:
        patient_id: Patient ID.
        study_uid: Study Instance UID.
        series: Its series that are scored.
        sources: Where the file of every SOP Instance UID lies.
        rejected: Files and series of it that are not scored.
    """

    patient_id: str
    study_uid: str
    series: tuple[PreparedSeries, ...]
    sources: dict[str, Source]
    rejected: tuple[Rejection, ...]


def prepare_study(study: Study, task: Task, requested: Collection[str] = (), timer: Timer = no_timing) -> PreparedStudy:
    """Chooses, decodes and preprocesses the series of a study.

    Args:
        study: The study.
        task: What is read, and how.
        requested: Series Instance UIDs to read instead of those that the rules choose.
        timer: Is told of decoding and preprocessing.
    """
    series: list[PreparedSeries] = []
    sources: dict[str, Source] = {}
    rejected: list[Rejection] = []
    for decision in choose_series(study, task.series, requested):
        if not decision.chosen:
            rejected.append(rejection_of(decision))
            continue
        try:
            with timer("decoding"):
                volume, left_out = load_volume(decision.series)
        except InputError as error:
            rejected.append(rejection_of_error(decision.series, error))
            continue
        rejected += left_out
        with timer("preprocessing"):
            model_input = preprocess(volume, task.preprocessing)
            unscored = unscored_series(volume, model_input, task)
        series.append(PreparedSeries(unscored, model_input))
        sources |= _sources(decision.series, volume)
    return PreparedStudy(study.patient_id, study.study_uid, tuple(series), sources, tuple(rejected))


def unscored_series(volume: Volume, model_input: ModelInput, task: Task) -> SeriesResult:
    """Returns the result of a series, but for the probabilities and what only a model can say of it."""
    unlike = unlike_warnings(volume, model_input, task)
    return SeriesResult(
        patient_id=volume.patient_id,
        study_uid=volume.study_uid,
        series_uid=volume.series_uid,
        slices=tuple(
            SliceResult(
                sop_uid=reference.sop_uid,
                frame=reference.frame,
                file=reference.file,
                slice_index=reference.slice_index,
                position_mm=float(volume.positions_mm[index]),
                probabilities={},
            )
            for index, reference in enumerate(volume.slices)
        ),
        probabilities={},
        tilt_degrees=volume.tilt_degrees,
        warnings=(*unlike, *volume.warnings, *_thin_slices(volume, model_input), *model_input.warnings),
        intensity_scale=model_input.intensity_scale,
        unlike_training=bool(unlike),
    )


def _thin_slices(volume: Volume, model_input: ModelInput) -> tuple[ScanWarning, ...]:
    spacing, slabs = median_spacing_mm(volume.positions_mm), len(model_input.positions_mm)
    if spacing is None or slabs == len(volume.positions_mm):
        return ()
    together = round(len(volume.positions_mm) / slabs)
    message = (
        f"The slices are {spacing:.2g} mm apart; about {together} neighbouring ones are averaged and share their "
        "probabilities."
    )
    return (ScanWarning("thin_slices", message),)


def _sources(series: Series, volume: Volume) -> dict[str, Source]:
    # Of several files with one SOP Instance UID the volume holds one: that one is shown.
    of_header = {(header.sop_uid, header.file): header.source for header in series.headers}
    return {item.sop_uid: of_header[item.sop_uid, item.file] for item in volume.slices}
