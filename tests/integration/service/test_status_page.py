"""The page at `/`, in a real browser."""

import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from sklearn.linear_model import LinearRegression

from fairlead_service.models.bundle import Identity
from fairlead_service.models.store import Store
from fairlead_service.observability.drift import prediction_reference, references
from tests.integration.service.conftest import PATIENCE, ServerProcess, StartServer
from tests.unit.service.support import FEATURES, RUN_A, RUN_B, X, tree, write_bundle
from tools import browser as chromium
from tools.browser import Browser
from tools.localcluster.controlplane import free_port
from tools.localcluster.paths import LocalClusterError

HOSTILE = "<script>document.title='mine'</script><img src=x onerror=\"document.title='mine'\">"
SCREENSHOTS = os.environ.get("FAIRLEAD_SCREENSHOTS")
"""A directory for pictures of the page, for people."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with contextlib.ExitStack() as stack:
        try:
            driver = stack.enter_context(chromium.opened())
        except LocalClusterError as error:
            pytest.skip(str(error))
        yield driver


@pytest.fixture
def said(browser: Browser) -> Iterator[None]:
    """Nothing is refused by the page's policy, and no script fails."""
    browser.get_log("browser")
    yield
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert [text for text in complaints if "Content Security Policy" in text or "Uncaught" in text] == []


@pytest.fixture(scope="module")
def predictor(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """A classifier of named columns, with drift, and with a name that is a script."""
    random = np.random.default_rng(0)
    training = random.normal(X.mean(axis=0), 1, size=(1000, 4))
    model = tree((training[:, 0] > X[:, 0].mean()) * 1, training)
    found = write_bundle(
        tmp_path_factory.mktemp("page") / "b",
        model,
        identity=Identity(run_id=RUN_A, model_uri=f"runs:/{RUN_A}/model", name=HOSTILE, version="7"),
        drift_reference=references(training),
        prediction_reference=prediction_reference(model.predict(training), (0, 1)),
    )
    return start_server(fairlead_role="predictor", fairlead_bundle_dir=found.directory, fairlead_drain_seconds=0)


def text(browser: Browser, name: str) -> str:
    found: str = browser.execute_script("return document.getElementById(arguments[0]).textContent", name)
    return found


def shown(browser: Browser, name: str) -> bool:
    return browser.find_element(By.ID, name).is_displayed()


def until(browser: Browser, what: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, PATIENCE, 0.1).until(lambda _: what())


def opened(browser: Browser, server: ServerProcess, state: str = "serving") -> None:
    browser.get(server.url)
    until(browser, lambda: text(browser, "state") == state)


def picture(browser: Browser, name: str, width: int = 1200, dark: bool = False) -> None:
    if SCREENSHOTS is None:
        return
    theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})
    chromium.photograph(browser, Path(SCREENSHOTS) / f"{name}.png", width)


def test_what_a_browser_may_do_with_it(predictor: ServerProcess) -> None:
    with predictor.client() as client:
        answer = client.get("/")
        assert client.head("/").status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert policy["connect-src"] == "'self'"
    assert "innerHTML" not in answer.text
    assert not [word for word in ("http://", "https://") if word in answer.text.replace("http://www.w3.org", "")]


@pytest.mark.usefixtures("said")
def test_a_predictor_with_drift(browser: Browser, predictor: ServerProcess) -> None:
    rows = np.random.default_rng(1).normal(X.mean(axis=0) + np.array([1.5, 0, 0, 0]), 1, size=(1600, 4))
    with predictor.client() as client:
        assert client.post("/predict", json={"features": rows.tolist()}).status_code == 200
        client.post("/predict", json={"features": [[1, 2]]})
    opened(browser, predictor)
    assert "predictor" in text(browser, "who")
    facts = text(browser, "model")
    assert HOSTILE in facts
    assert RUN_A in facts
    assert browser.title == "Fairlead"
    assert int(text(browser, "rows").replace(",", "")) >= 1600
    assert "422: " in text(browser, "statuses")
    assert FEATURES[0] in text(browser, "indices")
    assert "the predictions" in text(browser, "indices")
    assert "2 above 0.25" in text(browser, "drift-note")
    assert not shown(browser, "no-model")
    for name, width, dark in (
        ("predictor", 1200, False),
        ("predictor-dark", 1200, True),
        ("predictor-narrow", 380, False),
    ):
        picture(browser, name, width, dark)


