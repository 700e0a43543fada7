"""Many scans are brought to a job: dropped with their folders, or chosen by keyboard; without script they are, too."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import front_desk
import job_desk
import numpy as np
import pytest
from harness import Hub
from playwright.sync_api import Page, Request, expect
from portal import Window, live, sign_in
from test_every_page import PHONE, findings, focus_by_tab

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES, class_word

PER_CLASS = 20
TOLD_MS = 60_000


def png(label: int, number: int) -> bytes:
    made = io.BytesIO()
    phantoms.draw(label, np.random.default_rng((41, label, number)), 48).save(made, "PNG")
    return made.getvalue()


@pytest.fixture
def job(hub: Hub) -> Iterator[str]:
    """An empty job of dora's."""
    yield hub.ask(job_desk.begin_a_job, "dora")
    hub.ask(job_desk.end_the_lease, "dora")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scans in class folders inside another one, as people keep them, and files that are no scans."""
    for label, name in enumerate(("Glioma", "meningioma_tumor", "no tumor", "pituitary")):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            (tmp_path / "mine" / name / f"{number}.png").write_bytes(png(label, number))
    (tmp_path / "mine" / "Glioma" / "notes.png").write_bytes(b"no image")
    (tmp_path / "mine" / ".DS_Store").write_bytes(b"clutter")
    return tmp_path / "mine"


def drop(page: Page, *paths: Path) -> None:
    """Drop files and folders on the page as the desktop does."""
    box = page.locator("#drop").bounding_box()
    assert box
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        devtools.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
    devtools.detach()


def test_a_folder_is_dropped_and_sent_in_parts_with_its_classes(window: Window, job: str, folder: Path) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto(f"/workbench/{job}/")
    live(page)
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.method == "POST" else None)
    drop(page, folder)
    expect(page.locator("#chosen")).to_contain_text(f"{4 * PER_CLASS + 1} files chosen")
    expect(page.locator("#chosen")).to_contain_text(f"{PER_CLASS + 1} in mine/Glioma")
    assert sent == [], "nothing leaves before the button is pressed"
    page.click("#send")
    expect(page.locator("#added")).to_have_text(f"{4 * PER_CLASS} scans taken.", timeout=TOLD_MS)
    expect(page.locator("#left-out-head")).to_have_text("1 file was left out:")
    expect(page.locator("#left-out-list li")).to_contain_text("mine/Glioma/notes.png: ")
    expect(page.locator("#left-out-list li")).to_contain_text("image_mismatch")
    assert len(sent) == 8, "at most sixteen files each"
    for name in CLASSES:
        expect(page.locator("#counts div").filter(has_text=class_word(name)).locator("dd")).to_have_text(str(PER_CLASS))
    expect(page.locator("#scans li")).to_have_count(4 * PER_CLASS)
    # The page was brought up to date meanwhile; what the form says stays.
    expect(page.locator("#left-out")).to_be_visible()
    assert findings(page) == []
    drop(page, folder / "Glioma" / "1.png")
    expect(page.locator("#left-out")).to_be_hidden()
    page.click("#send")
    expect(page.locator("#added")).to_have_text("0 scans taken, 1 the same as a scan that is here.")


def test_scans_are_chosen_by_keyboard_alone_and_get_their_class_by_hand(window: Window, job: str) -> None:
    page = window(width=PHONE).new_page()
    sign_in(page, "dora")
    page.goto(f"/workbench/{job}/")
    focus_by_tab(page, "#files")
    # What opens here is the browser's own.
    files = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": png(2, n)} for n in range(3)]
    page.set_input_files("#files", files)  # type: ignore[arg-type] # playwright's own type for a file in memory
    expect(page.locator("#chosen")).to_have_text("3 files chosen: 3 in no folder.")
    focus_by_tab(page, "#send")
    page.keyboard.press("Enter")
    expect(page.locator("#added")).to_have_text("3 scans taken, 3 without a class: say which below.")
    assert page.locator("#added").get_attribute("role") == "status"
    expect(page.locator("#scans li")).to_have_count(3)
    another = {"name": "4.png", "mimeType": "image/png", "buffer": png(3, 4)}
    page.set_input_files("#files", another)  # type: ignore[arg-type] # as above
    page.select_option("#class-name", "pituitary")
    page.click("#send")
    expect(page.locator("#added")).to_have_text("1 scan taken.")
    expect(page.locator("#scans li").nth(3)).to_contain_text("Pituitary")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    assert findings(page) == []


def test_a_folder_is_chosen_by_its_field(window: Window, job: str, folder: Path) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto(f"/workbench/{job}/")
    page.set_input_files("#folder", folder)
    expect(page.locator("#chosen")).to_contain_text(f"{PER_CLASS} in mine/pituitary")
    page.click("#forget")
    expect(page.locator("#chosen")).to_have_text("")
    page.click("#send")
    expect(page.locator("#left-out")).to_have_text("Choose scans first, or drop them here.")
    expect(page.locator("#files")).to_be_focused()
    expect(page.locator("#files")).to_have_attribute("aria-invalid", "true")


def test_what_stands_in_the_way_of_all_is_said_and_the_rest_not_sent(
    window: Window, hub: Hub, job: str, folder: Path, complaints: list[str]
) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto(f"/workbench/{job}/")
    # An old page: its lease has ended meanwhile, and it does not know.
    page.route(f"**/workbench/{job}/", lambda route: None)
    drop(page, folder)
    expect(page.locator("#chosen")).to_contain_text("files chosen")
    hub.ask(job_desk.end_the_lease, "dora")
    page.click("#send")
    expect(page.locator("#left-out")).to_contain_text("You do not have the fine-tuning lease")
    expect(page.locator("#added")).to_have_text(re.compile(r"^0 scans taken, 8\d files not sent\.$"))
    # Chromium itself says on the console that the hub refused.
    complaints[:] = [line for line in complaints if "status of 409" not in line]


def test_without_script_the_field_and_its_form_do_the_same(window: Window, job: str) -> None:
    page = window(scripts=False).new_page()
    page.goto("/")
    page.fill("input[name=username]", "dora")
    page.fill("input[name=password]", front_desk.PASSWORD)
    page.click("main button[type=submit]")
    page.goto(f"/workbench/{job}/")
    files = [
        {"name": "a.png", "mimeType": "image/png", "buffer": png(0, 1)},
        {"name": "b.png", "mimeType": "image/png", "buffer": b"no image"},
    ]
    page.set_input_files("#files", files)  # type: ignore[arg-type] # as above
    page.select_option("#class-name", "glioma")
    page.click("#send")
    expect(page.locator("#added")).to_have_text("1 scan taken.")
    expect(page.locator("#left-out")).to_contain_text("File 2: ")
    expect(page.locator("#scans li")).to_have_count(1)
