"""A real browser for tests of the page: Chromium without a window, driven by Selenium.

Debian's `chromium` and `chromium-driver` are enough. Nothing is downloaded: both are found on the PATH.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.missing_programs import missing
from tests.support.processes import eventually

DESKTOP, PHONE = (1280, 900), (360, 740)

OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root, in a container
    "--disable-dev-shm-usage",  # likewise
    "--disable-background-networking",
    "--no-first-run",
    "--lang=en-US",
)


@dataclass
class Browser:
    """A window with one page in it.

    Attributes:
        downloads: the folder of what was saved.
    """

    driver: Chrome
    downloads: Path

    def open(self, address: str, size: tuple[int, int] = DESKTOP) -> None:
        """Load a page in a tab that remembers nothing, in a window of this size."""
        self.driver.switch_to.new_window("tab")
        self._forget_others()
        self.resize(size)
        self.driver.get(address)

    def resize(self, size: tuple[int, int]) -> None:
        """Give the window another size, in CSS pixels."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)

    def command(self, name: str, **arguments: Any) -> Any:  # noqa: ANN401 - the browser's own protocol
        """Send a command of the browser's own protocol, which Selenium does not offer."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str, *arguments: Any) -> Any:  # noqa: ANN401 - any result of a script
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def all(self, css: str) -> list[WebElement]:
        """The elements that are there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str, within: float = 15) -> WebElement:
        """The first such element that is shown, once there is one."""

        def shown() -> list[WebElement]:
            found: list[WebElement] = self.run(
                "return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())",
                css,
            )
            return found

        return eventually(shown, within, f"nothing is shown at {css}: {self.text('body')}")[0]

    def text(self, css: str) -> str:
        """The text of the first such element, empty if the page has no such element."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css))

    def reads(self, css: str, words: str, within: float = 15) -> str:
        """The text of an element, once these words are in it."""
        eventually(lambda: words in self.text(css), within, f"{words!r} at {css}: {self.text(css)}")
        return self.text(css)

    def press(self, words: str, inside: str = "body") -> None:
        """Press the button with this text, once it is there."""
        script = (
            "return [...document.querySelectorAll(`${arguments[0]} button`)].find("
            "e => e.innerText.includes(arguments[1]) && e.checkVisibility() && !e.disabled)"
        )
        failure = f"no button {words!r}: {self.text(inside)}"
        button: WebElement = eventually(lambda: self.run(script, inside, words), 15, failure)
        button.click()

    def drop(self, file: Path, css: str) -> None:
        """Drag a file from elsewhere onto an element, as a hand does."""
        box = self.one(css).rect
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.command("Input.dispatchDragEvent", type=kind, data=data, **at)

    def pick(self, file: Path, css: str) -> None:
        """Choose a file, as the dialog does that a browser without a window cannot show."""
        self.one(css).send_keys(str(file))

    def downloaded(self, name: str, within: float = 15) -> str:
        """The content of a file that the page saved, once it is complete."""
        file = self.downloads / name

        def whole() -> str:
            # An empty file takes the name first; what comes is under another one until it is whole.
            under_way = any(self.downloads.glob("*.crdownload"))
            return file.read_text("utf-8") if file.exists() and not under_way else ""

        return eventually(whole, within, f"{name} is not saved")

    def complaints(self) -> list[str]:
        """The messages in the console since the last call."""
        return [entry["message"] for entry in self._log("browser")]

    def asked_hosts(self) -> set[str]:
        """Hosts, with their ports, that the page asked for anything since this was asked last."""
        messages = (json.loads(entry["message"])["message"] for entry in self._log("performance"))
        sent = (
            each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"
        )
        urls = [urlsplit(each["request"]["url"]) for each in sent]
        return {url.netloc for url in urls if url.scheme in ("http", "https", "ws", "wss")}

    def _log(self, name: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.get_log(name)  # type: ignore[no-untyped-call]
        return entries

    def _forget_others(self) -> None:
        """Close all tabs but this one: what they stream would go on."""
        mine = self.driver.current_window_handle
        for handle in self.driver.window_handles:
            if handle != mine:
                self.driver.switch_to.window(handle)
                self.driver.close()
        self.driver.switch_to.window(mine)
        self.complaints()
        self.asked_hosts()


class Installed(NamedTuple):
    """The paths of the browser and of its driver."""

    browser: str
    driver: str


def find_browser() -> Installed:
    """The browser of this machine. Without one, see `missing`."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser and driver:
        return Installed(browser, driver)
    raise missing("chromium and chromedriver (Debian: chromium-driver)", "ORDERWORKS_TEST_BROWSER")


@contextmanager
def running_browser(installed: Installed, folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, gone at the end."""
    options = ChromeOptions()
    options.binary_location = installed.browser
    downloads = folder / "downloads"
    downloads.mkdir(parents=True)
    for option in (*OPTIONS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(option)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(installed.driver))
    try:
        yield Browser(chrome, downloads)
    finally:
        chrome.quit()