@pytest.mark.usefixtures("said")
def test_a_prediction_by_keyboard_and_a_problem_with_its_place(browser: Browser, predictor: ServerProcess) -> None:
    opened(browser, predictor)
    field = browser.find_element(By.ID, "features")
    example = json.loads(field.get_attribute("value") or "")
    assert example == [dict(zip(FEATURES, row, strict=True)) for row in X[:2].tolist()]
    before = httpx.get(f"{predictor.url}/metrics/summary").json()["drift"]["sample_rows"]
    field.send_keys(Keys.TAB, Keys.ENTER)  # the next stop is the button
    until(browser, lambda: "by run" in text(browser, "answer"))
    assert "prediction" in text(browser, "answer")
    browser.find_element(By.ID, "probabilities").send_keys(Keys.SPACE)
    browser.find_element(By.CSS_SELECTOR, "#form button[type=submit]").send_keys(Keys.ENTER)
    until(browser, lambda: "P(1)" in text(browser, "answer"))
    picture(browser, "answer")
    assert httpx.get(f"{predictor.url}/metrics/summary").json()["drift"]["sample_rows"] == before
    field.clear()
    field.send_keys('[[1, 2, 3, 4], [1, 2, "x", 4]]')
    browser.find_element(By.CSS_SELECTOR, "#form button[type=submit]").click()
    until(browser, lambda: "row 1" in text(browser, "answer"))
    assert "column 2" in text(browser, "answer")
    picture(browser, "problem")
    field.clear()
    field.send_keys("[[1,")
    browser.find_element(By.CSS_SELECTOR, "#form button[type=submit]").click()
    until(browser, lambda: "no JSON" in text(browser, "answer"))
    browser.find_element(By.ID, "reset").click()
    assert json.loads(field.get_attribute("value") or "") == example
    assert text(browser, "answer") == ""


def test_everything_has_a_name_for_screen_readers(browser: Browser, predictor: ServerProcess) -> None:
    opened(browser, predictor)
    nameless = browser.execute_script(
        """return [...document.querySelectorAll("input, textarea, button, a, meter, nav, section")].filter((one) =>
             !(one.labels && one.labels.length) && !one.textContent.trim() && !one.getAttribute("aria-label")
             && !one.getAttribute("aria-labelledby")).map((one) => one.outerHTML)"""
    )
    assert nameless == []
    assert browser.execute_script("return document.documentElement.lang") == "en"
    for name in ("state", "answer"):
        assert browser.find_element(By.ID, name).get_attribute("aria-live") == "polite"
    wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    assert wide


