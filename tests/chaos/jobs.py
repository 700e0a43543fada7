"""Fine-tuning jobs in which somebody dies: the doctor's program tries again until it has an answer."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import ledger
import office
from ground import LOOK_SECONDS, PATIENCE_SECONDS, RECOVERY_SECONDS, Ground
from job_doctor import EPOCHS, PASSWORD, PER_CLASS, SCANS, scan

from hospintel_core.architectures import CLASSES

POINTS = (
    *("lease_take.before_commit", "lease_take.committed", "train.begun", "train.scan_read", "train.epoch"),
    *("train.trained", "train.stored", "train.before_commit", "train.committed", "vault.key_erased"),
    *("erase.scans_gone", "propose.before_commit", "propose.committed", "propose_job.begun"),
    *("lease_end.before_commit", "lease_end.committed"),
)


class Bench:
    """A doctor with the workbench, who goes through a whole job for each point."""

    def __init__(self, ground: Ground) -> None:
        self.ground, hub, self.number = ground, ground.hub, 0
        name = hub.ask(office.create_doctor, "chaos-doctor", PASSWORD)
        hub.ask(office.switch_workbench_on, f"Hospital of {name}", "brain-mri")
        self.http = httpx.Client(base_url=hub.processes.address, timeout=30)
        answer = self.http.post("/login", json={"username": name, "password": PASSWORD})
        self.http.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        self.http.delete("/api/v1/lease")

    def call(self, method: str, path: str, *fine: int, **more: Any) -> httpx.Response:
        """Call until the hub answers, with success or one of the fine statuses. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            with suppress(httpx.TransportError):
                answer = self.http.request(method, path, **more)
                if answer.is_success or answer.status_code in fine:
                    return answer
            self.ground.mend()
            time.sleep(LOOK_SECONDS)
        raise TimeoutError(path)

    def run(self, point: str) -> dict[str, Any]:
        """Lease, job, scans, training, proposal, lease back; somebody dies at the point."""
        through = partial(self._through, by_itself=point == "propose_job.begun")
        return self.with_kill(point, PER_CLASS if point == "train.scan_read" else 0, through)

    def with_kill(self, point: str, passes: int, through: Callable[[], list[str]]) -> dict[str, Any]:
        """Do something in which somebody dies at the point; `through` returns what does not hold after it."""
        self.number += 1
        points, began = self.ground.points, time.monotonic()
        found: list[str] = []
        points.arm(point, passes, "kill")
        try:
            found = through()
        except TimeoutError as error:
            found = [f"in vain: {error}"]
        finally:
            killed = points.folder / f"{point}.pid"
            reached = killed.exists()
            recovery = time.time() - killed.stat().st_mtime if reached else 0.0
            points.disarm(point)
        if recovery > RECOVERY_SECONDS:
            found.append(f"recovered after {recovery:.0f} s")
        times = {"seconds": round(time.monotonic() - began, 1), "recovery": round(recovery, 1)}
        return {"reached": reached, **times, "violations": found}

    def _through(self, *, by_itself: bool) -> list[str]:
        hub = self.ground.hub
        self.call("POST", "/api/v1/lease", json={})
        job = str(self.call("POST", "/api/v1/jobs", json={}).json()["id"])
        for label, name in enumerate(CLASSES):
            files = [("file", (f"{one}.png", scan(self.number, label, one))) for one in range(PER_CLASS)]
            self.call("POST", f"/api/v1/jobs/{job}/scans", files=files, data={"class_name": name})
        # An answer that the hub could not give any more is asked for again: 409 says that it was done.
        wanted = hub.ask(office.head_of_job, job, EPOCHS)
        self.call("POST", f"/api/v1/jobs/{job}/train", 409, json={"epochs": EPOCHS, "propose": by_itself})
        ends = {"PROPOSED" if by_itself else "DONE", "FAILED", "CANCELLED"}
        self._until(job, lambda told: told["state"] in ends and told["erased_at"], "the end")
        self.call("POST", f"/api/v1/jobs/{job}/propose", 409, json={"note": "chaos"})
        self.call("DELETE", "/api/v1/lease", 409)
        return hub.ask(ledger.job_violations, job, SCANS, wanted)

    def _until(self, job: str, condition: Any, what: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition(self.call("GET", f"/api/v1/jobs/{job}").json()):
            if time.monotonic() > end:
                raise TimeoutError(what)
            time.sleep(LOOK_SECONDS)
