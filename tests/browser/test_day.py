"""A doctor's whole day, and the administrator's: one browser each, a hub, its workers, and three hospitals' agents.

HOSPINTEL_REAL_SCANS, a folder or zip file of class folders, has the doctor work on real scans instead of phantoms.
"""

import io
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import day_desk
import front_desk
import numpy as np
import office
import pytest
from authenticator import code_of
from harness import Federation, Hub
from playwright.sync_api import BrowserContext, Page, Request, expect
from portal import Window, draw, sign_in
from standstill import Failpoints

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES
from hospintel_core.dataset import open_dataset

HOSPITALS, PER_CLASS, EPOCHS = 3, 10, 3
# What a page waits for at most: a machine may be slow, and the workers busy.
LONG_MS = 120_000
LONGEST_ADDRESS = 200
EPOCH, TOLD_MS = "train.epoch", 1100
READ_HERE = re.compile(r"Read by version 2 \(\w+\), in this browser")
LEFT_ALONE = "window.leftAlone === true"


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Failpoints:
    """What stops the worker between two epochs: they are over in a moment."""
    return Failpoints(tmp_path_factory.mktemp("failpoints"))


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, points: Failpoints) -> Iterator[Federation]:
    """A hub whose administrators need a second factor, with three hospitals whose agents wait, and one round done."""
    hub = Hub(tmp_path_factory.mktemp("day"), HOSPINTEL_REQUIRE_ADMIN_OTP="1", **points.environment)
    try:
        folders = [tmp_path_factory.mktemp("scans") for _ in range(HOSPITALS)]
        for number, folder in enumerate(folders):
            draw(folder, number)
        federation = Federation(hub, "brain-mri", folders)
        # Without one of them, a round waits.
        hub.ask(office.set_least_updates, "brain-mri", HOSPITALS)
        hub.ask(front_desk.make_people, federation.hospitals[0])
        hub.ask(day_desk.let_fine_tune, federation.hospitals[0])
        federation.until_online()
        federation.until_run_is("DONE", federation.run(1, epochs=1))
        yield federation
        federation.close()
    finally:
        hub.close()


@pytest.fixture(scope="module")
def address(federation: Federation) -> str:
    """The portal's."""
    return federation.hub.processes.address


@pytest.fixture(scope="module")
def scans() -> list[tuple[int, bytes]]:
    """Scans with their class: one to analyse, and those to train on."""
    if given := os.environ.get("HOSPINTEL_REAL_SCANS"):
        return _real(Path(given))
    return [(label, _drawn(label, number)) for number in range(PER_CLASS + 1) for label in range(len(CLASSES))]


