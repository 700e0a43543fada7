#!/usr/bin/env python3
"""Pictures of every page for docs/images/, made with Chromium from a demo: `make screenshots`.

The demo's scans are synthetic. Each page is taken for an administrator, light and dark, wide and narrow.
"""

import argparse
import base64
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from django_otp.oath import totp
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES
from tools.chromium import find_chromium

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "portal.md"
BEGIN, END = "<!-- pictures -->", "<!-- /pictures -->"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]
WIDTHS = {"wide": 1280, "narrow": 390}
THEMES = ("light", "dark")
TALLEST = 6000
COLOURS = 48
PATIENCE = 240
# What links in the portal lead to beside pages.
FILES = ("/admin/", "/api/", "/static/", "/docs", "/redoc")
# Pages below another that are not one of many.
OWN_NAMES = ("/models/compare/", "/models/lineage/", "/models/upload/")
# The API's pages look the same in both themes, and each waits for what its program draws.
MANUALS = {"docs": ".opblock", "redoc": "[data-section-id]"}


def main() -> int:
    """Start a demo, take the pictures, end it."""
    parser = argparse.ArgumentParser(description="Take pictures of every page.")
    parser.add_argument("--port", type=int, default=8190)
    port = parser.parse_args().port
    browser = find_chromium()
    if browser is None:
        print("error: there is no Chromium on PATH", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="hospintel-pictures-") as folder:
        command = [sys.executable, "-u", "-m", "hospintel_site.demo", "--smoke", "--hospitals", "3", "--rounds", "6"]
        command += ["--port", str(port), "--folder", f"{folder}/demo"]
        log = Path(folder) / "log"
        with log.open("w") as output:
            demo = subprocess.Popen(command, cwd=ROOT, stdout=output)  # noqa: S603 - our own program
        try:
            password = _told(log, demo, r"admin / (\S+)")
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
                _take_all(chromium, f"http://127.0.0.1:{port}", password)
                _take_states(chromium, f"http://127.0.0.1:{port}", password)
                _take_validation(chromium, f"http://127.0.0.1:{port}", password)
                _take_job(chromium, f"http://127.0.0.1:{port}", password, _told(log, demo, r"doctor / (\S+)"))
                _take_links(chromium, f"http://127.0.0.1:{port}", password)
                _take_first_admin(chromium, Path(folder), port + 1)
        finally:
            demo.terminate()
            demo.wait()
    _write_table()
    return 0


def _write_table() -> None:
    """List the pictures in docs/portal.md, a page a row."""
    names = sorted({path.stem.rpartition("-light-")[0] for path in IMAGES.glob("*-light-*.png")})
    looks = [
        (f"{theme}-{size}", theme + (", phone" if size == "narrow" else "")) for size in WIDTHS for theme in THEMES
    ]
    rows = ["| page | pictures |", "| --- | --- |"]
    for name in names:
        shown = [(f"{name}-{look}.png", words) for look, words in looks if (IMAGES / f"{name}-{look}.png").exists()]
        rows.append(f"| {name} | " + " · ".join(f"[{words}](images/{file})" for file, words in shown) + " |")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    text = before + BEGIN + "\n" + "\n".join(rows) + "\n" + END + rest.partition(END)[2]
    PAGE.write_text(text, encoding="utf-8")


