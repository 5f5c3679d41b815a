# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: what it shows of a server that works, changes, and goes away."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.makalu.serve.live import Live, infer, models, serving, until

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs a browser: apt-get install chromium chromium-driver")

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--window-size=1400,1200")

CHARTS = ("Utilization", "Queue", "Cycles", "Requests by model", "Requests by tenant",
          "Failed requests")


class Page:
    """The page, as somebody who looks at it finds things."""

    def __init__(self, driver: webdriver.Chrome):
        self.driver = driver

    def text(self, css: str) -> str:
        """What is to be read there; the page draws it anew every second."""
        return self.driver.execute_script(
            "return document.querySelector(arguments[0])?.innerText ?? ''", css).strip()

    def row(self, table: str, name: str) -> dict[str, str]:
        """A row of a table by its headings."""
        cells = self.driver.execute_script("""
            const t = document.getElementById(arguments[0]);
            const row = [...t.querySelectorAll("tbody tr")].find(
                (r) => r.firstChild.innerText === arguments[1]);
            return [t.querySelectorAll("thead th"), row ? row.children : []].map(
                (cells) => [...cells].map((c) => c.innerText));""", table, name)
        return dict(zip(*cells))

    def chart(self, title: str) -> tuple[str, list[str]]:
        """What a chart says of itself, and the paths of its lines."""
        return self.driver.execute_script("""
            const card = [...document.querySelectorAll(".charts section")].find(
                (c) => c.querySelector("h3").innerText === arguments[0]);
            return [card.querySelector("svg").getAttribute("aria-label"),
                    [...card.querySelectorAll(".line")].map((p) => p.getAttribute("d"))];""", title)

    def tile(self, name: str) -> str:
        tiles = self.driver.execute_script("""
            return [...document.querySelectorAll("#tiles > *")].map(
                (t) => [...t.children].map((c) => c.innerText));""")
        return dict(tiles)[name]

    def errors(self) -> list[dict[str, Any]]:
        """What the browser complains of, since the last time."""
        return [e for e in self.driver.get_log("browser")
                if e["level"] in ("SEVERE", "WARNING")]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield Page(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models(tmp_path_factory.mktemp("models"))


@contextlib.contextmanager
def load(live: Live, model: str, token: str = "") -> Iterator[None]:
    """Requests, one after the other."""
    stop = threading.Event()

    def ask() -> None:
        with live.client(token) as client:
            while not stop.is_set():
                infer(client, model)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def number(text: str) -> float:
    value, _, unit = text.replace(",", "").partition(" ")
    return float(value) * {"": 1, "k": 1e3, "M": 1e6, "%": 0.01}[unit]


def test_what_a_server_does_is_seen_while_it_does_it(folder: Path, page: Page) -> None:
    with serving(folder) as live, live.client() as client:
        page.driver.get(live.url)
        until(lambda: page.text("#state") == "ready")
        assert page.tile("Cores ready") == "1 of 1"
        until(lambda: page.tile("Requests a second") == "0")
        assert page.row("models", "double")["State"] == "ready"
        assert "µs for 4" in page.row("models", "double")["Device time of a batch"]
        assert [page.chart(title)[0].partition(",")[0] for title in CHARTS] == list(CHARTS)

        with load(live, "double"):      # numbers and lines move
            until(lambda: number(page.tile("Requests a second")) > 3)
            said, (double, triple) = page.chart("Requests by model")
            assert "double" in said and "triple 0" in said and double != triple
            until(lambda: page.chart("Requests by model")[1][0] != double)
            until(lambda: number(page.tile("Utilization")) > 0)
            assert number(page.tile("Cycles a second")) > 100
            assert "default 0" not in page.chart("Requests by tenant")[0]
        state = client.get("/makalu/status").json()
        answered = state["models"][0]["answered"]
        until(lambda: number(page.row("models", "double")["Answered"]) == answered)
        assert page.row("leases", "default-1")["Answered"] == f"{answered:,}"
        until(lambda: page.tile("Requests a second") == "0")

        client.patch("/makalu/leases/default-1", json={"share": 3, "rate": 50.5, "priority": -2})
        until(lambda: page.row("leases", "default-1")["Share"] == "3")
        lease = page.row("leases", "default-1")
        assert (lease["Rate, elements/s"], lease["Priority"]) == ("50.5", "-2")
        client.post("/makalu/leases", json={})
        until(lambda: page.row("leases", "default-2").get("Rate, elements/s") == "none")

        for _ in range(3):
            assert infer(client, outputs=[{"name": "q"}]).status_code == 400
        until(lambda: page.row("models", "double")["Failed"] == "3")

        os.kill(state["devices"][0]["cores"][0]["pid"], signal.SIGKILL)
        until(lambda: "1 restart" in page.row("devices", "golden0")["Cores"])
        until(lambda: page.text("#state") == "ready")
        assert page.errors() == []
    assert "refused" not in {line["event"] for line in live.lines}


def test_values_of_earlier_by_the_keyboard(folder: Path, page: Page) -> None:
    with serving(folder) as live:
        page.driver.get(live.url)
        with load(live, "double"):
            until(lambda: len(page.chart("Cycles")[1]) == 1
                  and page.chart("Cycles")[1][0].count("L") > 4)
        until(lambda: page.tile("Cycles a second") == "0")
        page.driver.find_elements(By.CSS_SELECTOR, ".charts svg")[2].send_keys(
            Keys.ARROW_LEFT, *[Keys.ARROW_LEFT] * 4)
        said = page.chart("Cycles")[0]
        assert "golden0 0" not in said and "golden0 " in said
        assert page.driver.find_elements(By.CSS_SELECTOR, ".charts .cross")
        assert page.errors() == []


def test_a_token_is_asked_for_and_kept_in_the_tab(folder: Path, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "tenants.json"
    path.write_text(json.dumps({"tenants": [
        {"name": "vision", "token_sha256": hashlib.sha256(b"secret").hexdigest()}]}))
    with serving(folder, "--tenants", path) as live:
        page.driver.get(live.url)
        until(lambda: page.text("#ask h3") == "This server wants a token")
        field = page.driver.find_element(By.ID, "token")
        field.send_keys("wrong", Keys.ENTER)
        until(lambda: "nobody has this token" in page.text("#refused"))
        assert not page.driver.find_element(By.TAG_NAME, "main").is_displayed()
        field.send_keys("secret", Keys.ENTER)
        until(lambda: page.text("#state") == "ready")
        assert "as tenant vision" in page.text("#who") and page.row("leases", "vision-1")
        page.driver.refresh()
        until(lambda: page.text("#state") == "ready")
        page.driver.switch_to.new_window("tab")
        page.driver.get(live.url + "/makalu")
        until(lambda: page.text("#ask h3") == "This server wants a token")
        assert "secret" not in page.driver.page_source
        assert all("401" in e["message"] for e in page.errors())


def test_a_server_that_goes_away_is_said_and_found_again(folder: Path, page: Page) -> None:
    with serving(folder) as live:
        port = live.http
        page.driver.get(live.url)
        until(lambda: page.text("#state") == "ready" and page.chart("Cycles")[1])
    until(lambda: page.text("#state") == "not there")
    assert "The server does not answer. It is asked again every second" in page.text("#trouble")
    with serving(folder, "--port", port):
        until(lambda: page.text("#state") == "ready" and page.text("#trouble") == "")
        until(lambda: page.chart("Cycles")[1] and page.chart("Cycles")[1][0].count("M") == 2)
    assert all("ERR_CONNECTION_REFUSED" in e["message"] or "ERR_EMPTY" in e["message"]
               for e in page.errors())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_nothing_overflows(folder: Path, page: Page, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for every text; a narrow screen does not scroll sideways."""
    command = page.driver.execute_cdp_cmd
    command("Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    command("Emulation.setDeviceMetricsOverride",
            {"width": 400, "height": 900, "deviceScaleFactor": 1, "mobile": True})
    with serving(folder) as live:
        page.driver.get(live.url)
        until(lambda: page.text("#state") == "ready")
        poor = page.driver.execute_script("""
            const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).map((v) => v / 255).map(
                (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
            const under = (e) => { for (; e; e = e.parentElement) {
                const c = getComputedStyle(e).backgroundColor;
                if (!c.endsWith(", 0)")) return c; } };
            const found = [];
            for (const e of document.querySelectorAll("body *")) {
                const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
                if (!own || !e.checkVisibility() || e.closest("script, style")) continue;
                const style = getComputedStyle(e);
                const color = e.closest("svg") ? style.fill : style.color;
                const [a, b] = [light(color), light(under(e))];
                const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                if (ratio < 4.5) found.push(`${e.textContent}: ${ratio}`);
            }
            return found;""")
        assert poor == []
        width = page.driver.execute_script("return document.documentElement.scrollWidth")
        assert width <= 400
        assert page.errors() == []