def _real(place: Path) -> list[tuple[int, bytes]]:
    with open_dataset(place, CLASSES) as found:
        by_class = [[scan for scan in found.scans if scan.label == label] for label in range(len(CLASSES))]
        chosen = [own[:: max(1, len(own) // (PER_CLASS + 1))][: PER_CLASS + 1] for own in by_class]
        return [(scan.label, scan.read()) for row in zip(*chosen, strict=True) for scan in row]


def _drawn(label: int, number: int) -> bytes:
    file = io.BytesIO()
    phantoms.draw(label, np.random.default_rng((97, label, number))).save(file, "PNG")
    return file.getvalue()


def test_a_doctor_and_an_administrator_work_a_whole_day(
    federation: Federation, points: Failpoints, window: Window, scans: list[tuple[int, bytes]]
) -> None:
    doctors, admins = window(), window()
    desk = doctors.new_page()
    sign_in(desk, "dora")
    desk.evaluate("window.leftAlone = true")
    expect(desk.locator("#model-head + .card-note")).to_have_text("version 2")

    _analyse(doctors, scans[0][1])
    job = doctors.new_page()
    _bring_scans(job, scans[len(CLASSES) :])
    _fine_tune(federation.hub, points, job)
    job.fill("#note", "scans of our new scanner")
    job.click("#propose-button")
    expect(job.locator("h1")).to_contain_text("waits for an administrator")

    admin = admins.new_page()
    _sign_in_with_a_code(federation.hub, admin)
    _publish_while_a_round_is_open(federation, admin, desk)
    _go_back(federation, admin, desk)
    assert desk.evaluate(LEFT_ALONE), "the dashboard was never loaded again"
    assert federation.hub.ask(office.audit_holds)


def _analyse(doctors: BrowserContext, data: bytes) -> None:
    """The page reads a scan, and nothing that leaves the browser has it."""
    page = doctors.new_page()
    page.goto("/analyse/")
    sent: list[Request] = []
    said: list[object] = []
    doctors.on("request", lambda request: sent.append(request))  # noqa: PLW0108 - Playwright marks what it is given
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: said.append(frame)))  # noqa: PLW0108
    page.set_input_files("#scan", {"name": "scan", "mimeType": "application/octet-stream", "buffer": data})
    expect(page.locator("#result")).to_be_visible(timeout=LONG_MS)
    expect(page.locator("#notes")).to_contain_text(READ_HERE)
    page.close()
    assert sent, "the model was fetched"
    assert {request.method for request in sent} == {"GET"}
    assert [request.url for request in sent if request.post_data_buffer] == []
    assert [request.url for request in sent if len(request.url) > LONGEST_ADDRESS] == []
    assert said == []


def _bring_scans(page: Page, scans: list[tuple[int, bytes]]) -> None:
    page.goto("/workbench/")
    page.click("#take")
    page.click("#begin")
    expect(page.locator("h1")).to_contain_text("Bring scans of all four classes")
    for label, name in enumerate(CLASSES):
        own: list[Any] = [
            {"name": f"{number}", "mimeType": "application/octet-stream", "buffer": data}
            for number, (of, data) in enumerate(scans)
            if of == label
        ]
        assert len(own) == PER_CLASS
        page.set_input_files("#files", own)
        page.select_option("#class-name", name)
        page.click("#send")
        expect(page.locator("#added")).to_contain_text(f"{PER_CLASS} scans taken.")
        expect(page.locator("#scans li")).to_have_count(PER_CLASS * (label + 1))


def _fine_tune(hub: Hub, points: Failpoints, page: Page) -> None:
    """Train; the page tells by itself how far it is, epoch by epoch."""
    points.arm(EPOCH)
    page.fill("#epochs", str(EPOCHS))
    # She wants to compare first; in one step: test_workbench.py.
    page.uncheck("#propose-then")
    page.click("#fine-tune")
    page.wait_for_selector("#job-progress")
    page.evaluate("window.leftAlone = true")
    for epoch in range(1, EPOCHS + 1):
        points.caught(EPOCH, hub)
        told = f": epoch {epoch - 1} of {EPOCHS}, loss " if epoch > 1 else "."
        expect(page.locator("h1")).to_contain_text(f"The worker trains{told}", timeout=LONG_MS)
        if epoch < EPOCHS:
            points.arm(EPOCH)
        # The worker tells how far it is at most once a second.
        page.wait_for_timeout(TOLD_MS)
        points.release(EPOCH)
    expect(page.locator("h1")).to_contain_text("The training is done", timeout=LONG_MS)
    expect(page.locator("#epochs-rows tr")).to_have_count(EPOCHS)
    expect(page.locator("#report")).to_contain_text("No tumor")
    assert page.evaluate(LEFT_ALONE), "the page followed the job by itself"
    job = hub.ask(day_desk.newest_job)
    assert (job["state"], job["epochs"]) == ("DONE", [1, 2, 3])
    assert (job["rows"], job["files"]) == (0, []), "no image of it is left"


def _sign_in_with_a_code(hub: Hub, page: Page) -> None:
    secret = hub.ask(office.set_up_second_factor, "alice")
    page.goto("/")
    page.fill("input[name=username]", "alice")
    page.fill("input[name=password]", front_desk.PASSWORD)
    page.click("main button[type=submit]")
    page.fill("input[name=otp]", code_of(secret))
    page.click("main button[type=submit]")
    page.wait_for_selector("[data-living]")


def _publish_while_a_round_is_open(federation: Federation, admin: Page, desk: Page) -> None:
    *_, slow = federation.hospitals
    hub = federation.hub
    federation.signal(slow, signal.SIGSTOP)
    admin.fill("#run-rounds", "1000")
    admin.fill("#run-epochs", "1")
    admin.click("#start")
    expect(desk.locator("h1")).to_contain_text(
        f"Round 1 of 1000 is collecting: 2 of 3 updates, waiting on {slow}.", timeout=LONG_MS
    )

    admin.goto("/models/")
    expect(admin.locator("h1")).to_have_text("One version waits for an administrator's decision.")
    held = admin.locator("#held")
    expect(held).to_contain_text("scans of our new scanner")
    # Compared with the version that it was made from.
    expect(held.locator("tbody tr")).to_have_count(1 + len(CLASSES))
    held.get_by_label("Reason", exact=True).fill("better on the new scanner")
    held.get_by_role("button", name="Publish").click()
    admin.click("dialog [value=yes]")
    expect(admin.locator(".notice").first).to_contain_text("The version is published.")
    expect(desk.locator("#model-head + .card-note")).to_have_text("version 3")

    proposed = hub.ask(day_desk.versions)[-1]
    assert (proposed["number"], proposed["source"], proposed["parent"]) == (3, "FINE_TUNE", 2)
    assert proposed["decided_by"] == hub.ask(office.actor_of, "alice")
    admin.goto("/rounds/")
    expect(admin.locator("tr", has_text="Superseded")).to_have_count(1)
    federation.signal(slow, signal.SIGCONT)
    _next_round_is_of_all(federation, "superseded once", 1, 3, proposed["digest"])


def _next_round_is_of_all(federation: Federation, what: str, superseded: int, base: int, digest: str) -> None:
    """So many rounds were superseded; the one after the last of them is trained by all agents, from this version."""

    def found() -> Any:
        rounds = federation.hub.ask(day_desk.rounds)
        ended = [place for place, one in enumerate(rounds) if one["reason"] == "superseded"]
        after = rounds[ended[-1] + 1 :][:1] if len(ended) == superseded else []
        return [(rounds[ended[-1]], one) for one in after if one["state"] == "PUBLISHED"]

    ((ended, after),) = federation.until(found, what)
    assert (ended["state"], len(ended["updates"])) == ("FAILED", HOSPITALS - 1)
    assert (after["number"], after["attempt"]) == (ended["number"], ended["attempt"] + 1)
    assert (after["base"], after["digest"]) == (base, digest)
    assert after["updates"] == dict.fromkeys(federation.hospitals, "CONSUMED")
    # Each agent says which version it was given and measured before it trained.
    assert after["measured"] == dict.fromkeys(federation.hospitals, digest)
    for hospital in federation.hospitals:
        assert digest in {row["model"] for row in federation.journal(hospital) if row["state"] == "ACCEPTED"}


def _go_back(federation: Federation, admin: Page, desk: Page) -> None:
    """The administrator brings version 2 back, while a round is open again."""
    *_, slow = federation.hospitals
    hub = federation.hub
    federation.signal(slow, signal.SIGSTOP)

    def waits() -> bool:
        newest = hub.ask(day_desk.rounds)[-1]
        return newest["state"] == "COLLECTING" and len(newest["updates"]) == HOSPITALS - 1

    federation.until(waits, "a round waits for the slow hospital")
    before = hub.ask(day_desk.versions)
    second = next(one for one in before if one["number"] == 2)
    number = 1 + max(one["number"] for one in before if one["number"])
    admin.goto("/models/")
    admin.click(f"#version-{second['id']} button")
    admin.fill("dialog input", "one class was found less often")
    admin.click("dialog [value=yes]")
    expect(admin.locator(".notice").first).to_contain_text("The version is current again, under a new number.")
    expect(desk.locator("#model-head + .card-note")).to_have_text(f"version {number}")
    again = hub.ask(day_desk.versions)[-1]
    assert (again["number"], again["source"], again["digest"]) == (number, "ROLLBACK", second["digest"])
    federation.signal(slow, signal.SIGCONT)
    _next_round_is_of_all(federation, "superseded twice", 2, number, second["digest"])
    admin.goto("/")
    admin.click("#abort")
    admin.click("dialog [value=yes]")
    expect(desk.locator("h1")).to_contain_text("No run is active.")
