"""The report of a prediction in a real browser, without a network: the viewer, narrow screens, dark mode, paper."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from browser import NEEDS_CHROMIUM, PHONE_PX, chromium
from dicom_files import write_series
from slicewise.imaging.windows import apply_channels
from slicewise.reporting.html import MOST_STUDIES, write_report
from slicewise.results import (
    Evidence,
    EvidenceMap,
    ModelSummary,
    Rejection,
    Results,
    SeriesResult,
    SliceResult,
    StudyResult,
    aggregate,
)
from slicewise.source import Source
from slicewise.task import Task, load_task
from slicewise.volume import ScanWarning

HOSTILE = (
    "</script><script>document.title='x'</script><!--<img src=http://x.example onerror=\"document.title='y'\">\u2028'"
)
BANDS = (-900.0, 20.0, 60.0, 150.0, 900.0)
"""HU of the upright bands of every slice; the slice index is added to the second."""
SLICES, FLAGGED, NO_PICTURE = 12, (3, 4, 9), 7
WITH_EVIDENCE = (3, 9)

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ich")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, task: Task) -> Results:
    """One study, whose every text is hostile; slice 9 is the most probable one, slice 7 cannot be read."""
    folder = tmp_path_factory.mktemp("scan")
    values = np.stack([np.repeat(np.array(BANDS, np.float32), 16)[None, :].repeat(80, axis=0)] * SLICES)
    values[:, :, 16:32] += np.arange(SLICES, dtype=np.float32)[:, None, None]
    files = write_series(folder, values=values, PatientName=HOSTILE[:60], SeriesDescription=HOSTILE[:60])
    files[NO_PICTURE].unlink()
    slices = tuple(_slice(index, task) for index in range(SLICES))
    series = SeriesResult(
        patient_id=HOSTILE,
        study_uid=HOSTILE,
        series_uid=HOSTILE,
        slices=slices,
        probabilities=aggregate([item.probabilities for item in slices], "max"),
        tilt_degrees=20.0,
        warnings=(ScanWarning("tilted", "Tilted by 20 degrees."), ScanWarning(HOSTILE, HOSTILE)),
    )
    sources = {item.sop_uid: Source(str(path), HOSTILE) for item, path in zip(slices, files, strict=True)}
    study = StudyResult(HOSTILE, HOSTILE, (series,), series.probabilities, series.warnings, sources)
    return Results(_model(task), (study,), (Rejection(HOSTILE, "unreadable", HOSTILE, HOSTILE),), "0")


def _slice(index: int, task: Task) -> SliceResult:
    raised = {task.label_names[0]: 0.5 + 0.01 * index} if index in FLAGGED else {}
    probabilities = dict.fromkeys(task.label_names, 0.1) | raised
    item = SliceResult(f"1.2.{index}", 1, HOSTILE, index, -20.0 + 5.0 * index, probabilities)
    if index not in WITH_EVIDENCE:
        return item
    name = task.label_names[0]
    found = (Evidence(name, 39.5, 34.5, 0.25, "map"),)
    # Rows 20 to 59 and columns 10 to 49 of 80: the middle of them speaks for the label.
    cells = np.zeros((4, 4), dtype=np.uint8)
    cells[1:3, 1:3] = 255
    picture = EvidenceMap(name, "map", 4, zlib.compress(cells.tobytes()), 19.5, 9.5, 59.5, 49.5)
    return msgspec.structs.replace(item, evidence=found, evidence_map=picture)


def _model(task: Task) -> ModelSummary:
    return ModelSummary(
        name="test-model",
        version="1",
        digest="0a" * 32,
        labels=task.label_names,
        displays=tuple(label.display for label in task.labels),
        any_label=task.label_names[0],
        thresholds=dict.fromkeys(task.label_names, 0.4),
        threshold_rule="by hand",
        study_rule="max",
        trained_on=HOSTILE,
        intended_use="tests",
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, results: Results, task: Task) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, results, task)
    return path.as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests, 1200 pixels wide: it takes seconds to start."""
    with chromium(tmp_path_factory.mktemp("profile"), "1200,1000") as driver:
        yield driver