def _told(log: Path, program: subprocess.Popen[bytes], pattern: str) -> str:
    """Wait for what a program prints, and return the part that is asked for."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and program.poll() is None:
        found = re.search(pattern, log.read_text())
        if found:
            return found[1]
        time.sleep(1)
    raise SystemExit(f"error: the hub did not get ready:\n{log.read_text()}")


def _take_all(chromium: Browser, address: str, password: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    for old in IMAGES.glob("*.png"):
        old.unlink()
    for theme in THEMES:
        for size, width in WIDTHS.items():
            context = chromium.new_context(
                base_url=address,
                color_scheme=theme,
                viewport={"width": width, "height": 900},
                reduced_motion="reduce",
            )
            page = context.new_page()
            page.goto("/accounts/login/")
            _save(page, f"login-{theme}-{size}")
            _sign_in(page, password)
            page.wait_for_selector("[data-living]")
            for name, path in _pages(page).items():
                page.goto(path)
                page.wait_for_selector("h1")
                page.wait_for_timeout(700)
                _save(page, f"{name}-{theme}-{size}")
            _take_reading(page, f"analyse-read-{theme}-{size}")
            if theme == "light":
                _take_manuals(page, size)
            context.close()


def _sign_in(page: Page, password: str, name: str = "admin") -> None:
    page.goto("/accounts/login/")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", password)
    page.click("main button[type=submit]")


def _take_states(chromium: Browser, address: str, password: str) -> None:
    """Take what is seen only at times: a run that goes on and one that is paused, a code, a page that is not there."""
    page = chromium.new_context(base_url=address, reduced_motion="reduce").new_page()
    _sign_in(page, password)
    page.fill("#run-rounds", "1000")
    page.click("#start")
    page.wait_for_selector("h1:has-text('collecting')")
    page.wait_for_selector("#hospitals .card-note:has-text('of 1000')")
    _save_all_looks(page, "dashboard-running")
    page.goto("/models/")
    page.click("#compare")
    page.wait_for_selector("#measured")
    _save_all_looks(page, "models-compared")
    page.goto("/")
    page.click("#pause")
    page.wait_for_selector("h1:has-text('The run is paused.')")
    _save_all_looks(page, "dashboard-paused")
    page.goto("/rounds/not-there/")
    _save_all_looks(page, "not-found")
    page.goto("/hospitals/")
    page.click("main table a >> nth=0")
    page.click("#issue")
    page.wait_for_selector("#enrol-code")
    _save_all_looks(page, "hospital-code")


def _take_job(chromium: Browser, address: str, password: str, doctors: str) -> None:
    """Take a job of the workbench, with its scans and with its report, and its proposal before an administrator."""
    page = chromium.new_context(base_url=address, reduced_motion="reduce").new_page()
    _sign_in(page, doctors, "doctor")
    page.goto("/workbench/")
    page.click("#take")
    page.click("#begin")
    page.wait_for_selector("#bring")
    _bring(page, range(8), "#counts")
    _save_all_looks(page, "job-scans")
    page.fill("#epochs", "3")
    page.uncheck("#propose-then")
    page.click("#fine-tune")
    page.wait_for_selector("#report", timeout=PATIENCE * 1000)
    _save_all_looks(page, "job-report")
    page.click("#propose-button")
    page.wait_for_selector("#proposal")
    admin = chromium.new_context(base_url=address, reduced_motion="reduce").new_page()
    _sign_in(admin, password)
    admin.goto("/models/")
    admin.wait_for_selector("text=Reason (needed)")
    _save_all_looks(admin, "models-proposal")


def _bring(page: Page, numbers: range, counted: str) -> None:
    """Send so many scans of each class; `counted`: where the page tells their number by class."""
    for label, name in enumerate(CLASSES):
        page.set_input_files("#files", [_scan(label, number) for number in numbers])  # type: ignore[arg-type] # as Playwright takes them
        page.select_option("#class-name", name)
        page.click("#send")
        page.wait_for_selector(f"{counted} dl div:nth-child({label + 1}) dd:text-is('{len(numbers)}')")


def _scan(label: int, number: int) -> dict[str, object]:
    file = io.BytesIO()
    phantoms.draw(label, np.random.default_rng((label, number))).save(file, "PNG")
    return {"name": f"{number}.png", "mimeType": "image/png", "buffer": file.getvalue()}


def _take_validation(chromium: Browser, address: str, password: str) -> None:
    """Take the validation set: brought, and in use."""
    page = chromium.new_context(base_url=address, reduced_motion="reduce").new_page()
    _sign_in(page, password)
    page.goto("/validation/")
    _bring(page, range(100, 150), "#coming")  # enough of a class for a domain check
    _save_all_looks(page, "validation-brought")
    page.click("#use")
    page.wait_for_selector("#measured-head", timeout=PATIENCE * 1000)
    _save_all_looks(page, "validation-ready")


def _take_links(chromium: Browser, address: str, password: str) -> None:
    """Take the pages to which no link of the portal leads: one-time links, and the second factor's."""
    context = chromium.new_context(base_url=address, reduced_motion="reduce")
    page, other = context.new_page(), chromium.new_context(reduced_motion="reduce").new_page()
    _sign_in(page, password)
    page.goto("/people/")
    page.locator("#people-table tbody a").filter(has_not_text="admin").first.click()
    page.click("#issue-link")
    page.wait_for_selector("#link")
    other.goto(page.locator("#link").inner_text())
    other.wait_for_selector("input[name=new_password1]")
    _save_all_looks(page, "person-link")
    _save_all_looks(other, "password-link")
    page.goto("/account/second-factor/")
    secret = base64.b32decode(page.locator("#secret").inner_text().replace(" ", ""))
    page.fill("input[name=code]", f"{totp(secret):06}")
    page.click("#set-up")
    page.wait_for_selector("#codes")
    _save_all_looks(page, "recovery-codes")
    page.click("text=Sign out")
    _sign_in(page, password)
    page.wait_for_selector("input[name=otp]")
    _save_all_looks(page, "login-code")


