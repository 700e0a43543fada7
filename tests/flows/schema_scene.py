"""Who calls the API by its own description, things of theirs that the addresses can name, and what is sent in earnest.

Calls end what they find: runs are aborted, jobs cancelled, scans deleted, people signed out. So whatever an operation's
address names is looked at before each of its calls, and made anew where an earlier one has ended it.
"""

import base64
import io
import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import office
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness import Hub, eventually
from PIL import Image

from hospintel_core import signing, weights
from hospintel_core.plan import Manifest, SignedManifest
from tools import stand_in
from tools.stand_in import StandIn

SLUG, PASSWORD = "brain-mri", "a long enough password"
V1 = "/api/v1"
FORM = "multipart/form-data"


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
        self._agent = self._enrol(code)
        self._tokens = {"agent": self._agent.token}
        self._run = ""
        self._upload = ""
        self._numbers = itertools.count(1)
        self._make: dict[str, Callable[[], str]] = {
            "slug": lambda: SLUG,
            "run_id": self._running,
            "round_id": self._round,
            "job_id": self._job,
            "scan_id": self._scan,
            "set_id": self._set,
            "upload_id": self._handed_in,
            "digest": lambda: self.http.get("/status").json()["model"],
            "version_id": self._old_version,
            "a": self._old_version,
            "b": self._current_version,
        }
        self._sent_in_earnest: dict[str, Callable[[], dict[str, Any]]] = {
            "POST /agents/enrol": self._new_agent,
            "POST /federations/{slug}/checkpoint": lambda: {"body": {"kept": ""}},
            "POST /federations/{slug}/runs": self._new_run,
            "POST /federations/{slug}/runs/{run_id}/{verb}": lambda: {"path": {"verb": "pause"}},
            "POST /models/{version_id}/{verb}": lambda: {"path": {"verb": "rollback"}, "body": {}},
            "POST /rounds/{round_id}/report": self._report,
            "PUT /rounds/{round_id}/update": self._parts,
            "POST /update": lambda: {"body": {"file": self._sealed()}, "media_type": FORM},
            "POST /login": lambda: {"body": {"username": "doctor", "password": PASSWORD}},
            "POST /jobs": self._new_job,
            "POST /jobs/{job_id}/scans": self._picture,
            "PATCH /jobs/{job_id}/scans/{scan_id}": lambda: {"body": {"class_name": "glioma"}},
            "POST /jobs/{job_id}/train": lambda: {"body": {"epochs": 1}},
            "POST /upload_model": lambda: {"body": {"file": self._model_to_hand_in()}, "media_type": FORM},
            "POST /validation/scans": self._picture,
        }
        self._publish_second()

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
        found = {name: make() for name, make in self._make.items() if f"{{{name}}}" in path}
        if path.endswith("/model.h5"):
            self._file(f"models/{found['version_id']}/model.h5")
        return found

    def in_earnest(self, label: str) -> dict[str, Any]:
        """What whoever means it sends with an operation: body, media type, headers, query, the rest of the path."""
        method, _, path = label.partition(" ")
        make = self._sent_in_earnest.get(f"{method} {path.removeprefix(V1)}")
        return make() if make else {}

    def call(self, method: str, path: str, role: str, **more: Any) -> httpx.Response:
        return self.http.request(method, f"{V1}/{path}", headers=self.headers(role), **more)

    def _enrol(self, code: str) -> StandIn:
        key = Ed25519PrivateKey.generate()
        answer = self.http.post(f"{V1}/agents/enrol", json=self._enrolment(code, key))
        assert answer.status_code == 201, answer.text
        told = answer.json()
        return StandIn(UUID(told["agent_id"]), told["token"], key.private_bytes_raw())

    def _new_agent(self) -> dict[str, Any]:
        (code,) = self.hub.ask(office.issue_codes, SLUG, [f"Clinic {next(self._numbers)}"])
        return {"body": self._enrolment(code)}

    def _enrolment(self, code: str, key: Ed25519PrivateKey | None = None) -> dict[str, str]:
        key = key or Ed25519PrivateKey.generate()
        raw = signing.public_raw(key.public_key())
        proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, raw), key)
        return {
            "code": code,
            "public_key": base64.b64encode(raw).decode(),
            "proof": base64.b64encode(proof).decode(),
            "agent_version": "0.1.0",
        }

    def _token(self, role: str) -> str:
        if role not in self._tokens:
            answer = self.http.post("/login", json={"username": role, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            self._tokens[role] = answer.json()["token"]
        return self._tokens[role]

    def signed_out(self, role: str) -> None:
        """Forget the token of somebody who has been signed out; an agent's is for good."""
        if role != "agent":
            self._tokens.pop(role, None)

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

    def _new_run(self) -> dict[str, Any]:
        self.hub.ask(office.abort, self._running())
        return {"body": {"rounds": 3, "plan": {"epochs": 1}}}

    def _task(self) -> Manifest:
        self._running()

        def task() -> httpx.Response | None:
            answer = self.call("GET", f"federations/{SLUG}/task", "agent")
            return answer if answer.status_code == 200 else None

        answer = eventually(task, "a round is open", self.hub.logs)
        return Manifest.from_bytes(SignedManifest.from_wire(answer.json()).body)

    def _round(self) -> str:
        return str(self._task().round_id)

    def _sealed(self) -> bytes:
        return stand_in.seal(self._agent, self._task(), "pixels-head16", seq=next(self._numbers), delta=1e-3)

    def _parts(self) -> dict[str, Any]:
        sealed = self._sealed()
        headers = {"Upload-Length": str(len(sealed)), "Upload-Digest": weights.digest(sealed)}
        return {"body": sealed, "media_type": "application/octet-stream", "headers": headers, "query": {"offset": 0}}

    def _report(self) -> dict[str, Any]:
        signature = signing.sign(signing.DOMAIN_REPORT, b"{}", Ed25519PrivateKey.from_private_bytes(self._agent.key))
        return {"body": {"body": "{}", "signature": base64.b64encode(signature).decode()}}

    def _publish_second(self) -> None:
        """Have the federation go on to a second version, so that there is an older one."""
        answer = self.call("POST", "update", "agent", files={"file": self._sealed()})
        assert answer.status_code == 200, answer.text
        eventually(lambda: self.http.get("/status").json()["version"] == 2, "a second version", self.hub.logs)

    def _job(self) -> str:
        jobs = self.call("GET", "jobs", "doctor").json()["jobs"]
        drafts = [job["id"] for job in jobs if job["state"] == "DRAFT"]
        if drafts:
            return str(drafts[0])
        answer = self.call("POST", "jobs", "doctor", json={})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def _new_job(self) -> dict[str, Any]:
        self.call("POST", f"jobs/{self._job()}/cancel", "doctor")
        return {"body": {}}

    def _scan(self) -> str:
        job = self._job()
        found = self.call("GET", f"jobs/{job}/scans", "doctor").json()["scans"]
        if not found:
            answer = self._bring(f"jobs/{job}/scans", "doctor")
            found = answer.json()["scans"]
        return str(found[0]["id"])

    def _set(self) -> str:
        return str(self._bring("validation/scans", "admin").json()["set"]["id"])

    def _picture(self) -> dict[str, Any]:
        return {"body": {"file": [picture(next(self._numbers))], "class_name": "glioma"}, "media_type": FORM}

    def _bring(self, path: str, role: str) -> httpx.Response:
        form = self._picture()["body"]
        files = [("file", ("scan.png", content)) for content in form["file"]]
        answer = self.call("POST", path, role, files=files, data={"class_name": form["class_name"]})
        assert answer.status_code == 200, answer.text
        return answer

    def _handed_in(self) -> str:
        if not self._upload:
            self._lease("doctor")
            files = {"file": ("global_model.h5", self._model_to_hand_in())}
            answer = self.call("POST", "upload_model", "doctor", files=files)
            assert answer.status_code == 200, answer.text
            self._upload = str(answer.json()["id"])
        return self._upload

    def _model_to_hand_in(self) -> bytes:
        eventually(lambda: not self.hub.ask(office.models_unread), "the model before is read", self.hub.logs)
        return self._file("model")

    def _file(self, path: str) -> bytes:
        def written() -> bytes | None:
            answer = self.call("GET", path, "admin")
            return answer.content if answer.status_code == 200 else None

        found: bytes = eventually(written, f"the file of {path} is there", self.hub.logs)
        return found

    def _versions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", f"federations/{SLUG}/versions", "admin").json()["versions"]
        return found

    def _current_version(self) -> str:
        return str(next(version["id"] for version in self._versions() if version["current"]))

    def _old_version(self) -> str:
        old = (one["id"] for one in self._versions() if one["state"] == "PUBLISHED" and not one["current"])
        return str(next(old))