@pytest.fixture
def browser(driver: webdriver.Chrome, page: str) -> webdriver.Chrome:
    """The browser as it was at first, with the page newly opened and its logs empty."""
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    driver.get("about:blank")
    logs: Any = driver  # they have no types
    for kind in ("browser", "performance"):
        logs.get_log(kind)
    driver.get(page)
    return driver


def find(browser: webdriver.Chrome, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def place(browser: webdriver.Chrome) -> int:
    """The slice that is shown, which slider, readout and profile must agree on."""
    at = int(str(find(browser, ".viewer input").get_property("value")))
    assert find(browser, ".slice-name").text == f"Slice index {at}"
    assert find(browser, ".slice-position").text == f"at {-20 + 5 * at:.1f} mm"
    profile = find(browser, "svg.profile")
    across = str(profile.get_attribute("data-places")).split()
    cursor = profile.find_element(By.CSS_SELECTOR, ".cursor")
    assert (cursor.get_attribute("x1"), cursor.get_attribute("x2")) == (str(float(across[at])).removesuffix(".0"),) * 2
    assert (find(browser, ".slice-verdict").text == "not flagged") == (at not in FLAGGED)
    return at


def wait_for_place(browser: webdriver.Chrome, wanted: int) -> None:
    WebDriverWait(browser, 2).until(lambda _: place(browser) == wanted)


def pixels(browser: webdriver.Chrome) -> list[int]:
    """The grey levels of the picture in the middle of every band, as soon as it is drawn."""
    script = (
        "const canvas = document.querySelector('canvas'), count = arguments[0];"
        "const row = canvas.getContext('2d').getImageData(0, canvas.height / 2, canvas.width, 1).data;"
        "return [...Array(count).keys()].map((band) => row[4 * Math.floor((band + 0.5) * canvas.width / count)]);"
    )
    found: list[int] = browser.execute_script(script, len(BANDS))
    return found


def expected(index: int, task: Task, window: int) -> list[float]:
    values = np.array(BANDS, dtype=np.float64)[None, :]
    values[0, 1] += index
    return [float(level) for level in 255 * apply_channels(values, task.channels)[window, 0]]


def wait_for_pixels(browser: webdriver.Chrome, wanted: list[float]) -> None:
    def match(_: object) -> bool:
        return pixels(browser) == pytest.approx(wanted, abs=6)

    WebDriverWait(browser, 5, poll_frequency=0.05).until(match, f"{pixels(browser)} is not {wanted}")


def test_keys_go_through_the_slices(browser: webdriver.Chrome) -> None:
    assert place(browser) == 9  # the most probable one
    for selector in (".viewer input", ".stage"):
        element = find(browser, selector)
        for keys, wanted in (
            ([Keys.HOME], 0),
            ([Keys.ARROW_DOWN], 0),
            ([Keys.ARROW_UP, Keys.ARROW_RIGHT], 2),
            ([Keys.PAGE_UP], 7),
            ([Keys.PAGE_UP], SLICES - 1),
            ([Keys.ARROW_LEFT], SLICES - 2),
            ([Keys.PAGE_DOWN], SLICES - 7),
            ([Keys.END], SLICES - 1),
        ):
            element.send_keys(*keys)
            assert place(browser) == wanted
    find(browser, ".viewer input").send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 4)
    assert find(browser, ".viewer input").get_attribute("aria-valuetext") == "Slice index 4 at 0.0 mm, flagged"


