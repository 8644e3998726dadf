import time
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from test_report import EVIL, SCHEMAS, SPEC, compared, figure, model, pooled, row
from withstand.steps.report import write_report
from withstand.steps.tabulate import write_table

BROWSER, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(
    not (BROWSER.exists() and DRIVER.exists()),
    reason=f"no {BROWSER} with {DRIVER}: the report is not opened in a browser",
)
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of a study of seventy models, one of which has a script for a label."""
    folder = tmp_path_factory.mktemp("study")
    names = ["vit", "cnn", *(f"m{number:02d}" for number in range(68))]
    found = {
        "models": [model(name, parameters=10**6 * (number + 1)) for number, name in enumerate(names)],
        "accuracy": [row(name, 0.9 - number / 100) for number, name in enumerate(names)]
        + [pooled(name, 0.6 - number / 200) for number, name in enumerate(names)]
        + [
            row(name, 0.5, family="natural", corruption=f"a_long_corruption_{number}", severity=None, n=600)
            for name in names
            for number in range(15)
        ],
        "comparisons": [compared("vit", "cnn", 0.032)],
    }
    files = []
    for name, rows in found.items():
        files.append(folder / "tables" / f"{name}.parquet")
        write_table(pd.DataFrame(rows), SCHEMAS[name], files[-1])
    (folder / "figures").mkdir()
    figure(folder / "figures", "clean_against_corrupted-test", "model,corrupted_value\nvit,0.632\ncnn,0.6\n")
    figure(folder / "figures", "samples-test", "sample_id,class\n1,disk\n")
    spec = SPEC | {"models": {"vit": {"label": "ViT/8"}, "cnn": {"label": EVIL}}}
    write_report(spec, files, sorted((folder / "figures").glob("*.svg")), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service(str(DRIVER)), options=options)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium, page):
    """The page in a browser that is cut off from all networks, at the size of a desktop, in light mode."""
    chromium.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    chromium.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    _resize(chromium, *DESKTOP)
    _prefer(chromium, "light")
    chromium.get(page.as_uri())
    return chromium


def _resize(driver, width, height):
    sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)


def _prefer(driver, scheme):
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


def _started(driver, name):
    """A table, once it sorts and filters."""
    table = driver.find_element(By.CSS_SELECTOR, f"#table-{name} table")
    driver.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", table)
    WebDriverWait(driver, 20).until(lambda _: table.find_elements(By.CSS_SELECTOR, "th.dt-orderable-asc"))
    return table


def _rows(table):
    return [line.text.split("\n")[0].split(" ")[0] for line in table.find_elements(By.CSS_SELECTOR, "tbody th")]


def test_it_renders_without_a_complaint(browser):
    for name in ("glance", "comparisons", "weights"):
        _started(browser, name)
    assert browser.title == "What 70 image classifiers withstand – study small"  # noqa: RUF001
    assert browser.find_element(By.TAG_NAME, "h1").is_displayed()
    assert browser.find_element(By.ID, "answer").is_displayed()
    assert browser.get_log("browser") == []
    assert (
        browser.execute_script(
            "return performance.getEntriesByType('resource').filter(e => !/^(data|blob):/.test(e.name)).length"
        )
        == 0
    )


def test_a_script_in_a_label_is_text(browser):
    cells = browser.find_elements(By.CSS_SELECTOR, "#table-comparisons td")
    assert cells[0].text == EVIL
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2


def test_tables_sort_by_number_on_click_and_by_keyboard(browser):
    table = _started(browser, "glance")
    heading = next(
        each for each in table.find_elements(By.CSS_SELECTOR, "thead th") if each.text.startswith("test set, corrupted")
    )
    heading.click()
    _sorted(browser, heading, "ascending")
    assert _rows(table)[:2] == ["m67", "m66"]
    heading.find_element(By.CSS_SELECTOR, "[role=button]").send_keys(Keys.ENTER)
    _sorted(browser, heading, "descending")
    assert _rows(table)[0] == "ViT/8"


def _sorted(driver, heading, order):
    WebDriverWait(driver, 10).until(lambda _: heading.get_attribute("aria-sort") == order, f"not {order}")


def test_tables_filter_and_have_pages_where_they_are_long(browser):
    table = _started(browser, "glance")
    assert len(_rows(table)) == 25
    field = browser.find_element(By.CSS_SELECTOR, "#table-glance input[type=search]")
    field.send_keys("m33")
    assert _rows(table) == ["m33"]
    field.send_keys("nothing")
    assert table.find_element(By.TAG_NAME, "tbody").text == "No row has this text."


def test_intervals_are_shown_on_demand(browser):
    small = browser.find_element(By.CSS_SELECTOR, "#table-corruptions-0 td small")
    assert not small.is_displayed()
    _started(browser, "corruptions-0")
    browser.find_element(By.CSS_SELECTOR, "#table-corruptions-0 .intervals input").click()
    assert browser.find_element(By.CSS_SELECTOR, "#table-corruptions-0 td small").is_displayed()


def test_pictures_are_there_and_have_alternatives(browser):
    pictures = browser.find_elements(By.TAG_NAME, "img")
    assert len(pictures) == 2
    for picture in pictures:
        assert picture.get_attribute("alt").strip()
        browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", picture)
        WebDriverWait(browser, 10).until(
            lambda driver, found=picture: driver.execute_script("return arguments[0].naturalWidth > 0", found)
        )


def test_a_phone_scrolls_down_only(browser):
    _resize(browser, *PHONE)
    _started(browser, "corruptions-0")
    browser.execute_script(
        "document.querySelectorAll('.intervals input').forEach(each => each.checked || each.click())"
    )
    width, seen = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert (width, seen) == (PHONE[0], PHONE[0])
    box = browser.find_element(By.CSS_SELECTOR, "#table-corruptions-0 .dt-layout-table")
    assert browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", box)


def test_dark_mode_changes_colours(browser):
    def colours():
        script = "let style = getComputedStyle(document.body); return [style.backgroundColor, style.color]"
        return browser.execute_script(script)

    light = colours()
    _prefer(browser, "dark")
    dark = colours()
    assert _lightness(light[0]) > _lightness(light[1]) + 0.7
    assert _lightness(dark[1]) > _lightness(dark[0]) + 0.7


def _lightness(color):
    """Mean of the channels of 'rgb(r, g, b)', 0 to 1."""
    channels = [float(part) for part in color.split("(")[1].rstrip(")").split(",")[:3]]
    return sum(channels) / 3 / 255


def test_headings_and_landmarks_are_in_order(browser):
    levels = [int(each.tag_name[1]) for each in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4")]
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    links = [each.get_attribute("href").split("#")[1] for each in browser.find_elements(By.CSS_SELECTOR, "nav a")]
    assert links
    assert all(browser.find_elements(By.ID, name) for name in links)


def test_it_opens_in_a_second(browser, page):
    browser.get("about:blank")
    started = time.perf_counter()
    browser.get(page.as_uri())
    assert browser.execute_script("return performance.getEntriesByType('navigation')[0].loadEventEnd") < 1000
    assert time.perf_counter() - started < 5


def test_without_scripts_tables_are_whole(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        assert len(browser.find_elements(By.CSS_SELECTOR, "#table-glance tbody tr")) == 70
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
