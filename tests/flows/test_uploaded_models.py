"""A model over real HTTP: downloaded, changed, handed in, read by the hub's worker, whatever happens to that worker."""

import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import office
import pytest
from harness import PATIENCE_SECONDS, Hub, descendants, eventually

from hospintel_core import architectures, h5, weights

PASSWORD = "a long enough password"
PIXELS = architectures.get("pixels-head16")
PADDING, MOST_MEMORY = 120 << 20, 64 << 10


class Doctor:
    """A doctor's program, signed in, with the lease."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.http = httpx.Client(base_url=hub.processes.address, timeout=240)
        token = self.http.post("/login", json={"username": name, "password": PASSWORD}).json()["token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        eventually(lambda: self.http.post("/api/v1/lease").status_code == 200, "the lease is free", hub.logs)

    def hand_in(self, data: bytes) -> str:
        answer = self.http.post(
            "/upload_model", files={"file": ("global_model.h5", data)}, data={"note": "from a flow"}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def state(self, upload: str) -> dict[str, Any]:
        return dict(self.http.get(f"/api/v1/uploads/{upload}").json())

    def until_decided(self, upload: str, hub: Hub) -> dict[str, Any]:
        eventually(lambda: self.state(upload)["state"] not in {"RECEIVED", "READING"}, "it is decided", hub.logs)
        return self.state(upload)


@pytest.fixture
def doctor(hub: Hub) -> Iterator[Doctor]:
    doctor = Doctor(hub, hub.ask(office.create_doctor, f"doctor-{secrets.token_hex(4)}", PASSWORD))
    yield doctor
    doctor.http.post("/logout")
    doctor.http.close()


def trained(doctor: Doctor, hub: Hub, folder: Path, by: float) -> tuple[bytes, weights.Arrays]:
    """The hub's model with another head, as .h5."""
    eventually(lambda: doctor.http.get("/model").status_code == 200, "the model is written", hub.logs)
    path = folder / "global_model.h5"
    path.write_bytes(doctor.http.get("/model").content)
    head = {name: array + np.float32(by) for name, array in h5.read_head(path, PIXELS).items()}
    h5.write_model(path, PIXELS, [], head)
    return path.read_bytes(), head


def quarantined(hub: Hub) -> list[Path]:
    return list((hub.folder / "var" / "uploads" / "models").glob("*"))


def test_a_downloaded_model_comes_back_changed_and_waits_for_review(hub: Hub, doctor: Doctor, tmp_path: Path) -> None:
    data, _ = trained(doctor, hub, tmp_path, 0.125)
    told = doctor.until_decided(doctor.hand_in(data), hub)
    assert (told["state"], told["version_state"]) == ("PROPOSED", "HELD")
    again = doctor.until_decided(doctor.hand_in(data), hub)
    assert (again["state"], again["code"]) == ("REFUSED", "version_waiting")
    assert quarantined(hub) == []


def test_a_large_file_is_taken_and_refused(hub: Hub, doctor: Doctor, tmp_path: Path) -> None:
    data, _ = trained(doctor, hub, tmp_path, 0.25)
    before = peak(hub.child("hospintel_site.server"))
    told = doctor.until_decided(doctor.hand_in(data[:1000] + os.urandom(PADDING)), hub)
    assert (told["state"], told["code"]) == ("REFUSED", "model_unreadable")
    # The web process passes it on to the disk.
    assert peak(hub.child("hospintel_site.server")) - before < MOST_MEMORY
    answer = doctor.http.post("/upload_model", files={"file": ("x.h5", h5.MAGIC + bytes(130 << 20))})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert quarantined(hub) == []


def peak(pid: int) -> int:
    """The most memory that a process had, in kB."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


def reading(hub: Hub) -> list[int]:
    """Pids of the processes that read an uploaded model now."""
    found = []
    for pid in descendants(hub.processes.process("hub").pid):
        with suppress(OSError):
            if b"reader.main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@contextmanager
def caught_reading(hub: Hub) -> Iterator[int]:
    """Let the next process that reads stand still."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (pids := reading(hub)):
        assert time.monotonic() < deadline, hub.logs()
    os.kill(pids[0], signal.SIGSTOP)
    yield pids[0]


def test_a_worker_killed_while_it_reads_is_followed_by_another(hub: Hub, doctor: Doctor, tmp_path: Path) -> None:
    data, head = trained(doctor, hub, tmp_path, 0.5)
    upload = doctor.hand_in(data)
    with caught_reading(hub) as pid:
        assert doctor.state(upload)["state"] == "READING"
        for worker in hub.worker():
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    # The reader does not outlive who started it.
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the reader ends", hub.logs)
    assert len(quarantined(hub)) == 1
    told = doctor.until_decided(upload, hub)
    assert told["state"] == "PROPOSED", told
    (entry,) = hub.ask(office.events, "model_upload.proposed", f"model_upload:{upload}")
    assert entry["facts"]["isolated"] == told["isolated"]
    assert len(hub.ask(office.events, "model_upload.reading", f"model_upload:{upload}")) == 2
    stored = hub.folder / "var" / "models" / "heads" / f"{weights.digest(weights.dumps(head))}.safetensors"
    assert stored.exists()
    assert quarantined(hub) == []
