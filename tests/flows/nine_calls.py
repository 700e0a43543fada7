#!/usr/bin/env python3
"""The nine calls of Hospintel's original description, with nothing but `requests`: what docs/api.md says, done.

    nine_calls.py HUB --name NAME --password PASSWORD [--otp CODE] --agent-token TOKEN --update FILE

One line of JSON for each call: its name, the status, and what it answered (of files, their size). FILE is a sealed
update, as an agent makes them (docs/wire-format.md); what is uploaded as a model is the model that was downloaded.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import requests

SECONDS = 120


def main() -> int:
    """Make the calls in their order; 0 if all of them went through."""
    parser = argparse.ArgumentParser(description="The nine calls.")
    parser.add_argument("hub")
    for name in ("--name", "--password", "--agent-token"):
        parser.add_argument(name, required=True)
    parser.add_argument("--otp", default="")
    parser.add_argument("--update", type=Path, required=True)
    given = parser.parse_args()
    agent = {"Authorization": f"Bearer {given.agent_token}"}

    def call(method: str, path: str, **more: Any) -> requests.Response:
        answer = requests.request(method, f"{given.hub}{path}", timeout=SECONDS, **more)
        is_json = answer.headers["Content-Type"].startswith("application/json")
        told = answer.json() if is_json else {"bytes": len(answer.content), "type": answer.headers["Content-Type"]}
        print(json.dumps({"call": f"{method} {path}", "status": answer.status_code, "answer": told}), flush=True)
        return answer

    answers = [call("GET", "/"), call("GET", "/public_key"), call("GET", "/status")]
    body = {"username": given.name, "password": given.password, **({"otp": given.otp} if given.otp else {})}
    answers.append(call("POST", "/login", json=body))
    person = {"Authorization": f"Bearer {answers[-1].json().get('token', '')}"}
    answers.append(call("GET", "/check_session", headers=person))
    while (model := call("GET", "/model", headers=person)).status_code == requests.codes.service_unavailable:
        # The worker is writing it.
        time.sleep(float(model.headers["Retry-After"]))
    answers.append(model)
    with given.update.open("rb") as sealed:
        answers.append(call("POST", "/update", headers=agent, files={"file": sealed}))
    files = {"file": ("global_model.h5", model.content)}
    answers.append(call("POST", "/upload_model", headers=person, files=files))
    answers.append(call("POST", "/logout", headers=person))
    call("GET", "/check_session")
    return 0 if all(answer.ok for answer in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
