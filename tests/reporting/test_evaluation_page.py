from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from evaluated import HOSTILE, measured, simulated_table
from pages import Page
from scored_dataset import grey_value_detector, small, write_dataset
from slicewise.evaluation.evaluate import compare, evaluate
from slicewise.evaluation.evidence import Metrics
from slicewise.evaluation.predictions import PredictionTable
from slicewise.evaluation.scoring import predict_dataset
from slicewise.reporting.cases import NO_DATASET
from slicewise.reporting.evaluation_page import write_evaluation_report
from slicewise.reporting.figures import FIGURE_NAMES
from slicewise.results import DISCLAIMER
from slicewise.task import Task


@pytest.fixture(scope="module")
def table(task: Task) -> PredictionTable:
    return simulated_table(task, noise=2.0)


@pytest.fixture(scope="module")
def metrics(table: PredictionTable, task: Task) -> Metrics:
    return measured(table, task)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, table: PredictionTable, task: Task, metrics: Metrics) -> Path:
    """A whole report, of predictions from a file, with a compared model."""
    output = tmp_path_factory.mktemp("evaluation")
    other = simulated_table(task, noise=3.0)
    differences = compare(table, other, task, resamples=20)
    write_evaluation_report(
        output, table, task, metrics, compared={f"other {HOSTILE}": (other, measured(other, task), differences)}
    )
    return output


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_holds_its_parts_in_order(page: Page, metrics: Metrics, task: Task) -> None:
    auroc = metrics.slice[task.label_names[0]]["auroc"]
    parts = [
        task.title,
        DISCLAIMER,
        "These data and the training data overlap",
        metrics.leakage[0],
        metrics.warnings[0],
        "Measured on 40 patients with 40 studies and 400 slices.",
        f"AUROC {auroc.value:.3f} [{auroc.low:.3f}, {auroc.high:.3f}]",
        "Weighted log loss over all labels",
        "Slices, ROC",
        "calibration line and error",
        "Threshold of the model other data 0.300",
        "The explorer needs JavaScript",
        "Highest slice (max), of the task",
        "Subgroups: Any",
        "One reader takes 8 minutes a study",
        "False positive 1",
        NO_DATASET,
        "False negative 1",
        "Axial profile of the probabilities",
        "Difference p",
        "DeLong",
        "20 resamples of the patients, seed 0",
        "Definitions",
        DISCLAIMER,
    ]
    place = 0
    for part in parts:
        found = page.text.find(" ".join(part.split()), place)
        assert found >= 0, f"{part!r} does not come after {page.text[:place][-60:]!r}"
        place = found


def test_leakage_and_warnings_come_before_any_figure(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.index("One patient is in both") < text.index("A warning that quotes") < text.index("<svg")


def test_figures_are_files_as_well(folder: Path) -> None:
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{name}.{ending}" for name in FIGURE_NAMES for ending in ("png", "svg")
    }
    assert {path.name for path in folder.iterdir()} == {"report.html", "figures"}


def test_hostile_names_stay_text(page: Page, folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert len(page.scripts) == 2
    assert "<script>document.title" not in text
    assert not [image for image in page.all("img") if "onerror" in image]
    assert HOSTILE in page.text
    labels = json.loads(page.scripts[0])["labels"]
    assert labels[0]["levels"]["slice"]["start"] > 0


def test_the_only_script_that_may_run_is_its_own(page: Page, folder: Path) -> None:
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", re.sub(r"&lt;.*?&gt;", "", text))
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_and_every_reference_is_there(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    for _, attributes in page.elements:
        for name in (*attributes.get("aria-labelledby", "").split(), attributes.get("for")):
            assert name is None or name in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_the_page_can_be_read_without_seeing_it(page: Page) -> None:
    assert all(cell["scope"] in ("col", "row") for cell in page.all("th"))
    assert all(svg["role"] == "img" and svg["aria-labelledby"] for svg in page.all("svg"))
    assert page.all("html")[0]["lang"] == "en"
    assert all(len(page.all(landmark)) >= 1 for landmark in ("header", "nav", "main", "footer"))
    labelled = {label["for"] for label in page.all("label")}
    assert all(control["id"] in labelled for control in (*page.all("input"), *page.all("select")))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch(r"h[1-6]", name)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_a_bare_evaluation_says_what_is_missing(table: PredictionTable, task: Task, tmp_path: Path) -> None:
    bare = msgspec.structs.replace(
        measured(table, task, with_threshold=False),
        operating_points={}, study_rules={}, subgroups={}, triage=None, warnings=(), resamples=0,
    )  # fmt: skip
    write_evaluation_report(tmp_path, table, task, bare)
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    for sentence in (
        "Model this model",
        "Whether these data and the training data overlap was not checked",
        "There is no warning about predictions or labels.",
        "No operating point was measured.",
        "Study rules were not compared.",
        "Nothing is known of these slices that would part them into subgroups.",
        "Triage needs studies with and without the finding",
        "flagged from 0.500 (no operating point is known)",
        "No other model was compared.",
        "not known: the predictions came as a file",
        "none: the patients were not resampled",
        "none came with the model",
    ):
        assert sentence in text, sentence


def test_one_class_alone_has_a_page(task: Task, tmp_path: Path) -> None:
    alone = simulated_table(task, patients=1)
    write_evaluation_report(tmp_path, alone, task, measured(alone, task))
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "so that there is no curve" in page.text
    assert "so that there is nothing to explore" in page.text
    assert "No slice is known to be with the finding." in page.text
    assert page.scripts == []


def test_with_a_dataset_the_worst_slices_are_shown(task: Task, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", small(task), patients=12, test=12)
    table = predict_dataset(grey_value_detector(small(task)), dataset)
    metrics = evaluate(table, dataset.task, thresholds=dict.fromkeys(task.label_names, 0.5), resamples=20)
    write_evaluation_report(tmp_path / "out", table, dataset.task, metrics, dataset=dataset)
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert NO_DATASET not in page.text
    assert page.all("img")
    assert all(image["alt"] and image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))


def test_names_that_are_no_text_are_written_readably(table: PredictionTable, task: Task, tmp_path: Path) -> None:
    odd = msgspec.structs.replace(measured(table, task), warnings=("bad\udcff.dcm",), model={"name": "odd\udcff\x00"})
    write_evaluation_report(tmp_path, table, task, odd)
    assert "bad\\udcff.dcm" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_stays_small(folder: Path) -> None:
    assert (folder / "report.html").stat().st_size < 1_500_000
