"""Drive Prefect's UI as a person would, in a headless Chromium that reaches this machine only."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver"}
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # the graph of a run is drawn with WebGL
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--hide-scrollbars",
)
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
WINDOW = (1280, 900)
PATIENCE_S = 120
RUN_S = 180
RUN_PAGE = "/runs/flow-run/"
COLOURS = 256
SUBMIT = "//button[.='Submit']"
MOVING = (
    ElementClickInterceptedException,
    NoSuchElementException,
    StaleElementReferenceException,
)
T = TypeVar("T")


def missing() -> str:
    """Return what the tests in a browser lack, with the remedy; empty when nothing."""
    lacking = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    install = f"apt-get install --no-install-recommends {' '.join(lacking)}"
    return f"no browser: {install}" if lacking else ""


@contextmanager
def chromium(profile: Path) -> Iterator[WebDriver]:
    """Yield a browser with an empty profile; it ends with the block."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    size = "--window-size={},{}".format(*WINDOW)
    for flag in (*FLAGS, ONLY_HERE, size, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@dataclass
class PrefectUI:
    """What a person sees and does in the UI; all waiting has a deadline."""

    driver: WebDriver
    address: str

    def log_in(self, password: str) -> None:
        """Log in with the server's one password."""
        self.driver.get(self.address)
        self.see("//input[@type='password']").send_keys(password)
        self.click("Login")
        self.see("//a[.='Deployments']")

    def open_form(self, deployment: str) -> None:
        """Open the form of a deployment, whose name is unique, from the list of deployments."""
        self.driver.get(self.address)
        for words in ("Deployments", deployment, "Run", "Custom run"):
            self.click(words)
        self.field("Experiment")

    def until(self, condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
        """Return the condition's first true value; raises TimeoutException."""
        wait = WebDriverWait(self.driver, patience_s, 0.1, MOVING)
        return wait.until(lambda _: condition(), f"waited {patience_s} s for {what}")

    def see(self, xpath: str) -> WebElement:
        """Return an element once it is shown."""

        def shown() -> WebElement | None:
            found = self.driver.find_elements(By.XPATH, xpath)
            return next((each for each in found if each.is_displayed()), None)

        return self.until(shown, xpath)

    def click(self, words: str) -> None:
        """Click a button, link, tab or entry of a menu that has these words."""
        kinds = "self::a or self::button or @role='menuitem' or @role='tab'"

        def clicked() -> bool:
            self.see(f"//*[{kinds}][normalize-space()='{words}']").click()
            return True

        self.until(clicked, words)

    def labels(self) -> list[str]:
        """Return the labels of the form's fields, from top to bottom."""
        return [each.text for each in self.driver.find_elements(By.XPATH, "//form//label")]

    def field(self, label: str) -> WebElement:
        """Return the field that a label belongs to."""
        of = self.see(f"//label[.={quoted(label)} or .={quoted(label + ' (Optional)')}]")
        return self.driver.find_element(By.ID, of.get_attribute("for") or "")

    def fill(self, label: str, value: str) -> None:
        """Replace the text in a field."""
        field = self.field(label)
        field.clear()
        field.send_keys(value)

    def fill_name(self, name: str) -> None:
        """Replace the run's name that the UI has made up."""
        field = self.see("//input[@name='name']")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(name)

    def add_row(self, label: str, value: str) -> None:
        """Add a text to a list of texts."""
        block = f"//label[.={quoted(label + ' (Optional)')}]/following::button[.='Add item'][1]"
        self.see(block).click()
        self.see(f"({block}/preceding::textarea)[last()]").send_keys(value)

    def complaint(self, label: str) -> str:
        """Return what the form says is wrong with a field, below it or one of its rows."""
        block = f"//label[starts-with(., {quoted(label)})]/ancestor::div[fieldset][1]"
        return self.see(f"{block}//p[contains(@class, 'text-destructive')]").text

    def submit(self) -> None:
        """Submit the form and wait until it has been accepted."""
        self.click("Submit")
        self.until(lambda: not self.driver.find_elements(By.XPATH, SUBMIT), "the form's end")

    def view_run(self) -> str:
        """Follow the link that an accepted form shows to the run's page; return the run's id."""
        link = "//*[self::a or self::button][normalize-space()='View run']"

        def followed() -> bool:
            if RUN_PAGE not in self.driver.current_url:  # a message that still moves, clicked again
                self.driver.find_element(By.XPATH, link).click()
            return RUN_PAGE in self.driver.current_url

        self.until(followed, "the run's page")
        return self.driver.current_url.partition(RUN_PAGE)[2].partition("?")[0]

    @contextmanager
    def page_closed(self) -> Iterator[None]:
        """Leave the page for the time of the block: a live graph takes a whole core to draw."""
        address = self.driver.current_url
        self.driver.get("about:blank")
        yield
        self.driver.get(address)

    def shows_state(self, state: str, patience_s: float = RUN_S) -> None:
        """Wait until the page of a run shows a state."""
        self.until(lambda: self._badges(state), state, patience_s)

    def _badges(self, state: str) -> list[WebElement]:
        return self.driver.find_elements(By.XPATH, f"//*[normalize-space()='{state}']")

    def says(self, words: str) -> bool:
        """Return whether the page has these words."""
        return words in self.driver.find_element(By.TAG_NAME, "body").text

    def choose(self, label: str, value: str) -> None:
        """Choose an entry of a field's menu, which may still be moving when it is clicked."""
        entry = f"//*[@role='option'][normalize-space()={quoted(value)}]"
        in_form = f"//form//*[normalize-space()={quoted(value)}]"

        def shown(xpath: str) -> list[WebElement]:
            found = self.driver.find_elements(By.XPATH, xpath)
            return [each for each in found if each.is_displayed()]

        def clicked(element: WebElement, leads_to: str) -> bool:
            element.click()
            with suppress(TimeoutException):
                self.until(lambda: shown(leads_to), leads_to, 3)
            return bool(shown(leads_to))

        def chosen() -> bool:
            if shown(in_form):
                return True
            if shown(entry) or clicked(self.field(label), entry):
                return clicked(shown(entry)[0], in_form)
            return False

        self.until(chosen, f"the chosen {value}")

    def open_artifact(self, kind: str) -> None:
        """Open one from the list of a run's artifacts."""
        card = f"//a[contains(@href, '/artifacts/artifact/')][contains(., '-{kind}-')]"
        self.see(card).click()
        self.until(lambda: "/artifacts/artifact/" in self.driver.current_url, "the artifact")

    def table(self) -> list[dict[str, str]]:
        """Return the rows of the page's table by column."""

        def texts(row: str) -> list[list[str]]:
            rows = self.driver.find_elements(By.XPATH, row)
            return [[cell.text for cell in each.find_elements(By.XPATH, "./*")] for each in rows]

        def rows() -> list[dict[str, str]]:
            return [
                dict(zip(names, row, strict=True))
                for names in texts("//table/thead/tr")
                for row in texts("//table/tbody/tr")
            ]

        return self.until(rows, "a table")

    def colours(self, xpath: str) -> set[Any]:
        """Return the colours of an element as it is drawn."""
        picture = Image.open(io.BytesIO(self.see(xpath).screenshot_as_png)).convert("RGB")
        return {colour for _, colour in picture.getcolors(picture.width * picture.height) or []}

    def screenshot(self, file: Path) -> None:
        """Save a picture of the window that is small enough for a page of documentation."""
        shot = Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB")
        small: Any = shot.quantize(COLOURS, dither=Image.Dither.NONE)
        small.save(file, optimize=True)


def quoted(text: str) -> str:
    """Return a text as XPath has it, which knows no escapes."""
    return f'"{text}"'
