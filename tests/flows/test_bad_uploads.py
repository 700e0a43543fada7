"""What people send to a hub that runs: headers full of identifiers, and files that mean no good."""

import re
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import office
import pytest
import scan_desk
from harness import Hub, descendants, eventually
from test_bundle_hostile import ENTRY, WHOLE
from test_dicom_identifiers import DIGITS, FILES, WORD, Maker
from test_intake_hostile import FILES as IMAGES
from test_intake_hostile import MAX_GROWTH

from hospintel_core.architectures import CLASSES

PASSWORD = "correct horse battery"
PNG = b"\x89PNG\r\n\x1a\n"
# A hub takes no more files at a time.
AT_ONCE = 75
SLUG = "brain-mri"
WEB = "hospintel_site.server"
DATABASE = "the database"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub of the test's own, of which nothing is known but what the test sends."""
    hub = Hub(tmp_path)
    yield hub
    hub.close()


class Person:
    """Somebody's browser, signed in, and what the hub has told it."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.http = httpx.Client(base_url=hub.processes.address, timeout=300)
        self.told: list[bytes] = []
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.http.get("/accounts/login/").text)
        assert found
        self.http.headers["X-CSRFToken"] = found[1]
        self.send("/accounts/login/", data={"username": name, "password": PASSWORD})
        self.http.headers["X-CSRFToken"] = self.http.cookies["csrf"]

    def send(self, path: str, **more: Any) -> httpx.Response:
        answer = self.http.post(path, **more)
        self.told.append(repr(answer.headers).encode() + answer.content)
        return answer

    def look(self, path: str) -> httpx.Response:
        answer = self.http.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        self.told.append(repr(answer.headers).encode() + answer.content)
        return answer


@pytest.fixture
def sign_in(hub: Hub) -> Iterator[Callable[[str], Person]]:
    """Sign somebody in by name."""
    people: list[Person] = []

    def make(name: str) -> Person:
        people.append(Person(hub, name))
        return people[-1]

    yield make
    for person in people:
        person.http.close()


@pytest.fixture
def doctor(hub: Hub, sign_in: Callable[[str], Person]) -> Person:
    """A doctor who has the lease."""
    name = hub.ask(office.create_doctor, f"doctor-{secrets.token_hex(4)}", PASSWORD)
    hub.ask(office.switch_workbench_on, f"Hospital of {name}", SLUG)
    doctor = sign_in(name)
    assert doctor.send("/api/v1/lease", json={}).is_success
    return doctor


def marked(data: bytes) -> list[str]:
    """Which of the marks that all identifiers bear are in there, as they are or as UTF-16."""
    wide = [mark.decode().encode("utf-16-le") for mark in (WORD, DIGITS)]
    return [mark.decode(errors="replace") for mark in (WORD, DIGITS, *wide) if mark in data]


def files_under(hub: Hub) -> dict[str, bytes]:
    """Everything that a hub has on disk: database, keys, queue, scans, logs."""
    found = {}
    for path in hub.folder.rglob("*"):
        # What a process deletes meanwhile is not there any more.
        if path.is_file():
            try:
                found[str(path.relative_to(hub.folder))] = path.read_bytes()
            except FileNotFoundError:
                continue
    if url := hub.variables.get("DATABASE_URL"):
        found[DATABASE] = subprocess.run(["pg_dump", url], capture_output=True, timeout=60, check=True).stdout
    else:
        found[DATABASE] = found.pop("var/hospintel.sqlite3")
    return found


def bring_all(person: Person, path: str, files: list[tuple[str, bytes]]) -> int:
    """Send all the files, a class at a time; returns how many were taken."""
    taken = 0
    for number, class_name in enumerate(CLASSES):
        part = [("file", one) for one in files[number::4]]
        assert len(part) == AT_ONCE
        answer = person.send(path, files=part, data={"class_name": class_name})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert all(one["code"].startswith("dicom_") for one in told["refused"])
        taken += told.get("taken", len(told.get("scans", [])))
    return taken


def test_of_300_headers_full_of_identifiers_nothing_is_left_on_a_hub(
    hub: Hub, doctor: Person, sign_in: Callable[[str], Person]
) -> None:
    admin = sign_in(hub.ask(scan_desk.create_admin, "alice", PASSWORD))
    files = [(f"Doe^{WORD.decode()}-{DIGITS.decode()}-{seed}.dcm", Maker(seed).file()[0]) for seed in range(FILES)]
    assert all(len(marked(data)) == 2 for _, data in files)
    job = doctor.send("/api/v1/jobs", json={}).json()["id"]
    taken = bring_all(doctor, f"/api/v1/jobs/{job}/scans", files)
    assert bring_all(admin, "/api/v1/validation/scans", files) == taken > 120
    # The forms of the pages, too: these are copies by now, and the last is none at all.
    for person, path in ((doctor, f"/workbench/{job}/"), (admin, "/validation/")):
        form = {"files": [("file", one) for one in files[:20:4]], "data": {"class_name": "glioma"}}
        assert person.send(path, **form).status_code == 200
        assert person.send(path, files=[("file", (files[0][0], WORD * 9))]).status_code == 200
    plain = hub.ask(scan_desk.plain_scans)
    assert len(plain) == 2 * taken
    assert all(data.startswith(PNG) for data in plain)
    assert [marked(data) for data in plain if marked(data)] == []
    shown = doctor.look(f"/api/v1/jobs/{job}/scans").json()["scans"]
    for scan in shown:
        doctor.look(f"/workbench/{job}/scans/{scan['id']}.png")
    nothing_is_left(hub, doctor, admin, job)
    train(hub, doctor, admin, job)
    nothing_is_left(hub, doctor, admin, job)
    no_image_is_left(hub, job)


def train(hub: Hub, doctor: Person, admin: Person, job: str) -> None:
    """Put the validation set to use, then do the job."""
    coming = admin.look("/api/v1/validation").json()["coming"]["id"]
    assert admin.send(f"/api/v1/validation/{coming}/use", json={}).is_success
    eventually(lambda: admin.look("/api/v1/validation").json()["ready"], "the set is ready", hub.logs)
    assert doctor.send(f"/api/v1/jobs/{job}/train", json={"epochs": 1}).is_success
    eventually(lambda: doctor.look(f"/api/v1/jobs/{job}").json()["erased_at"], "the scans are deleted", hub.logs)
    assert doctor.look(f"/api/v1/jobs/{job}").json()["state"] == "DONE"


def nothing_is_left(hub: Hub, doctor: Person, admin: Person, job: str) -> None:
    """No mark on disk, on pages, in answers, in logs, in the audit."""
    for path in ("/", "/workbench/", f"/workbench/{job}/", f"/api/v1/jobs/{job}", "/api/v1/jobs", "/api/v1/events"):
        doctor.look(path)
    for path in ("/", "/validation/", "/audit/", "/models/", "/api/v1/validation", "/api/v1/events"):
        admin.look(path)
    exported = admin.send("/audit/export")
    assert exported.status_code == 200
    assert job in exported.text
    told = [*doctor.told, *admin.told]
    assert [marked(data) for data in told if marked(data)] == []
    files = files_under(hub)
    assert {"hub.log", DATABASE} <= set(files)
    assert {name: marked(data) for name, data in files.items() if marked(data) or marked(name.encode())} == {}


def no_image_is_left(hub: Hub, job: str) -> None:
    """Neither a file of the job's, nor its key, nor an image or a DICOM file of anybody's in the open."""
    files = files_under(hub)
    assert [name for name in files if job in name] == []
    open_ones = [name for name, data in files.items() if PNG in data or data[128:132] == b"DICM"]
    assert open_ones == []


HOSTILE = {
    **{f"image: {name}": file for name, file in IMAGES.items()},
    **{f"zip: {name}": file for name, file in (WHOLE | ENTRY).items()},
}
# Their first bytes say which of the two a file is, whatever it is meant for.
OTHER_CODES = {"image: a zip": "dataset_unreadable", "zip: not a zip": "image_format"}


def peak(pid: int) -> int:
    """The most memory that a process had since `forget_peak`, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def test_hostile_images_and_zips_are_refused_by_a_hub_in_bounded_memory(hub: Hub, doctor: Person) -> None:
    assert len(HOSTILE) >= 80
    job = doctor.send("/api/v1/jobs", json={}).json()["id"]
    address = f"/api/v1/jobs/{job}/scans"
    web = hub.child(WEB)
    # The peak so far, of the start, is forgotten.
    Path(f"/proc/{web}/clear_refs").write_text("5")
    before, wrong = peak(web), {}
    for name, (code, made) in HOSTILE.items():
        data = made() if callable(made) else made
        answer = doctor.send(address, files=[("file", ("a.bin", data))], data={"class_name": "glioma"})
        found = (answer.status_code, answer.json()["code"])
        if found not in {(422, OTHER_CODES.get(name, code)), (413, "body_too_large")}:
            wrong[name] = (found, code)
    assert wrong == {}
    assert peak(web) - before < MAX_GROWTH, f"{before >> 20} MiB, then {peak(web) >> 20} MiB"
    assert doctor.look(address).json() == {"scans": []}
    assert not list((hub.folder / "var" / "uploads").rglob("*.bin"))
    # It is the process that was there before, and it goes on.
    assert web == hub.child(WEB)
    assert web in descendants(hub.processes.process("hub").pid)
