"""Chromium before a hub with three hospitals, all of them real. A page that complains fails its test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import front_desk
import numpy as np
import pytest
from harness import Federation, Hub
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES

HOSPITALS, PER_CLASS, SIZE = 3, 8, 64
WAIT_MS = 20_000
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """Where Chromium is: HOSPINTEL_TEST_CHROMIUM, else on PATH."""
    return os.environ.get("HOSPINTEL_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser there is nothing to test here: CI installs Debian's."""
    if chromium():
        return
    reason = "no Chromium on PATH (or at HOSPINTEL_TEST_CHROMIUM): install the package chromium, as .ci/run does"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that runs, with three hospitals whose agents wait, and one finished run."""
    hub = Hub(tmp_path_factory.mktemp("hub"))
    try:
        folders = [tmp_path_factory.mktemp("scans") for _ in range(HOSPITALS)]
        for number, folder in enumerate(folders):
            draw(folder, number)
        federation = Federation(hub, "brain-mri", folders)
        hub.ask(front_desk.make_people, federation.hospitals[0])
        federation.until_online()
        federation.until_run_is("DONE", federation.run(2, epochs=1))
        hub.ask(front_desk.make_job, federation.hospitals[0])
        yield hub
    finally:
        hub.close()


def draw(folder: Path, seed: int) -> None:
    """Write the phantoms of a hospital in class folders."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for number in range(PER_CLASS):
            scan = phantoms.draw(label, np.random.default_rng((seed, label, number)), SIZE)
            scan.save(folder / name / f"{number}.png")


@pytest.fixture(scope="session")
def address(hub: Hub) -> str:
    """The portal's."""
    return hub.processes.address


# Not for the session: Playwright's event loop runs in this thread, and Django refuses its database beside one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless."""
    # What a page shall show may take as long as anything else on it.
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


Window = Callable[..., BrowserContext]


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What pages complain about: console errors (a policy that was broken is one), exceptions, and calls elsewhere."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def window(browser: Browser, address: str, complaints: list[str]) -> Iterator[Window]:
    """Open a window of one's own: `window(theme=..., width=...)`."""
    opened: list[BrowserContext] = []

    def watch(page: Page) -> None:
        def told(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"}:
                complaints.append(f"{page.url}: {message.text}")

        def asked(request: Request) -> None:
            if not request.url.startswith((address, "data:", "blob:")):
                complaints.append(f"{page.url}: asks {request.url}")

        page.on("console", told)
        page.on("request", asked)
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))

    def open_window(*, theme: str = "light", width: int = 1280) -> BrowserContext:
        context = browser.new_context(
            base_url=address,
            color_scheme=theme,  # type: ignore[arg-type] # light or dark
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
        )
        context.set_default_timeout(WAIT_MS)
        context.on("page", watch)
        opened.append(context)
        return context

    yield open_window
    for context in opened:
        context.close()


def sign_in(page: Page, name: str) -> None:
    """Sign in by the form, as people do."""
    page.goto("/")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", front_desk.PASSWORD)
    page.click("main button[type=submit]")
    page.wait_for_selector("[data-living]")
