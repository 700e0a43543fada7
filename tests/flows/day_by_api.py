#!/usr/bin/env python3
"""A doctor's day and an administrator's with nothing but `requests`: what docs/api.md says, done.

    day_by_api.py HUB SCANS --doctor NAME PASSWORD --admin NAME PASSWORD CODE

SCANS is a folder of class folders. One line of JSON for each step: its name, and what came of it. The doctor fine-tunes
the current model on the scans and proposes the result; the administrator starts a run, publishes the proposal while a
round is open, lets the hospitals train from it, and goes back to the version before.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

SECONDS, PATIENCE, PAUSE = 60, 300, 0.2
FEDERATION = "federations/brain-mri"
EPOCHS, ROUNDS = 3, 1000


def tell(step: str, **found: Any) -> None:
    """Print a line for whoever follows."""
    print(json.dumps({"step": step, **found}), flush=True)


class Person:
    """Somebody who is signed in by a token."""

    def __init__(self, hub: str, name: str, password: str, code: str = "") -> None:
        """Sign in; with a code of the app where there is a second factor."""
        self.hub, self.headers = hub, {}
        body = {"username": name, "password": password, **({"otp": code} if code else {})}
        told = self.call("POST", "login", json=body).json()
        self.headers = {"Authorization": f"Bearer {told['token']}"}
        tell("sign in", name=name, message=told["message"])

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Make a call. Raises requests.HTTPError where the hub refuses it; the answer's `detail` says why."""
        address = f"{self.hub}/api/v1/{path}"
        answer = requests.request(method, address, headers=self.headers, timeout=SECONDS, **more)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text}", response=answer)
        return answer

    def get(self, path: str, **query: Any) -> Any:
        """Return what the hub answers."""
        return self.call("GET", path, params=query).json()

    def until(self, what: str, look: Callable[[], Any]) -> Any:
        """Look until there is something, and return it. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE
        while not (found := look()):
            if time.monotonic() > end:
                raise TimeoutError(what)
            time.sleep(PAUSE)
        return found


def main() -> int:
    """Do the day; an exception ends it."""
    parser = argparse.ArgumentParser(description="A day by calls.")
    parser.add_argument("hub")
    parser.add_argument("scans", type=Path)
    parser.add_argument("--doctor", nargs=2, required=True)
    parser.add_argument("--admin", nargs=3, required=True)
    given = parser.parse_args()
    doctor = Person(given.hub, *given.doctor)
    proposal = fine_tune(doctor, given.scans)
    admin = Person(given.hub, *given.admin)
    before = next(one for one in versions(admin) if one["current"])
    run = admin.call("POST", f"{FEDERATION}/runs", json={"rounds": ROUNDS, "plan": {"epochs": 1}}).json()
    tell("run", **run)
    published = publish(admin, proposal)
    train_from(admin, published)
    again = decide(admin, before["id"], "rollback", "one class was found less often")
    train_from(admin, again)
    admin.call("POST", f"{FEDERATION}/runs/{run['id']}/abort")
    for person in (admin, doctor):
        tell("sign out", **person.call("POST", "logout").json())
    tell("nobody has the lease", **requests.get(f"{given.hub}/api/v1/check_session", timeout=SECONDS).json())
    return 0


def fine_tune(doctor: Person, folder: Path) -> str:
    """From the lease to the proposal; returns the version's id."""
    tell("lease", **doctor.call("POST", "lease").json())
    while (
        answer := requests.get(f"{doctor.hub}/api/v1/model", headers=doctor.headers, timeout=SECONDS)
    ).status_code == (requests.codes.service_unavailable):
        time.sleep(float(answer.headers["Retry-After"]))
    answer.raise_for_status()
    tell("model", bytes=len(answer.content))
    job = doctor.call("POST", "jobs", json={}).json()["id"]
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = [("file", (path.name, path.read_bytes())) for path in sorted(group.iterdir())]
        added = doctor.call("POST", f"jobs/{job}/scans", files=files, data={"class_name": group.name}).json()
        tell("scans", of=group.name, taken=len(added["scans"]), refused=added["refused"])
    tell("all scans", count=len(doctor.get(f"jobs/{job}/scans")["scans"]))
    asked = {"epochs": EPOCHS, "propose": True, "note": "scans of our new scanner"}
    doctor.call("POST", f"jobs/{job}/train", json=asked)
    ended = doctor.until("the job is proposed", lambda: _ended(doctor, job))
    tell("job", **{name: ended[name] for name in ("state", "code", "not_proposed", "progress", "figures", "version")})
    return str(ended["version"])


def _ended(doctor: Person, job: str) -> Any:
    found = doctor.get(f"jobs/{job}")
    return found if found["version"] or found["code"] or found["not_proposed"] else None


def versions(person: Person) -> list[dict[str, Any]]:
    """Return the versions, the newest first."""
    found: list[dict[str, Any]] = person.get(f"{FEDERATION}/versions")["versions"]
    return found


def publish(admin: Person, proposal: str) -> dict[str, Any]:
    """Look at what the proposal's job measured, wait until a round is open, and publish."""
    (held,) = (one for one in versions(admin) if one["id"] == proposal)
    tell("compare", state=held["state"], author=held["author"], note=held["note"], measured=held["measured"])
    admin.until("a round is open", lambda: admin.get("status")["pending_updates"])
    return decide(admin, proposal, "publish", "better on the new scanner")


def decide(admin: Person, version: str, verb: str, reason: str) -> dict[str, Any]:
    """Publish or go back; returns the version that is current now."""
    told: dict[str, Any] = admin.call("POST", f"models/{version}/{verb}", json={"reason": reason}).json()
    tell(verb, **told)
    return told


def train_from(admin: Person, version: dict[str, Any]) -> None:
    """Wait until a round that started from this version has made the next one."""

    def made() -> list[dict[str, Any]]:
        published = [one for one in versions(admin) if one["number"] and one["comes_from"] == "ROUND"]
        return [one for one in published if one["made_from"] == version["id"]]

    (child,) = admin.until("a version is made from it", made)
    opened = [event for event in _events(admin, "round.open") if event["facts"]["version"] == version["number"]]
    failed = _events(admin, "round.failed")
    superseded = [event["object"] for event in failed if event["facts"]["reason"] == "superseded"]
    tell("trained", child=child["number"], rounds=[event["object"] for event in opened], superseded=superseded)


def _events(person: Person, action: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = 0
    while events := person.get("events", after=after)["events"]:
        after = events[-1]["seq"]
        found += [event for event in events if event["action"] == action]
    return found


if __name__ == "__main__":
    sys.exit(main())