def _take_first_admin(chromium: Browser, folder: Path, port: int) -> None:
    """Take what an empty hub shows: its first link's page, the dashboard, and what asks again who it is."""
    log = folder / "empty.log"
    environment = {**os.environ, "HOSPINTEL_VAR": str(folder / "empty"), "HOSPINTEL_PORT": str(port)}
    environment |= {"HOSPINTEL_REQUIRE_ADMIN_OTP": "0", "HOSPINTEL_CONFIRM_MINUTES": "1"}
    with log.open("w") as output:
        command = [sys.executable, "-u", "manage.py", "up"]
        hub = subprocess.Popen(command, cwd=ROOT, stdout=output, env=environment)  # noqa: S603 - our own program
    try:
        address = f"http://127.0.0.1:{port}"
        page = chromium.new_context(base_url=address, reduced_motion="reduce").new_page()
        page.goto(_told(log, hub, r"(http\S+/first-admin/#\S+)"))
        page.wait_for_selector("input[name=password1]")
        _save_all_looks(page, "first-admin")
        page.fill("input[name=username]", "admin")
        for field in ("password1", "password2"):
            page.fill(f"input[name={field}]", "a long enough password")
        page.click("main button[type=submit]")
        page.wait_for_selector("[data-living]")
        _save_all_looks(page, "dashboard-empty")
        page.goto("/people/")
        # The page that asks again who it is comes a minute after signing in.
        page.wait_for_timeout(61_000)
        page.click("#add-person")
        page.wait_for_selector("#confirm-it")
        _save_all_looks(page, "confirm")
    finally:
        hub.terminate()
        hub.wait()


def _save_all_looks(page: Page, name: str) -> None:
    """Save a page that cannot be asked for twice: light and dark, wide and narrow."""
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type] # light or dark
        for size, width in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)
            _save(page, f"{name}-{theme}-{size}")


def _take_reading(page: Page, name: str) -> None:
    """Have the page read a synthetic scan."""
    page.goto("/analyse/")
    page.set_input_files("#scan", _scan(0, 7))  # type: ignore[arg-type] # as Playwright takes it
    page.wait_for_selector("#result:not([hidden])")
    _save(page, name)


def _take_manuals(page: Page, size: str) -> None:
    for name, drawn in MANUALS.items():
        page.goto(f"/{name}")
        page.wait_for_selector(drawn)
        page.wait_for_timeout(700)
        _save(page, f"{name}-light-{size}")


def _pages(page: Page) -> dict[str, str]:
    """Return a name and the address of every page that can be got to, one of each shape."""
    found, waiting = {"dashboard": "/"}, ["/"]
    while waiting:
        page.goto(waiting.pop(0))
        page.wait_for_selector("h1")
        origin = page.evaluate("window.location.origin")
        for url in page.eval_on_selector_all("a[href]", "nodes => nodes.map(node => node.href)"):
            path = url.removeprefix(origin).partition("#")[0].partition("?")[0]
            if not url.startswith(origin) or path == "/model" or path.startswith(FILES) or path.endswith(".h5"):
                continue
            name = _name(path)
            if name not in found:
                found[name] = path
                waiting.append(path)
    return found


def _name(path: str) -> str:
    """Name a page: one hospital's stands for all hospitals'."""
    first, *more = path.strip("/").split("/")
    return "-".join([first or "dashboard", *(part if path in OWN_NAMES else "one" for part in more)])


def _save(page: Page, name: str) -> None:
    """Save what is seen, in few colours: the pages have few."""
    # The bar at the top stays in sight on a page that was scrolled, over what stands there.
    page.evaluate("window.scrollTo(0, 0)")
    shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    shown = shown.crop((0, 0, shown.width, min(shown.height, TALLEST)))
    shown.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        IMAGES / f"{name}.png", optimize=True
    )


if __name__ == "__main__":
    sys.exit(main())
