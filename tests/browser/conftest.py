"""Chromium before a hub with three hospitals, all of them real. A page that complains fails its test."""

from collections.abc import Iterator
from pathlib import Path

import front_desk
import pytest
from harness import Federation, Hub
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright
from portal import Window, draw

from tools.chromium import find_chromium

HOSPITALS = 3
# Only ever reached by a test that fails, and by a machine many times slower than ours.
WAIT_MS = 60_000
# A page looks anyway, every half a minute: that would hide that nothing told it. Here no page looks by itself.
ONLY_WHEN_TOLD = """
    const interval = window.setInterval.bind(window);
    window.setInterval = (what, wait, ...more) => wait > 20000 ? 0 : interval(what, wait, ...more);
"""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser there is nothing to test here: CI installs Debian's."""
    if find_chromium():
        return
    reason = "no Chromium on PATH (or at HOSPINTEL_TEST_CHROMIUM): install chromium-headless-shell, as .ci/run does"
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
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What pages complain about: console errors (a policy that was broken is one), exceptions, and calls elsewhere."""
    found: list[str] = []
    yield found
    assert found == []


@pytest.fixture
def window(browser: Browser, address: str, complaints: list[str]) -> Iterator[Window]:
    """Open a window of one's own: `window(theme=..., width=..., scripts=...)`."""
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

    def open_window(*, theme: str = "light", width: int = 1280, scripts: bool = True) -> BrowserContext:
        context = browser.new_context(
            base_url=address,
            color_scheme=theme,  # type: ignore[arg-type] # light or dark
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
            java_script_enabled=scripts,
        )
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(ONLY_WHEN_TOLD)
        context.on("page", watch)
        opened.append(context)
        return context

    yield open_window
    for context in opened:
        context.close()
