"""Debian's Chromium, headless."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1400,900",
)  # fmt: skip
SECONDS = 40
# In every page and frame, before its own scripts: when it was first drawn with all that it has asked for.
DRAWN = """
addEventListener("DOMContentLoaded", () => new MutationObserver((_, seen) => {
  if (!document.querySelector("main[aria-busy=false]")) return;
  seen.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.drawn = performance.now(); }));
}).observe(document.documentElement, { subtree: true, attributes: true }));
"""
COST = """
const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
const sum = (name) => all.reduce((total, entry) => total + entry[name], 0);
return { seconds: window.drawn / 1000, requests: all.length, bytes: sum("transferSize"),
  unpacked: sum("decodedBodySize"), elements: document.getElementsByTagName("*").length };
"""
# To the end and back, as fast as frames come; the seconds that each frame took.
SCROLL = """
const done = arguments[0], frames = [], root = document.scrollingElement;
const most = root.scrollHeight - innerHeight;
let last = performance.now(), n = 0;
requestAnimationFrame(function next(now) {
  frames.push((now - last) / 1000);
  last = now;
  if (n++ > 120) return done(frames.slice(1));
  root.scrollTop = most * (1 - Math.abs(n - 60) / 60);
  requestAnimationFrame(next);
});
"""


class Browser:
    """A browser with a profile of its own."""

    def __init__(self, binary: str, driver: str) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="taxiway-browser-")
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for option in (*OPTIONS, f"--user-data-dir={self._profile.name}"):
            options.add_argument(option)
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))

    @classmethod
    def installed(cls) -> Self:
        """The machine's Chromium; the test is skipped if there is none."""
        binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if not binary or not driver:
            pytest.skip("there is no browser: apt-get install chromium chromium-driver")
        return cls(binary, driver)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.driver.quit()
        self._profile.cleanup()

    def sign_in(self, url: str, user: str, password: str) -> None:
        """Through Airflow's own form."""
        self.driver.get(url)
        self._wait_for(lambda: self.driver.find_elements(By.NAME, "username"))
        self.driver.find_element(By.NAME, "username").send_keys(user)
        self.driver.find_element(By.NAME, "password").send_keys(password)
        self.driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        self._wait_for(lambda: "login" not in self.driver.current_url)

    def text_of(self, url: str, expected: str) -> str:
        """What a page shows once it shows `expected`."""
        self.driver.get(url)
        self._wait_for(lambda: expected in self.text())
        time.sleep(1)
        return self.text()

    def open_documentation(self) -> None:
        """The DAG's doc_md, behind the book in its header."""
        self.driver.find_element(
            By.CSS_SELECTOR, "[aria-label='Dag Docs'], [aria-label='Documentation']"
        ).click()
        self._wait_for(lambda: self.driver.find_elements(By.CSS_SELECTOR, "[role=dialog]"))
        time.sleep(1)

    def open_frame(self, url: str, ready: str) -> None:
        """A page that Airflow shows in a frame, and go into it once it has what `ready` selects."""
        self.driver.get(url)
        self.driver.switch_to.default_content()
        self._wait_for(lambda: self.driver.find_elements(By.TAG_NAME, "iframe"))
        self.driver.switch_to.frame(self.driver.find_element(By.TAG_NAME, "iframe"))
        self._wait_for(lambda: self.driver.find_elements(By.CSS_SELECTOR, ready))

    def cost_of_frame(self, url: str, ready: str) -> dict[str, float]:
        """Open a page as `open_frame` does, with nothing cached, and scroll it: what it has cost."""
        self.driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        added = self.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": DRAWN})
        self.open_frame(url, ready)
        self._wait_for(lambda: self.driver.execute_script("return window.drawn"))
        self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        cost: dict[str, float] = self.driver.execute_script(COST)
        frames = sorted(self.driver.execute_async_script(SCROLL))
        return {**cost, "frame_p95": frames[len(frames) * 95 // 100], "frame_max": frames[-1]}

    def run_page(self, url: str) -> list[str]:
        """Open a page that says `done` in its title when it is, and return what it got."""
        self.driver.get(url)
        self._wait_for(lambda: self.driver.title == "done", 300)
        got: list[str] = self.driver.execute_script("return got")
        return got

    def labels(self, selector: str) -> list[str]:
        """What assistive software reads out of some elements."""
        # At once: a page that follows what runs draws its elements anew at any moment.
        read = "return [...document.querySelectorAll(arguments[0])].map(e => e.ariaLabel || '')"
        found: list[str] = self.driver.execute_script(read, selector)
        return found

    def press(self, button: str, dataset: str, period: str) -> None:
        """Load one period by a button of Coverage: Load missing, Retry failed or Reload."""
        form = self.driver.find_element(By.CSS_SELECTOR, f"#of-{dataset} .range")
        for ended in form.find_elements(By.TAG_NAME, "input"):
            ended.clear()
            ended.send_keys(period)
        form.find_element(By.XPATH, f".//button[.='{button}']").click()
        form.find_element(By.CLASS_NAME, "go").click()

    def colours(self, scheme: str) -> list[tuple[int, ...]]:
        """Background and text of a page, as red, green and blue, for who prefers a light or a dark one."""
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
        self.wait_for(f"[data-theme={scheme}]")
        read = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        return [tuple(map(int, re.findall(r"\d+", found))) for found in self.driver.execute_script(read)]

    def wait_for(self, selector: str) -> None:
        self._wait_for(lambda: self.driver.find_elements(By.CSS_SELECTOR, selector))

    def content(self) -> str:
        """All texts of a page or frame, in view or not."""
        return self.driver.find_element(By.TAG_NAME, "body").get_attribute("textContent") or ""

    def screenshot(self, file: Path) -> None:
        self.driver.save_screenshot(str(file))

    def text(self) -> str:
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def _wait_for(self, condition: Callable[[], object], seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.driver.current_url} shows: {self.text()[:500]}"
            time.sleep(0.3)
