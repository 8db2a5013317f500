from __future__ import annotations

import base64
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from dicom_files import write_series
from pages import Page
from slicewise.imaging.discover import discover
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.reasons import REASONS
from slicewise.reporting.anonymous import anonymous_results
from slicewise.reporting.html import MOST_STUDIES, write_report
from slicewise.reporting.rejected import LONGEST_REJECTED_TABLE
from slicewise.results import DISCLAIMER, ModelSummary, Rejection, Results, StudyResult
from slicewise.task import Task
from slicewise.volume import ScanWarning

MakeStudy = Callable[..., StudyResult]
MakeResults = Callable[..., Results]
HOSTILE = "<script>alert(1)</script>\"'><img src=http://x.example/a onerror=alert(2)>"


def viewer_data(path: Path) -> Any:
    """What the script of the viewer reads."""
    (content,) = re.findall(r'<script type="application/json" id="viewer-data">(.*?)</script>', path.read_text("utf-8"))
    return json.loads(content)


@pytest.fixture
def report(tmp_path: Path, task: Task) -> Callable[[Results], Page]:
    def write(results: Results) -> Page:
        path = tmp_path / "report.html"
        write_report(path, results, task)
        return Page(path.read_text(encoding="utf-8"))

    return write


def test_report_holds_its_parts_in_order(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    warning = ScanWarning("uneven_spacing", "The spacing is uneven in this test.")
    study = make_study(*scan, {2: {task.label_names[0]: 0.93}}, warnings=(warning,))
    page = report(make_results(study, rejected=[Rejection("a/b.txt", "unreadable", "not_dicom", "It is a text file.")]))
    parts = [
        task.title,
        DISCLAIMER,
        "Warnings about the scan",
        "Uneven spacing. The spacing is uneven in this test. The model looks at neighbouring slices",
        "At least one label reached its threshold on 1 of 6 slices.",
        "How far to trust it",
        "Trained on nothing at all.",
        "Not for Diagnosis",
        "Probabilities of the study",
        "▲ flagged",
        "Scroll through the slices",
        "Axial profile of the probabilities",
        "Images are shown as stored",
        "Slice index 2",
        "Probabilities of all 6 slices",
        "a/b.txt",
        "It is a text file.",
        "test-model, version 1.2",
        "0a" * 32,
        "nothing at all",
        "fixed by hand for this test",
        "slicewise 9.8.7",
        DISCLAIMER,
    ]
    place = 0
    for part in parts:
        found = page.text.find(part, place)
        assert found >= 0, f"{part!r} does not come after {page.text[:place][-60:]!r}"
        place = found


def test_every_flagged_slice_has_its_pictures_and_no_other(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    name = task.label_names[3]
    page = report(make_results(make_study(*scan, {0: {name: 0.9}, 4: {name: 0.9}, 5: {name: 0.2}})))
    first, second = (channel.name.capitalize() for channel in task.channels[:2])
    assert [image["alt"] for image in page.all("img")] == [
        f"{window} window, slice index {index}" for index in (0, 4) for window in (first, second)
    ]
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))


