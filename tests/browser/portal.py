"""What tests do with a window of the portal, on whatever machine: nothing here waits for a time, only for the page."""

from collections.abc import Callable
from pathlib import Path

import front_desk
import numpy as np
from playwright.sync_api import BrowserContext, Page, expect

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES

# Scans of a class, and how wide they are.
PER_CLASS, SIZE = 8, 64

Window = Callable[..., BrowserContext]


def sign_in(page: Page, name: str) -> None:
    """Sign in by the form, as people do."""
    page.goto("/")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", front_desk.PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_selector("[data-living]")
    page.wait_for_load_state()


def opened(window: Window, name: str, path: str) -> Page:
    """A page of the portal, for somebody who has signed in."""
    page = window().new_page()
    sign_in(page, name)
    page.goto(path)
    return page


def press(page: Page, selector: str, then: str) -> None:
    """Press what leads to a page with another element on it, and wait until that page's scripts are there, too."""
    page.click(selector)
    expect(page.locator(then).first).to_be_visible()
    page.wait_for_load_state()


def live(page: Page) -> None:
    """Wait until the page has its socket."""
    expect(page.locator(".live")).to_have_attribute("data-live", "on")


def draw(folder: Path, seed: int) -> None:
    """Write the phantoms of a hospital in class folders."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for number in range(PER_CLASS):
            scan = phantoms.draw(label, np.random.default_rng((seed, label, number)), SIZE)
            scan.save(folder / name / f"{number}.png")
