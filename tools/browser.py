"""A headless Chromium, for the tests of pages and for pictures of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

from tools.localcluster import packages

ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server")
SIZE = (1200, 1000)

Browser = webdriver.Chrome


def photograph(driver: Browser, file: Path, width: int) -> None:
    """The whole page, however long it is."""
    screen = {"width": width, "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    height = driver.execute_script("return document.documentElement.scrollHeight")
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen | {"height": height})
    driver.save_screenshot(str(file))
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@contextmanager
def opened() -> Iterator[Browser]:
    """Installs it where it is missing; raises LocalClusterError if that cannot be."""
    packages.ensure(packages.CHROMIUM)
    options = webdriver.ChromeOptions()
    options.binary_location = packages.which("chromium") or ""
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(packages.which("chromedriver")))
    try:
        driver.set_window_size(*SIZE)
        yield driver
    finally:
        driver.quit()
