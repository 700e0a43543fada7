"""A doctor's program that fine-tunes: it signs in, takes the lease, brings drawn scans to a job."""

import io
import secrets
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import office
from harness import Hub, eventually

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES

PASSWORD = "a long enough password"
PER_CLASS, EPOCHS = 8, 4
SCANS = PER_CLASS * len(CLASSES)


class Doctor:
    """A doctor's program with the lease and a job that has its scans."""

    def __init__(self, hub: Hub, seed: int) -> None:
        self.hub, name = hub, f"doctor-{secrets.token_hex(4)}"
        hub.ask(office.create_doctor, name, PASSWORD)
        hub.ask(office.switch_workbench_on, f"Hospital of {name}", "brain-mri")
        self.http = httpx.Client(base_url=hub.processes.address, timeout=60)
        self.http.headers["Authorization"] = f"Bearer {self.call('/login', username=name, password=PASSWORD)['token']}"
        self.call("/api/v1/lease")
        self.job = str(self.call("/api/v1/jobs")["id"])
        for label, class_name in enumerate(CLASSES):
            files = [("file", (f"{number}.png", scan(seed, label, number))) for number in range(PER_CLASS)]
            answer = self.http.post(f"/api/v1/jobs/{self.job}/scans", files=files, data={"class_name": class_name})
            assert len(answer.json()["scans"]) == PER_CLASS, answer.text

    def call(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = self.http.post(path, json=fields)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def fine_tune(self, **more: Any) -> None:
        self.call(f"/api/v1/jobs/{self.job}/train", epochs=EPOCHS, **more)

    def propose(self) -> httpx.Response:
        return self.http.post(f"/api/v1/jobs/{self.job}/propose", json={"note": "from a flow"})

    def answered(self) -> bool:
        with suppress(httpx.TransportError):
            return self.http.get("/healthz").is_success
        return False

    def state(self) -> dict[str, Any]:
        return dict(self.http.get(f"/api/v1/jobs/{self.job}").json())

    def until(self, state: str) -> dict[str, Any]:
        eventually(lambda: self.state()["state"] == state, f"the job is {state}", self.hub.logs)
        return self.state()


def scan(seed: int, label: int, number: int) -> bytes:
    made = io.BytesIO()
    phantoms.draw(label, np.random.default_rng((31, seed, label, number)), 64).save(made, "PNG")
    return made.getvalue()
