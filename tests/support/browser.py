"""A headless Chromium, Debian's, driven by Playwright; and why there is none, where there is none."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first is the same engine without windows, and takes two thirds of the time."""


def why_no_browser() -> str | None:
    """What is missing to drive a browser; None where nothing is."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed (make setup)"
    if not any(map(shutil.which, NAMES)):
        return "no Chromium here (make browser)"
    return None


@contextmanager
def open_browser() -> Iterator[Any]:
    """A browser; leaving the block ends it."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, NAMES)))
    with sync_playwright() as driver:
        # Chromium's sandbox wants rights that root in a container lacks, and these pages are ours.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
