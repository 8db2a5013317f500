from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from phantom_heads import simple_head
from scored_dataset import grey_value_detector
from slicewise.errors import DatasetError, InputError, UsageError
from slicewise.evaluation.protocol_call import ProtocolCall
from slicewise.evaluation.protocol_report import ProtocolReport, report_text
from slicewise.evaluation.protocols import excluded_studies, run_protocol
from slicewise.evaluation.published import ProtocolName
from slicewise.evaluation.series_used import write_series_used
from slicewise.phantom import study as study_module
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.writer import write_phantom
from slicewise.results import DISCLAIMER, Rejection
from slicewise.task import load_task

STUDIES = 6
ICH = load_task("ich")
TASK = msgspec.structs.replace(ICH, preprocessing=msgspec.structs.replace(ICH.preprocessing, size=32, pixel_mm=8.0))
SMALL = override_parameters(
    PhantomParameters(),
    [
        *("geometry.matrix=64", "geometry.slices=[6, 8]", "geometry.thin=0.0", "geometry.medium=0.0"),
        *("hemorrhage.positive_share=0.5", "headers.second_series=0.5"),
    ],
)
DETECTOR = grey_value_detector(TASK)


@pytest.fixture(scope="module", autouse=True)
def _simple_heads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_module, "render_head", simple_head)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in the layouts of CQ500 and of the challenge, and boxes on the former."""
    folder = tmp_path_factory.mktemp("phantoms")
    for layout in ("cq500", "rsna"):
        write_phantom(folder / layout, STUDIES, seed=2, layout=layout, parameters=SMALL)
    with (folder / "cq500" / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    box = "\"{'x': 9, 'y': 9, 'width': 9, 'height': 9}\""
    lines = [
        f"{row['sop_uid']},{row['series']},{row['study_uid']},{box},{name.capitalize()},manual"
        for row in rows
        for name in ICH.label_names
        if row[name] == "1" and name != ICH.label_names[ICH.any_index or 0]
    ]
    header = "SOPInstanceUID,SeriesInstanceUID,StudyInstanceUID,data,labelName,labelType"
    (folder / "boxes.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder


def call(written: Path, output: Path, protocol: ProtocolName, **changes: Any) -> ProtocolCall:
    files = {
        "rsna": ("rsna/stage_2_train", "rsna/stage_2_train.csv"),
        "cq500": ("cq500/cq500", "cq500/reads.csv"),
        "bhx": ("cq500/cq500", "boxes.csv"),
    }
    images, labels = files[protocol]
    if protocol == "bhx":
        changes.setdefault("reads", written / "cq500" / "reads.csv")
    return ProtocolCall(protocol, [written / images], written / labels, output, resamples=20, **changes)


def test_studies_of_cq500_are_scored_by_their_highest_slice(written: Path, tmp_path: Path) -> None:
    outcome = run_protocol(call(written, tmp_path, "cq500"), DETECTOR)
    report, task = outcome.report, outcome.dataset.task
    assert (report.n_patients, report.n_studies, report.n_series) == (STUDIES, STUDIES, STUDIES)
    any_name = task.label_names[task.main_index]
    counts = report.counts["study"][any_name]
    assert counts.positive > 0
    assert counts.negative > 0
    assert counts.positive + counts.negative + counts.unknown == STUDIES
    assert {item.unknown for item in report.counts["slice"].values()} == {report.n_slices}
    assert outcome.metrics.study[any_name]["auroc"].value is not None
    highest = outcome.table.studies(task).probabilities.max()
    assert highest == outcome.table.probabilities.max()
    # A localizer, a second reconstruction: what was left out, and why.
    assert {"localizer", "other_series_preferred"} <= {item.reason for item in report.rejected}
    assert all(item.meaning for item in report.rejected)
    assert report.excluded_studies == ()
    assert report.readers == ("R1", "R2", "R3")
    assert set(report.agreement) == set(task.label_names)
    assert report.agreement[any_name].subjects == STUDIES
    assert len(report.comparison.figures) == len(task.labels)
    assert report.model["name"] == "grey"
    assert report.settings == {
        "seed": 0,
        "resamples": 20,
        "scored_share": 1.0,
        "labels": "reads.csv",
        "studies_per_hour": 6.0,
        "minutes_per_study": 8.0,
        "runtime": "grey",
    }


def test_the_report_survives_json_and_is_told_in_words(written: Path, tmp_path: Path) -> None:
    report = run_protocol(call(written, tmp_path, "cq500"), DETECTOR).report
    assert msgspec.json.decode(msgspec.json.encode(report), type=ProtocolReport) == report
    assert report.disclaimer == DISCLAIMER
    text = report_text(report, ICH)
    for part in (
        "1. The label of a study",
        "Left out:",
        "Fleiss' kappa",
        "Ngo et al. 2022",
        "0.9612",
        "Not comparable:",
    ):
        assert part in text


def test_another_call_reads_the_same_series(written: Path, tmp_path: Path) -> None:
    first = run_protocol(call(written, tmp_path / "first", "cq500"), DETECTOR)
    listed = tmp_path / "series_used.csv"
    write_series_used(listed, first.dataset, first.records)
    again = run_protocol(call(written, tmp_path / "again", "cq500", series_list=listed), DETECTOR)
    assert [record.series_uid for record in again.records] == [record.series_uid for record in first.records]
    check = again.report.series
    assert check is not None
    assert (check.listed, check.read, check.missing, check.changed) == (STUDIES, STUDIES, (), ())

    lines = listed.read_text(encoding="utf-8").splitlines()
    digest = first.records[0].values_digest
    changed = [lines[0], lines[1].replace(digest, "0" * 64), *lines[2:5], lines[5].replace("2.25.", "1.25.")]
    listed.write_text("\n".join(changed) + "\n", encoding="utf-8")
    other = run_protocol(call(written, tmp_path / "other", "cq500", series_list=listed), DETECTOR).report
    assert other.series is not None
    assert other.series.changed == (first.records[0].series_uid,)
    assert [item.reason for item in other.series.missing] == ["not_found"]
    # Of these two, other series were read, and no others were wished for.
    assert [item.study for item in other.excluded_studies] == ["CQ500-CT-1004", "CQ500-CT-1005"]
    assert {reason for item in other.excluded_studies for reason in item.reasons} == {"not_requested"}
    assert "that were asked for are not among the images" in " ".join(other.warnings)
    text = report_text(other, ICH)
    assert "4 of 5 listed series read" in text
    assert "1 hold other values than when they were listed" in text
    assert "2 labelled studies not scored: CQ500-CT-1004 (not_requested)" in text


def test_studies_without_images_are_excluded_with_the_reason(written: Path, tmp_path: Path) -> None:
    images = shutil.copytree(written / "cq500" / "cq500", tmp_path / "images")
    shutil.rmtree(images / "CQ500CT1001 CQ500CT1001")
    for file in (images / "CQ500CT1002 CQ500CT1002").rglob("*.dcm"):
        file.write_bytes(b"damaged")
    (images / "CQ500CT1003 CQ500CT1003" / "notes.txt").write_text("not a scan", encoding="utf-8")
    outcome = run_protocol(replace(call(written, tmp_path / "out", "cq500"), images=[images]), DETECTOR)
    assert [(item.study, item.reasons) for item in outcome.report.excluded_studies] == [
        ("CQ500-CT-1001", ("not_found",)),
        ("CQ500-CT-1002", ("not_dicom",)),
    ]
    assert outcome.report.n_studies == STUDIES - 2
    assert outcome.report.agreement[ICH.label_names[0]].subjects == STUDIES - 2
    assert outcome.unreadable > 1


def test_boxes_make_slices_positive_and_readers_make_them_negative(written: Path, tmp_path: Path) -> None:
    outcome = run_protocol(call(written, tmp_path, "bhx"), DETECTOR)
    any_name = ICH.label_names[ICH.any_index or 0]
    counts = outcome.report.counts
    assert min(counts["slice"][any_name].positive, counts["slice"][any_name].negative) > 0
    assert min(counts["study"][any_name].positive, counts["study"][any_name].negative) > 0
    assert outcome.metrics.slice[any_name]["auroc"].value is not None
    assert outcome.report.comparison.figures == ()
    assert outcome.report.agreement


def test_the_challenge_is_scored_on_patients_that_were_held_out(written: Path, tmp_path: Path) -> None:
    outcome = run_protocol(call(written, tmp_path, "rsna", holdout=0.5), DETECTOR)
    splits = outcome.dataset.splits
    assert set(outcome.table.patient_ids) == {patient for patient, split in splits.items() if split == "test"}
    assert 0 < outcome.report.n_patients < len(splits)
    (figure,) = outcome.report.comparison.figures
    assert figure.ours == outcome.metrics.weighted_log_loss
    assert (outcome.report.agreement, outcome.report.readers, outcome.report.excluded_studies) == ({}, (), ())
    # With the list of these series, they are scored again, and no share of them.
    listed = tmp_path / "series_used.csv"
    write_series_used(listed, outcome.dataset, outcome.records)
    again = run_protocol(call(written, tmp_path / "again", "rsna", series_list=listed), DETECTOR)
    assert again.metrics.weighted_log_loss.value == pytest.approx(outcome.metrics.weighted_log_loss.value)
    assert again.table.series_uids == outcome.table.series_uids


@pytest.mark.parametrize(
    ("protocol", "advice"), [("rsna", "Give --holdout and --seed"), ("cq500", "has not seen this dataset")]
)
def test_what_the_model_has_seen_is_refused(written: Path, tmp_path: Path, protocol: ProtocolName, advice: str) -> None:
    scored = run_protocol(call(written, tmp_path, protocol), DETECTOR)
    leaky = grey_value_detector(TASK, seen=scored.table.patients[:1])
    with pytest.raises(UsageError, match=rf"knows what it would be tested on: 1 of \d+ patients .*{advice}"):
        run_protocol(call(written, tmp_path, protocol), leaky)


def test_what_cannot_be_done_is_told(written: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    nothing = replace(call(written, tmp_path / "out", "cq500"), images=[tmp_path / "empty"])
    with pytest.raises(InputError, match=r"not one series could be read of .*empty.*rejected\.csv says why"):
        run_protocol(nothing, DETECTOR)
    with pytest.raises(UsageError, match="expected --reads as well"):
        run_protocol(call(written, tmp_path / "out", "bhx", reads=None), DETECTOR)
    run_protocol(call(written, tmp_path / "other", "rsna", holdout=0.5), DETECTOR)
    with pytest.raises(DatasetError, match=r"holdout 0\.5, not 0\.2"):
        run_protocol(call(written, tmp_path / "other", "rsna"), DETECTOR)


def test_reasons_belong_to_the_study_whose_folder_they_are_in() -> None:
    rejected = (
        Rejection("CQ500CT12 CQ500CT12/Unknown Study/CT Plain", "not_chosen", "known_defect", "", "1.2"),
        Rejection("CQ500CT12 CQ500CT12/Unknown Study/CT Scout", "not_chosen", "localizer", "", "1.3"),
        Rejection("CQ500CT123.zip/a.dcm", "unreadable", "truncated", ""),
        Rejection("notes.txt", "unreadable", "not_dicom", ""),
    )
    names = ("CQ500-CT-1", "CQ500-CT-12", "CQ500-CT-123", "CQ500-CT-5")
    found = excluded_studies(names, {"CQ500-CT-5"}, rejected)
    assert [(item.study, item.reasons) for item in found] == [
        ("CQ500-CT-1", ("not_found",)),
        ("CQ500-CT-12", ("known_defect", "localizer")),
        ("CQ500-CT-123", ("truncated",)),
    ]