def test_the_wheel_goes_through_the_slices_and_the_page_stays(browser: webdriver.Chrome) -> None:
    stage = find(browser, ".stage")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    before = browser.execute_script("return window.scrollY")
    for turned, wanted in ((120, 8), (120, 7), (-120, 8), (30, 8), (30, 7)):
        ActionChains(browser).scroll_from_origin(ScrollOrigin.from_element(stage), 0, turned).perform()
        wait_for_place(browser, wanted)
    assert browser.execute_script("return window.scrollY") == before


def test_dragging_goes_through_the_slices(browser: webdriver.Chrome) -> None:
    stage = find(browser, ".stage")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    step = stage.size["width"] / SLICES
    for across, up, wanted in ((0, -3, 6), (2, 0, 8), (0, 9, 11), (-7, 0, 4), (0, -9, 0)):
        drag = ActionChains(browser).click_and_hold(stage)
        drag.move_by_offset(round(across * step * 0.52), round(-up * step * 0.52))
        drag.move_by_offset(round(across * step * 0.52), round(-up * step * 0.52)).release().perform()
        assert place(browser) == wanted
    ActionChains(browser).move_to_element(stage).move_by_offset(80, 0).perform()
    assert place(browser) == 0  # the button was let go


def test_a_finger_that_moves_across_goes_through_the_slices(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    stage = find(browser, ".stage")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", stage)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", stage)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for moved in (40, 80, 120):
        points = [{"x": x - moved, "y": y}]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
    browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert place(browser) == 9 - int(120 / (stage.size["width"] / SLICES))


def test_windows_change_what_the_picture_shows(browser: webdriver.Chrome, task: Task) -> None:
    buttons = browser.find_elements(By.CSS_SELECTOR, "[data-window]")
    assert [button.text for button in buttons] == ["Brain", "Subdural", "Bone"]
    wait_for_pixels(browser, expected(9, task, 0))
    for number in (1, 2, 0):
        buttons[number].click()
        wait_for_pixels(browser, expected(9, task, number))
        pressed = [button.get_attribute("aria-pressed") for button in buttons]
        assert pressed == ["true" if other == number else "false" for other in range(3)]
        assert find(browser, ".window-caption").text.startswith(f"{buttons[number].text} window, center ")
    find(browser, ".stage").send_keys(Keys.HOME)
    wait_for_pixels(browser, expected(0, task, 0))


def test_flagged_slices_are_reached_one_after_the_other(browser: webdriver.Chrome) -> None:
    for direction, places in ((1, (3, 4, 9)), (-1, (4, 3, 9))):
        for wanted in places:
            find(browser, f"[data-jump='{direction}']").click()
            assert place(browser) == wanted
    marks = browser.find_elements(By.CSS_SELECTOR, ".marks i")
    assert len(marks) == len(FLAGGED)
    thumb = browser.execute_script(
        "const box = arguments[0].getBoundingClientRect(); return box.x + 10 + (box.width - 20) * 9 / 11;",
        find(browser, ".viewer input"),
    )
    last = browser.execute_script("const box = arguments[0].getBoundingClientRect(); return box.x + 4;", marks[-1])
    assert last == pytest.approx(thumb, abs=1)


def test_the_profile_leads_to_a_slice(browser: webdriver.Chrome) -> None:
    profile = find(browser, "svg.profile")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", profile)
    left, width = browser.execute_script(
        "const box = arguments[0].getBoundingClientRect(); return [box.width / 2, box.width]", profile
    )
    across = [float(x) for x in str(profile.get_attribute("data-places")).split()]
    for wanted in (2, 10):
        offset = across[wanted] / 960 * width - left
        ActionChains(browser).move_to_element_with_offset(profile, round(offset), 0).click().perform()
        assert place(browser) == wanted
    ActionChains(browser).move_to_element_with_offset(profile, round(20 - left), 0).click().perform()
    assert place(browser) == 10  # the names of the labels are no place