def test_a_missing_picture_is_replaced_by_the_reason(
    report: Callable[[Results], Page],
    tmp_path: Path,
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    page = report(make_results(make_study(tmp_path / "gone", ["lost.dcm"], {0: {task.label_names[0]: 0.9}})))
    assert page.all("img") == []
    assert re.search(r"No picture of this slice\. lost\.dcm: cannot be opened \(No such file", page.text)
    assert str(tmp_path) not in page.text


def test_slices_alone_are_shown_and_do_not_flag_the_study(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    study_model: ModelSummary,
) -> None:
    any_label, display = study_model.labels[0], study_model.displays[0]
    own = {name: getattr(study_model, name) for name in ("study_thresholds", "study_threshold_rule")}
    page = report(make_results(make_study(*scan, {2: {any_label: 0.7}}), **own))
    assert f"{display} on 1 of 6 slices (index 2), highest 0.700, threshold of a series 0.800." in page.text
    assert f"{display} 0.700 0.800 not flagged 1 of 6, from 0.500" in page.text
    assert "No slice of this series is flagged." not in page.text
    assert "Thresholds of studies raised for this test" in page.text


def test_nothing_flagged_is_said(
    report: Callable[[Results], Page], scan: tuple[Path, list[str]], make_study: MakeStudy, make_results: MakeResults
) -> None:
    page = report(make_results(make_study(*scan)))
    assert "No label reached its threshold on any of 6 slices." in page.text
    assert "No slice of this series is flagged." in page.text
    assert "Every file of the input was scored." in page.text
    assert page.all("img") == []


def test_no_study_is_said(report: Callable[[Results], Page], make_results: MakeResults) -> None:
    page = report(make_results(rejected=[Rejection("a", "unreadable", "not_dicom", "Not DICOM.")]))
    assert "No study was scored." in page.text
    assert "Not DICOM." in page.text


def test_hostile_texts_are_escaped_and_nothing_outside_is_named(
    tmp_path: Path, task: Task, make_study: MakeStudy, make_results: MakeResults
) -> None:
    study = make_study(
        tmp_path,
        [HOSTILE],
        {0: {task.label_names[0]: 0.9}},
        patient_id=HOSTILE,
        study_uid=HOSTILE,
        series_uid=HOSTILE,
        warnings=(ScanWarning(HOSTILE, HOSTILE),),
    )
    rejected = [Rejection(HOSTILE, "unreadable", HOSTILE, HOSTILE, HOSTILE)]
    displays = tuple(HOSTILE for _ in task.labels)
    results = make_results(study, study, rejected=rejected, name=HOSTILE, trained_on=HOSTILE, displays=displays)
    path = tmp_path / "report.html"
    write_report(path, results, msgspec.structs.replace(task, title=HOSTILE))
    page = Page(path.read_text(encoding="utf-8"))
    assert page.text.count("<script>alert(1)</script>") > 10
    names = {name for name, _ in page.elements}
    assert not names & {"link", "iframe", "object", "embed", "base", "form"}
    assert page.all("script") == [{"type": "application/json", "id": "viewer-data"}, {}]
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:"))


def test_report_needs_no_network(
    scan: tuple[Path, list[str]], tmp_path: Path, task: Task, make_study: MakeStudy, make_results: MakeResults
) -> None:
    path = tmp_path / "report.html"
    write_report(path, make_results(make_study(*scan, {1: {task.label_names[0]: 0.9}})), task)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r'"data:[^"]*"|"jpeg": "[^"]*"', "", text))
    (policy,) = (meta["content"] for meta in Page(text).all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none';")


def test_studies_are_sorted_and_linked_from_the_overview(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    any_label, other = task.label_names[:2]
    low = make_study(*scan, {0: {any_label: 0.2, other: 0.95}}, patient_id="LOW")
    high = make_study(*scan, {0: {any_label: 0.8}}, patient_id="HIGH")
    page = report(make_results(low, high))
    assert page.text.index("HIGH") < page.text.index("LOW")
    links = [link["href"] for link in page.all("a")]
    assert links[:2] == ["#study-1", "#study-2"]
    order = "flagged ones first, then those unlike the training data, then the others"
    assert f"2 studies: {order}; by probability of: Any intracranial hemorrhage. Not for triage." in page.text
    identifiers = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(identifiers.values()) == 1
    assert {link.removeprefix("#") for link in links} <= set(identifiers)
    referenced = {name for _, attributes in page.elements for name in attributes.get("aria-labelledby", "").split()}
    assert referenced <= set(identifiers)
    page = report(make_results(low, high, any_label=None))
    assert page.text.index("LOW") < page.text.index("HIGH")


def test_series_of_one_study_are_summarised_one_by_one(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    one = make_study(*scan, {0: {task.label_names[0]: 0.9}}, series_uid="1.2.3.1")
    two = make_study(*scan, series_uid="1.2.3.2")
    page = report(make_results(msgspec.structs.replace(one, series=one.series + two.series)))
    assert "Series 1 of 2 At least one label" in page.text
    assert "Series 2 of 2 No label reached" in page.text
    assert "1 of 12" in page.text


def test_many_rejected_files_are_grouped_with_their_number(
    report: Callable[[Results], Page], make_results: MakeResults
) -> None:
    texts = [Rejection(f"{number}.txt", "unreadable", "not_dicom", "A text.") for number in range(60)]
    scout = Rejection("scout", "not_chosen", "localizer", "A scout.")
    page = report(make_results(rejected=[scout, *texts]))
    assert "61 files or series were not scored." in page.text
    assert "60 0.txt unreadable not_dicom A text. 1 scout not chosen localizer A scout." in page.text
    page = report(make_results(rejected=texts[:LONGEST_REJECTED_TABLE]))
    assert all(f"{number}.txt" in page.text for number in range(LONGEST_REJECTED_TABLE))


def test_an_anonymous_report_has_no_place_for_file_names(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    study = make_study(*scan, {1: {task.label_names[0]: 0.9}, 2: {task.label_names[0]: 0.9}})
    (scan[0] / scan[1][2]).unlink()
    rejected = [
        Rejection(f"Doe{number}.txt", "unreadable", "not_dicom", f"Doe{number}.txt: no.") for number in range(3)
    ]
    page = report(anonymous_results(make_results(study, rejected=rejected), bytes(32)))
    assert "3 files or series were not scored. They are grouped by reason here; rejected.csv" in page.text
    assert f"3 unreadable not_dicom {REASONS['not_dicom']}" in page.text
    assert "Example" not in page.text
    assert f"No picture of this slice. {REASONS['unreadable_path']}" in page.text
    assert len(page.all("img")) == 2
    assert "keyed hashes" in page.text
    assert not re.search(r"Doe|\.dcm|\bFile\b", page.text)
    page = report(make_results(study, rejected=rejected))
    assert "Doe0.txt unreadable" in page.text
    assert "keyed hashes" not in page.text


def test_studies_that_share_every_uid_show_their_own_pictures(
    report: Callable[[Results], Page], tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, task: Task
) -> None:
    name = task.label_names[0]
    studies = []
    for patient_id, grey, probability in (("LOW", -1000.0, 0.8), ("HIGH", 1000.0, 0.9)):
        values = np.full((1, 64, 64), grey, dtype=np.float32)
        (path,) = write_series(tmp_path / patient_id, values=values)
        studies.append(make_study(path.parent, [path.name], {0: {name: probability}}, patient_id=patient_id))
    page = report(make_results(*studies))
    assert page.text.index("HIGH") < page.text.index("LOW")
    for image, grey in zip(page.all("img"), (255, 255, 0, 0), strict=True):
        content = base64.b64decode(image["src"].partition(",")[2])
        assert np.asarray(Image.open(io.BytesIO(content)), dtype=float).mean() == pytest.approx(grey, abs=2)


def test_positions_are_left_out_where_they_are_not_known(
    scan: tuple[Path, list[str]], tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, task: Task
) -> None:
    path = tmp_path / "report.html"
    results = make_results(make_study(*scan, {0: {task.label_names[0]: 0.9}}))
    write_report(path, results, msgspec.structs.replace(task, axial_unit="index"))
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Slice, feet to head" in text
    assert not re.search(r"\bmm\b", text)


def test_report_can_be_read_without_seeing_it(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    study = make_study(*scan, {1: {task.label_names[0]: 0.9}})
    page = report(make_results(study, study, rejected=[Rejection("a", "unreadable", "not_dicom", "Not DICOM.")]))
    assert all(cell["scope"] in ("col", "row") for cell in page.all("th"))
    assert all(image["alt"] for image in page.all("img"))
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_file_names_that_are_no_text_are_written_readably(
    report: Callable[[Results], Page],
    tmp_path: Path,
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    page = report(make_results(make_study(tmp_path, ["bad\udcff.dcm"], {0: {task.label_names[0]: 0.9}})))
    assert "bad\\udcff.dcm" in page.text


def test_a_report_is_whole_or_not_there(
    scan: tuple[Path, list[str]], tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, task: Task
) -> None:
    path = tmp_path / "out" / "report.html"
    results = make_results(make_study(*scan))
    write_report(path, results, task)
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_report(
            path, msgspec.structs.replace(results, model=msgspec.structs.replace(results.model, thresholds={})), task
        )
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == ["report.html"]


def test_report_of_a_real_scan_with_every_slice_flagged_stays_small(
    shared_data: Path, tmp_path: Path, make_study: MakeStudy, make_results: MakeResults, task: Task
) -> None:
    folder = shared_data / "ct_head" / "ge_tilted_variable_spacing"
    files = [header.file for header in discover([folder]) if isinstance(header, SliceHeader)]
    assert len(files) == 28
    raised = {index: {task.label_names[0]: 0.9} for index in range(28)}
    path = tmp_path / "report.html"
    write_report(path, make_results(make_study(folder, files, raised)), task)
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.all("img")) == 2 * 28
    assert path.stat().st_size < 2_500_000
    slices = viewer_data(path)["series"]["study-1-series-1"]
    assert sum(len(item["jpeg"]) for item in slices) < 800_000


def test_the_viewer_has_every_slice_with_its_probabilities(
    scan: tuple[Path, list[str]], tmp_path: Path, task: Task, make_study: MakeStudy, make_results: MakeResults
) -> None:
    folder, files = scan
    (folder / files[5]).unlink()
    study = make_study(folder, files, {2: {task.label_names[0]: 0.93}})
    path = tmp_path / "report.html"
    write_report(path, make_results(study), task)
    data = viewer_data(path)
    assert data["windows"][0]["caption"] == "Brain window, center 40, width 80 HU"
    slices = data["series"]["study-1-series-1"]
    assert [item["name"] for item in slices] == [f"Slice index {index}" for index in range(6)]
    assert [item["position"] for item in slices][:2] == ["-10.0 mm", "-5.0 mm"]
    assert slices[2]["probabilities"] == ["0.930", *["0.100"] * 5]
    assert slices[2]["flagged"] == [True, *[False] * 5]
    assert [bool(item["jpeg"]) for item in slices] == [True] * 5 + [False]
    assert slices[5]["problem"].startswith(f"{files[5]}: cannot be opened")
    viewer = next(attributes for attributes in Page(path.read_text("utf-8")).all("div") if "data-start" in attributes)
    assert viewer["data-start"] == "2"


def test_flagged_studies_come_before_others_with_a_higher_score(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    any_label, other = task.label_names[:2]
    flagged = make_study(*scan, {0: {any_label: 0.2, other: 0.6}}, patient_id="FLAGGED")
    higher = make_study(*scan, {0: {any_label: 0.4}}, patient_id="HIGHER")
    page = report(make_results(higher, flagged))
    assert page.text.index("FLAGGED") < page.text.index("HIGHER")
    assert "0 of 6 none HIGHER" in page.text


def test_a_warning_of_one_of_several_series_names_it(
    report: Callable[[Results], Page], scan: tuple[Path, list[str]], make_study: MakeStudy, make_results: MakeResults
) -> None:
    tilted = ScanWarning("tilted", "Tilted by 20 degrees.")
    one = make_study(*scan, series_uid="1.2.3.1")
    two = make_study(*scan, series_uid="1.2.3.2", warnings=(tilted,))
    page = report(make_results(msgspec.structs.replace(two, series=one.series + two.series)))
    assert page.text.count("Tilted slices (Series 2 of 2). Tilted by 20 degrees.") == 1
    assert "There are no warnings about the scan." in report(make_results(one)).text


def test_a_study_unlike_the_training_data_shows_no_verdict(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    reason = ScanWarning("unlike_training", "Bone encloses nothing.")
    raised = {2: {task.label_names[0]: 0.93}}
    page = report(make_results(make_study(*scan, raised, warnings=(reason,), unlike=True)))
    assert page.text.count("Unlike the training data: do not rely on these probabilities.") >= 1
    assert "Unlike the training data. Bone encloses nothing." in page.text
    assert "0.930" in page.text
    assert "▲ 0.930" not in page.text
    assert "At least one label" not in page.text
    assert "No slice of this series is judged." in page.text
    assert "not flagged" not in page.text
    assert [item["flagged"] for item in viewer_data(scan[0].parent / "report.html")["series"]["study-1-series-1"]] == [
        [False] * len(task.label_names)
    ] * 6


def test_a_finding_in_one_series_is_not_hidden_by_another_one_unlike_the_training_data(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    flagged = make_study(*scan, {2: {task.label_names[0]: 0.93}}, series_uid="1.2.3.1")
    odd = make_study(*scan, series_uid="1.2.3.2", unlike=True)
    mixed = msgspec.structs.replace(flagged, series=flagged.series + odd.series)
    first, *others = task.labels
    page = report(make_results(mixed, make_study(*scan, patient_id="PLAIN")))
    assert page.text.index("P1") < page.text.index("PLAIN")
    assert f"▲ {first.display} 1 of 12" in page.text  # in the worklist
    assert f"{first.display} 0.930 0.500 ▲ flagged 1 of 12" in page.text
    threshold = 0.5 - 0.05
    assert f"{others[0].display} 0.100 {threshold:.3f} not judged not judged" in page.text
    assert "Not judged: no probability is marked." in page.text
    assert "▲ marks a probability at or above the threshold of its label." in page.text


def test_the_worklist_tells_studies_unlike_the_training_data_and_the_limits_of_the_model(
    report: Callable[[Results], Page],
    scan: tuple[Path, list[str]],
    make_study: MakeStudy,
    make_results: MakeResults,
    task: Task,
) -> None:
    odd = make_study(*scan, {0: {task.label_names[0]: 0.99}}, patient_id="ODD", unlike=True)
    page = report(make_results(odd, make_study(*scan, patient_id="PLAIN"), limitations=("Not for cats.",)))
    assert "Unlike the training data: do not rely on these probabilities. not judged" in page.text
    assert page.text.index("ODD") < page.text.index("PLAIN")
    assert "0.990" not in page.text[: page.text.index("PLAIN")]
    assert page.text[: page.text.index("PLAIN")].count("not judged") == 2  # the score and the slices
    assert page.text.index("Not for cats.") < page.text.index("Not for triage.")


@pytest.fixture
def many(scan: tuple[Path, list[str]], make_study: MakeStudy, make_results: MakeResults, task: Task) -> Results:
    """More studies than one page shows, the least urgent first."""
    count = MOST_STUDIES + 1
    return make_results(
        *(
            make_study(*scan, {0: {task.label_names[0]: 0.5 + 0.01 * number}}, patient_id=f"P{number:02}")
            for number in range(count)
        ),
        rejected=[Rejection("a", "unreadable", "not_dicom", "Not DICOM.")],
    )


def test_many_studies_have_pages_of_their_own(tmp_path: Path, many: Results, task: Task) -> None:
    path = tmp_path / "out" / "report.html"
    write_report(path, many, task)
    count = len(many.studies)
    pages = {page.name for page in (path.parent / "report").iterdir()}
    assert pages == {f"{number}.html" for number in range(1, count + 1)}
    worklist = Page(path.read_text("utf-8"))
    links = [link["href"] for link in worklist.all("a")]
    assert links == [f"report/{number}.html" for number in range(1, count + 1)]
    assert "Not DICOM." in worklist.text
    assert worklist.all("script") == []
    assert path.stat().st_size < 40_000
    for number in (1, count):
        page = Page((path.parent / "report" / f"{number}.html").read_text("utf-8"))
        assert f"P{count - number:02}" in page.text
        assert f"Study {number} of {count}" in page.text
        assert len(page.all("img")) == 2
        links = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
        neighbours = [other for other in (number - 1, number + 1) if 0 < other <= count]
        assert links == ["../report.html", *(f"{other}.html" for other in neighbours)]


def test_pictures_of_one_study_are_held_at_a_time(
    tmp_path: Path, many: Results, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    seen: list[int] = []

    def progress(items: Iterable[Any], **_: object) -> Iterator[Any]:
        for item in items:
            seen.append(len(written))
            yield item

    def note(path: Path, _: bytes) -> None:
        written.append(path.name)

    monkeypatch.setattr("slicewise.reporting.html.write_bytes_atomically", note)
    write_report(tmp_path / "report.html", many, task, progress)
    assert written == [*(f"{number}.html" for number in range(1, len(many.studies) + 1)), "report.html"]
    # The first slice of a study is read when its page is asked for.
    assert seen[6 * 10] in (9, 10)


def test_pages_of_an_earlier_report_are_removed_and_other_files_stay(
    tmp_path: Path, many: Results, scan: tuple[Path, list[str]], make_study: MakeStudy, task: Task
) -> None:
    path, folder = tmp_path / "report.html", tmp_path / "report"
    write_report(path, many, task)
    (folder / "99.html").write_text("a page of someone else")
    (folder / "notes.html").write_bytes((folder / "1.html").read_bytes())
    write_report(path, msgspec.structs.replace(many, studies=(make_study(*scan),)), task)
    assert {page.name for page in folder.iterdir()} == {"99.html", "notes.html"}
    for page in folder.iterdir():
        page.unlink()
    write_report(path, many, task)
    write_report(path, msgspec.structs.replace(many, studies=()), task)
    assert not folder.exists()
