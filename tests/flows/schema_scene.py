"""Who calls the API by its own description, and things of theirs that the addresses can name.

Calls end what they find: runs are aborted, jobs cancelled, scans deleted, people signed out. So whatever an operation's
address names is looked at before that operation's calls, and made anew where an earlier one has ended it.
"""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import office
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness import Hub, eventually
from PIL import Image

from hospintel_core import signing

SLUG, PASSWORD = "brain-mri", "a long enough password"
V1 = "/api/v1"


def picture(shade: int) -> bytes:
    """A scan of its own for each shade."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").point(lambda value: (value * 7 + shade * 31) % 256).save(buffer, "PNG")
    return buffer.getvalue()


class Scene:
    """An administrator, a doctor and an agent of one hospital, and a caller who says nothing of themselves."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.http = httpx.Client(base_url=hub.processes.address, timeout=240)
        (code,) = hub.ask(office.issue_codes, SLUG, ["Described Clinic"])
        hub.ask(office.create_doctor_of, "doctor", PASSWORD, "Described Clinic")
        hub.ask(office.create_bare_admin, "admin", PASSWORD)
        hub.ask(office.set_least_updates, SLUG, 1)
        self._tokens = {"agent": self._enrol(code)}
        self._run = ""
        self._upload = ""
        self._shade = 0
        self._make: dict[str, Callable[[], str]] = {
            "slug": lambda: SLUG,
            "run_id": self._running,
            "round_id": self._round,
            "job_id": self._job,
            "scan_id": self._scan,
            "set_id": self._set,
            "upload_id": self._handed_in,
            "digest": lambda: self.http.get("/status").json()["model"],
            **dict.fromkeys(("a", "b", "version_id"), self._version),
        }

    def close(self) -> None:
        self.http.close()

    def headers(self, role: str) -> dict[str, str]:
        """What this caller sends to say who calls."""
        return {} if role == "anonymous" else {"Authorization": f"Bearer {self._token(role)}"}

    def named(self, path: str, role: str) -> dict[str, str]:
        """What the parameters of a path are for this caller: things that are there now."""
        if "jobs" in path or "upload_model" in path:
            # An administrator hands models in; jobs are of doctors, whose scans nobody else sees.
            self._lease("admin" if role == "admin" and "upload_model" in path else "doctor")
        return {name: make() for name, make in self._make.items() if f"{{{name}}}" in path}

    def call(self, method: str, path: str, role: str, **more: Any) -> httpx.Response:
        return self.http.request(method, f"{V1}/{path}", headers=self.headers(role), **more)

    def _enrol(self, code: str) -> str:
        key = Ed25519PrivateKey.generate()
        raw = signing.public_raw(key.public_key())
        proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, raw), key)
        answer = self.http.post(
            f"{V1}/agents/enrol",
            json={
                "code": code,
                "public_key": base64.b64encode(raw).decode(),
                "proof": base64.b64encode(proof).decode(),
                "agent_version": "0.1.0",
            },
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])

    def _token(self, role: str) -> str:
        if role != "agent":
            known = self._tokens.get(role)
            headers = {"Authorization": f"Bearer {known}"}
            if known is None or self.http.get(f"{V1}/validation", headers=headers).status_code == 401:
                answer = self.http.post("/login", json={"username": role, "password": PASSWORD})
                assert answer.status_code == 200, answer.text
                self._tokens[role] = answer.json()["token"]
        return self._tokens[role]

    def _lease(self, holder: str) -> None:
        """Let this person have the lease, whoever has it now."""
        for role in {"admin", "doctor"} - {holder}:
            self.call("DELETE", "lease", role)
        answer = self.call("POST", "lease", holder)
        assert answer.status_code == 200, answer.text

    def _running(self) -> str:
        if self._run and self.hub.ask(office.run_state, self._run) == "PAUSED":
            self.call("POST", f"federations/{SLUG}/runs/{self._run}/resume", "admin")
        if not self._run or self.hub.ask(office.run_state, self._run) != "RUNNING":
            self._run = self.hub.ask(office.running, SLUG) or self.hub.ask(office.start_run, SLUG, 1000)
        return self._run

    def _round(self) -> str:
        self._running()

        def task() -> httpx.Response | None:
            answer = self.call("GET", f"federations/{SLUG}/task", "agent")
            return answer if answer.status_code == 200 else None

        answer = eventually(task, "a round is open", self.hub.logs)
        return str(json.loads(answer.json()["manifest"])["round_id"])

    def _job(self) -> str:
        jobs = self.call("GET", "jobs", "doctor").json()["jobs"]
        drafts = [job["id"] for job in jobs if job["state"] == "DRAFT"]
        if drafts:
            return str(drafts[0])
        answer = self.call("POST", "jobs", "doctor", json={})
        assert answer.status_code == 201 or jobs, answer.text
        # One that runs is as good: nothing else can be begun.
        return str(answer.json()["id"] if answer.status_code == 201 else jobs[0]["id"])

    def _scan(self) -> str:
        job = self._job()
        found = self.call("GET", f"jobs/{job}/scans", "doctor").json()["scans"]
        if not found:
            self._shade += 1
            files = {"file": ("scan.png", picture(self._shade))}
            answer = self.call("POST", f"jobs/{job}/scans", "doctor", files=files, data={"class_name": "glioma"})
            found = answer.json()["scans"]
        return str(found[0]["id"])

    def _set(self) -> str:
        self._shade += 1
        files = {"file": ("scan.png", picture(self._shade))}
        answer = self.call("POST", "validation/scans", "admin", files=files, data={"class_name": "glioma"})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def _handed_in(self) -> str:
        if not self._upload:
            self._lease("doctor")
            model = eventually(lambda: self._model(), "the model is written", self.hub.logs)
            answer = self.call("POST", "upload_model", "doctor", files={"file": ("global_model.h5", model)})
            assert answer.status_code == 200, answer.text
            self._upload = str(answer.json()["id"])
        return self._upload

    def _model(self) -> bytes | None:
        answer = self.call("GET", "model", "admin")
        return answer.content if answer.status_code == 200 else None

    def _version(self) -> str:
        found = self.call("GET", f"federations/{SLUG}/versions", "admin").json()["versions"]
        waiting = [version["id"] for version in found if version["state"] == "HELD"]
        return str((waiting or [version["id"] for version in found])[0])