def test_the_probabilities_stand_beside_the_picture_and_are_read_out(browser: webdriver.Chrome, task: Task) -> None:
    values = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, ".viewer .value")]
    assert values == ["▲ 0.590", *["0.100"] * 5]
    live = find(browser, ".viewer [aria-live=polite]")
    find(browser, ".stage").send_keys(Keys.ARROW_DOWN)
    wanted = "Slice index 8 at 20.0 mm. " + "; ".join(f"{label.display} 0.100" for label in task.labels) + "."
    WebDriverWait(browser, 3).until(lambda _: live.get_property("textContent") == wanted)


def test_a_slice_without_a_picture_says_why(browser: webdriver.Chrome) -> None:
    find(browser, ".stage").send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert place(browser) == NO_PICTURE
    problem = find(browser, ".stage .problem")
    assert problem.text.startswith("No picture of this slice. ")
    assert "cannot be opened" in problem.text
    assert not find(browser, "canvas").is_displayed()
    find(browser, ".stage").send_keys(Keys.ARROW_UP)
    assert not problem.is_displayed()
    assert find(browser, "canvas").is_displayed()


def test_controls_are_reached_by_the_tabulator_and_named(browser: webdriver.Chrome) -> None:
    browser.execute_script("document.querySelector('[data-window]').focus()")
    names = []
    for _ in range(7):
        active = browser.switch_to.active_element
        names.append(active.accessible_name)
        width = browser.execute_script("return getComputedStyle(arguments[0]).outlineWidth", active)
        assert width == "3px"
        active.send_keys(Keys.TAB)
    wanted = ["Brain", "Subdural", "Bone", "Image of the slice", "Slice, feet to head"]
    assert names == [*wanted, "Previous flagged", "Next flagged"]


def test_the_evidence_lies_over_its_place_and_is_switched_off_by_keys(browser: webdriver.Chrome) -> None:
    shown = browser.find_elements(By.CSS_SELECTOR, ".slices .evidence")
    assert len(shown) == 2 * len(WITH_EVIDENCE)
    script = """
        const outer = arguments[0].parentElement.getBoundingClientRect(), inner = arguments[0].getBoundingClientRect();
        return [(inner.top - outer.top) / outer.height, (inner.left - outer.left) / outer.width,
                inner.height / outer.height, inner.width / outer.width];
    """
    for item in shown:
        assert browser.execute_script(script, item) == pytest.approx([0.25, 0.125, 0.5, 0.5], abs=0.005)
    switch, texts = find(browser, ".evidence-switch"), browser.find_elements(By.CSS_SELECTOR, ".evidence-peak")
    assert switch.accessible_name == "Show where the evidence lies"
    assert [item.text.partition(", most")[2] for item in texts] == [
        " at row 40, column 34; the network takes 25 % of that place to be filled"
    ] * len(WITH_EVIDENCE)
    assert (
        f"2 of {len(FLAGGED)} flagged slices: index 3, 9"
        in find(browser, ".slices").find_element(By.XPATH, "preceding-sibling::p[1]").text
    )
    for displayed in (True, False, True):
        assert all(item.is_displayed() == displayed for item in (*shown, *texts))
        switch.send_keys(Keys.SPACE)


def test_nothing_is_loaded_and_nothing_fails(browser: webdriver.Chrome, page: str) -> None:
    find(browser, ".stage").send_keys(Keys.HOME, *[Keys.ARROW_UP] * SLICES)
    driver: Any = browser  # its logs have no types
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    # The start page of the browser, where it comes first, has a document of its own.
    urls = [request["request"]["url"] for request in sent if request["documentURL"] == page]
    assert [url for url in urls if not url.startswith("data:")] == [page]
    assert driver.get_log("browser") == []
    assert browser.title.endswith("slicewise report")  # what hostile texts would have changed
    assert find(browser, ".slice-origin").text.startswith("</script>")