def test_a_narrow_screen_needs_no_scrolling_sideways(browser: Browser, predictor: ServerProcess) -> None:
    screen = {"width": 340, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        opened(browser, predictor)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 340
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.usefixtures("said")
def test_an_api_without_a_model_says_what_to_do(browser: Browser, start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(fairlead_data_dir=tmp_path, fairlead_drain_seconds=0)
    opened(browser, server, "no model")
    assert shown(browser, "no-model")
    assert not shown(browser, "try")
    assert "no model is loaded" in text(browser, "no-drift")
    links = {link.get_attribute("href") for link in browser.find_elements(By.TAG_NAME, "a")}
    assert {f"{server.url}/docs", f"{server.url}/metrics"} <= links
    errors = httpx.get(f"{server.url}/metrics/summary").json()["errors"]
    assert errors["count"] == 0  # looking is no error
    picture(browser, "api-empty")
    picture(browser, "api-empty-narrow", 380, dark=True)


@pytest.mark.usefixtures("said")
def test_an_api_with_a_model(browser: Browser, start_server: StartServer, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(write_bundle(store.new_bundle(), tree(), run_id=RUN_B).directory)
    store.close()
    server = start_server(fairlead_data_dir=tmp_path, fairlead_drain_seconds=0)
    opened(browser, server)
    assert "api" in text(browser, "who")
    assert RUN_B in text(browser, "model")
    assert shown(browser, "try")
    picture(browser, "api")


@pytest.mark.usefixtures("said")
def test_a_regressor_without_names(browser: Browser, start_server: StartServer, tmp_path: Path) -> None:
    model = LinearRegression().fit(X, [0.1, 0.2, 0.3, 0.4])
    found = write_bundle(tmp_path / "b", model, run_id=RUN_B, feature_names=None, input_example=None)
    server = start_server(fairlead_role="predictor", fairlead_bundle_dir=found.directory, fairlead_drain_seconds=0)
    opened(browser, server)
    assert json.loads(browser.find_element(By.ID, "features").get_attribute("value") or "") == [[0, 0, 0, 0]]
    assert not shown(browser, "with-probabilities")
    assert "was not trained by Fairlead" in text(browser, "no-drift")
    browser.find_element(By.CSS_SELECTOR, "#form button[type=submit]").click()
    until(browser, lambda: RUN_B in text(browser, "answer"))
    picture(browser, "regressor")


def test_it_says_when_the_server_is_away_and_recovers(
    browser: Browser, start_server: StartServer, bundle: Path
) -> None:
    settings = {"fairlead_role": "predictor", "fairlead_bundle_dir": bundle, "fairlead_port": free_port()}
    server = start_server(**settings)
    opened(browser, server)
    server.process.kill()
    server.ended()
    until(browser, lambda: "does not answer" in text(browser, "state"))
    assert "trying again" in text(browser, "state")
    picture(browser, "away")
    again = start_server(**settings)
    until(browser, lambda: text(browser, "state") == "serving")
    again.process.send_signal(signal.SIGTERM)
    until(browser, lambda: text(browser, "state") == "leaving" or "does not answer" in text(browser, "state"))


def test_a_hidden_page_asks_for_nothing(browser: Browser, predictor: ServerProcess) -> None:
    opened(browser, predictor)
    with other_tab(browser):
        time.sleep(1)  # what was asked when it was hidden is answered
        before = polls(predictor)
        time.sleep(7)  # two of the page's turns
        assert polls(predictor) == before
    until(browser, lambda: polls(predictor) > before)


def polls(server: ServerProcess) -> float:
    """How often the figures were asked for."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith('http_requests_total{method="GET",path="/metrics/summary"')
    )


@contextlib.contextmanager
def other_tab(browser: Browser) -> Iterator[None]:
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    yield
    browser.close()
    browser.switch_to.window(first)


@pytest.mark.usefixtures("said")
def test_it_asks_for_a_key_where_one_is_needed(
    browser: Browser, start_server: StartServer, bundle: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    entry = {"name": "ada", "sha256": hashlib.sha256(b"fl_good").hexdigest(), "roles": ["predict"]}
    keys.write_text(json.dumps([entry]))
    server = start_server(fairlead_role="predictor", fairlead_bundle_dir=bundle, fairlead_api_keys_file=keys)
    opened(browser, server, "asks who you are")
    assert "kept for this tab" in text(browser, "asked")
    assert not shown(browser, "try")
    picture(browser, "status-asks")
    for wrong, said in (("fl_bad", "Not taken"), ("two words", "one word")):
        enter(browser, wrong)
        until(browser, lambda said=said: said in text(browser, "asked"))  # type: ignore[misc]
    enter(browser, "fl_good")
    until(browser, lambda: text(browser, "state") == "serving")
    assert not shown(browser, "ask")
    until(browser, lambda: shown(browser, "try"))
    browser.find_element(By.CSS_SELECTOR, "#form button[type=submit]").click()
    until(browser, lambda: RUN_A in text(browser, "answer"))
    browser.refresh()
    until(browser, lambda: text(browser, "state") == "serving")
    browser.execute_script("sessionStorage.clear()")


def enter(browser: Browser, credential: str) -> None:
    field = browser.find_element(By.ID, "credential")
    field.clear()
    field.send_keys(credential, Keys.ENTER)
