"""The evaluation page in a real browser, without a network: the explorer, narrow screens, dark mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from browser import NEEDS_CHROMIUM, PHONE_PX, chromium
from evaluated import SLICES, measured, simulated_table
from slicewise.evaluation.predictions import PredictionTable
from slicewise.reporting.evaluation_page import write_evaluation_report
from slicewise.task import Task, load_task

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ich")


@pytest.fixture(scope="module")
def table(task: Task) -> PredictionTable:
    simulated = simulated_table(task, noise=2.0)
    # A name without any place to break a line, as UIDs are.
    return replace(simulated, study_uids=tuple("1.2.840." * 8 + name for name in simulated.study_uids))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, table: PredictionTable, task: Task) -> str:
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation_report(folder, table, task, measured(table, task))
    return (folder / "report.html").as_uri()


@pytest.fixture
def browser(tmp_path: Path, page: str) -> Iterator[webdriver.Chrome]:
    """The page in a browser of its own, 1200 pixels wide."""
    with chromium(tmp_path / "profile", "1200,900") as driver:
        driver.get(page)
        yield driver


def text(browser: webdriver.Chrome, name: str) -> str:
    return browser.find_element(By.ID, f"explorer-{name}").text


def content(browser: webdriver.Chrome, name: str, of: str = "value") -> str:
    return str(browser.find_element(By.ID, f"explorer-{name}").get_property(of))


def threshold(browser: webdriver.Chrome, label: int = 0, level: str = "slice") -> float:
    """The threshold at the place of the slider, from the data of the page."""
    place = int(content(browser, "slider"))
    data = json.loads(content(browser, "data", "textContent"))
    return float(data["labels"][label]["levels"][level]["thresholds"][place])


def expected(values: Any, targets: Any, at: float, prevalence: float, rows_a_day: float) -> dict[str, str]:
    """What the explorer must show, worked out from the rows themselves."""
    positive, negative = values[targets == 1], values[targets == 0]
    sensitivity, specificity = np.mean(positive >= at), np.mean(negative < at)
    flagged = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    cleared = 1 - flagged
    false = (1 - specificity) * (1 - prevalence)
    return {
        "sensitivity": f"{sensitivity:.3f}",
        "specificity": f"{specificity:.3f}",
        "ppv": f"{sensitivity * prevalence / flagged:.3f}" if flagged > 0 else "not defined",
        "npv": f"{specificity * (1 - prevalence) / cleared:.3f}" if cleared > 0 else "not defined",
        "alarms": f"{_rate(rows_a_day * flagged)}, of which false: {_rate(rows_a_day * false)}",
        "true-positives": str(int((positive >= at).sum())),
        "false-positives": str(int((negative >= at).sum())),
        "false-negatives": str(int((positive < at).sum())),
        "true-negatives": str(int((negative < at).sum())),
    }


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def shown(browser: webdriver.Chrome, names: dict[str, str]) -> dict[str, str]:
    return {name: text(browser, name) for name in names}


def type_into(browser: webdriver.Chrome, name: str, value: str) -> None:
    element = browser.find_element(By.ID, f"explorer-{name}")
    element.clear()
    element.send_keys(value)


def test_the_slider_moves_by_keys_and_the_numbers_follow(browser: webdriver.Chrome, table: PredictionTable) -> None:
    assert text(browser, "threshold") == "0.3 (Threshold of the model)"
    values, targets = table.probabilities[:, 0].astype(np.float64), table.targets[:, 0]
    type_into(browser, "prevalence", "5")
    type_into(browser, "studies", "40")
    slider = browser.find_element(By.ID, "explorer-slider")
    seen = set()
    for keys in ([], [Keys.ARROW_RIGHT], [Keys.ARROW_LEFT] * 40, [Keys.HOME], [Keys.END], [Keys.PAGE_DOWN]):
        if keys:
            slider.send_keys(*keys)
        at = threshold(browser)
        wanted = expected(values, targets, at, 0.05, 40 * SLICES)
        assert shown(browser, wanted) == wanted
        assert slider.get_attribute("aria-valuetext") == f"{at:.6g}"
        seen.add(at)
    assert len(seen) == 6


def test_label_and_level_can_be_chosen(browser: webdriver.Chrome, table: PredictionTable, task: Task) -> None:
    Select(browser.find_element(By.ID, "explorer-label")).select_by_visible_text(task.labels[-1].display)
    Select(browser.find_element(By.ID, "explorer-level")).select_by_visible_text("Studies")
    rows, index = table.studies(task), len(task.labels) - 1
    values, targets = rows.probabilities[:, index].astype(np.float64), rows.targets[:, index]
    share = np.mean(targets[targets >= 0] == 1)
    prevalence = content(browser, "prevalence")
    assert prevalence == f"{100 * share:.2f}"
    at = threshold(browser, index, "study")
    assert at == 0.3
    wanted = expected(values, targets, at, float(prevalence) / 100, 100)
    assert shown(browser, wanted) == wanted
    assert text(browser, "rows") == "studies"


def test_what_is_no_number_is_told(browser: webdriver.Chrome) -> None:
    type_into(browser, "prevalence", "150")
    assert browser.find_element(By.ID, "explorer-prevalence").get_attribute("aria-invalid") == "true"
    assert (text(browser, "ppv"), text(browser, "alarms")) == ("not defined", "not defined")
    assert text(browser, "sensitivity") != "not defined"
    type_into(browser, "prevalence", "50")
    assert browser.find_element(By.ID, "explorer-prevalence").get_attribute("aria-invalid") == "false"
    assert text(browser, "ppv") != "not defined"


def test_the_controls_are_reached_by_the_tabulator_and_named(browser: webdriver.Chrome) -> None:
    names = ("label", "level", "prevalence", "studies", "slider")
    element = browser.find_element(By.ID, "explorer-label")
    browser.execute_script("arguments[0].focus()", element)
    for name in names:
        active = browser.switch_to.active_element
        assert active.get_attribute("id") == f"explorer-{name}"
        assert active.accessible_name
        active.send_keys(Keys.TAB)
    live = browser.find_element(By.CSS_SELECTOR, "#explorer-form [aria-live=polite]")
    assert text(browser, "ppv") in live.text


def test_nothing_is_loaded_and_nothing_fails(browser: webdriver.Chrome, page: str) -> None:
    driver: Any = browser  # its logs have no types
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    # The start page of the browser, where it comes first, has a document of its own.
    urls = [request["request"]["url"] for request in sent if request["documentURL"] == page]
    assert [url for url in urls if not url.startswith("data:")] == [page]
    assert driver.get_log("browser") == []
    assert browser.title.endswith("slicewise evaluation")  # what hostile names would have changed


def test_a_phone_scrolls_in_one_direction_only(browser: webdriver.Chrome) -> None:
    metrics = {"width": PHONE_PX, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_script("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") == PHONE_PX
    assert browser.execute_script("return window.innerWidth") == PHONE_PX


def test_dark_mode_reaches_the_figures(browser: webdriver.Chrome) -> None:
    script = (
        "const fill = (selector) => getComputedStyle(document.querySelector(selector)).fill;"
        "return [getComputedStyle(document.body).backgroundColor, fill('.figure svg text'), fill('.profile text')]"
    )
    found = {}
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        found[scheme] = browser.execute_script(script)
    assert found["light"][0] == "rgb(255, 255, 255)"
    assert all(light != dark for light, dark in zip(found["light"], found["dark"], strict=True))


def test_without_scripts_the_page_points_to_the_tables(browser: webdriver.Chrome, page: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page)
    assert "The explorer needs JavaScript" in browser.find_element(By.TAG_NAME, "noscript").text
    assert not browser.find_element(By.ID, "explorer-form").is_displayed()