def test_a_phone_scrolls_in_one_direction_only(browser: webdriver.Chrome) -> None:
    metrics = {"width": PHONE_PX, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_script("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") == PHONE_PX
    assert browser.execute_script("return window.innerWidth") == PHONE_PX
    assert find(browser, ".stage").size["width"] > 300


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_marks_stand_out(browser: webdriver.Chrome, scheme: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )

    def luminance(name: str) -> float:
        script = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim()"
        colour = browser.execute_script(script, name).removeprefix("#")
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        parts = np.array([int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(text: str, ground: str) -> float:
        low, high = sorted([luminance(text), luminance(ground)])
        return (high + 0.05) / (low + 0.05)

    for text in ("--ink", "--muted", "--accent", "--mark"):
        assert contrast(text, "--paper") >= 4.5
    for text in ("--caution", "--ink", "--muted"):
        assert contrast(text, "--caution-panel") >= 4.5
    assert contrast("--ink", "--panel") >= 4.5


def test_paper_shows_the_flagged_slices_and_no_viewer(browser: webdriver.Chrome) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not find(browser, ".viewer").is_displayed()
    assert not find(browser, ".profile .cursor").is_displayed()
    assert all(image.is_displayed() for image in browser.find_elements(By.CSS_SELECTOR, ".slices img"))
    assert "Scroll through the slices" not in find(browser, "main").text


def test_without_scripts_the_flagged_slices_are_there(browser: webdriver.Chrome, page: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page)
    assert "Scrolling needs JavaScript" in find(browser, "noscript").text
    assert not find(browser, ".viewer").is_displayed()
    assert not find(browser, ".profile .cursor").is_displayed()
    assert len(browser.find_elements(By.CSS_SELECTOR, ".slices img:not(.evidence)")) == 2 * len(FLAGGED)
    find(browser, ".evidence-switch").send_keys(Keys.SPACE)
    assert not any(item.is_displayed() for item in browser.find_elements(By.CSS_SELECTOR, ".slices .evidence"))


def test_the_worklist_leads_to_every_study_and_back(
    browser: webdriver.Chrome, tmp_path: Path, results: Results, task: Task
) -> None:
    path = tmp_path / "many" / "report.html"
    studies = results.studies * (MOST_STUDIES + 1)
    write_report(path, msgspec.structs.replace(results, studies=studies), task)
    browser.get(path.as_uri())
    metrics = {"width": PHONE_PX, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return document.documentElement.scrollWidth") == PHONE_PX
    browser.find_elements(By.CSS_SELECTOR, ".worklist a")[1].click()
    assert browser.current_url == (path.parent / "report" / "2.html").as_uri()
    assert place(browser) == 9
    browser.find_element(By.LINK_TEXT, "Less urgent study").click()
    assert browser.current_url.endswith("report/3.html")
    browser.find_element(By.LINK_TEXT, "Worklist").click()
    assert browser.current_url == path.as_uri()
    driver: Any = browser
    assert driver.get_log("browser") == []


def test_a_series_unlike_the_training_data_scrolls_without_marks(
    browser: webdriver.Chrome, tmp_path: Path, results: Results, task: Task
) -> None:
    (study,) = results.studies
    series = tuple(msgspec.structs.replace(item, unlike_training=True) for item in study.series)
    odd = msgspec.structs.replace(results, studies=(msgspec.structs.replace(study, series=series),))
    write_report(tmp_path / "report.html", odd, task)
    browser.get((tmp_path / "report.html").as_uri())
    slider = find(browser, ".viewer input")
    at = int(str(slider.get_property("value")))
    slider.send_keys(Keys.ARROW_LEFT)
    assert find(browser, ".slice-name").text == f"Slice index {at - 1}"
    assert not browser.find_elements(By.CSS_SELECTOR, "svg.profile")
    assert "do not rely on these probabilities" in find(browser, ".lead.unlike").text
    assert "▲" not in find(browser, ".viewer").text
    assert find(browser, ".slice-verdict").text == "not judged"
    logs: Any = browser
    assert logs.get_log("browser") == []
