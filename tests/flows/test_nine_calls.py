"""The original nine calls at a hub that runs, by a script that knows nothing but HTTP."""

import ast
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import office
import requests
from authenticator import code_of
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from harness import Hub, eventually
from site_agent import SLUG, Credentials, SiteAgent, b64

from hospintel_core import signing

SCRIPT = Path(__file__).with_name("nine_calls.py")
PASSWORD = "correct horse battery"


class _Http:
    """What SiteAgent calls with, over a real connection."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, headers: dict[str, str]) -> requests.Response:
        return requests.get(f"{self.address}{path}", headers=headers, timeout=120)


def agent_of(hub: Hub, hospital: str) -> SiteAgent:
    """An agent, enrolled as docs/api.md says."""
    address = hub.processes.address
    (code,) = hub.ask(office.issue_codes, SLUG, [hospital])
    key = Ed25519PrivateKey.generate()
    raw = signing.public_raw(key.public_key())
    proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, raw), key)
    body = {"code": code, "public_key": b64(raw), "proof": b64(proof), "agent_version": "0.1.0"}
    told = requests.post(f"{address}/api/v1/agents/enrol", json=body, timeout=120).json()
    pem = requests.get(f"{address}/api/v1/identity", timeout=120).json()["chain"][0]["pem"]
    identity: Any = load_pem_public_key(pem.encode())
    client: Any = _Http(address)
    return SiteAgent(Credentials(told["agent_id"], told["token"], key, identity), client, itertools.count(1))


def test_the_script_knows_nothing_but_requests():
    tree = ast.parse(SCRIPT.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"requests"}


def test_the_nine_calls_go_through_in_one_go(hub: Hub, tmp_path: Path):
    name = hub.ask(office.create_doctor, "nina", PASSWORD)
    agents = [agent_of(hub, f"nine {letter}") for letter in "ab"]
    hub.ask(office.set_least_updates, SLUG, len(agents))
    run = ""
    try:
        for agent in agents:
            agent.poll()
        run = hub.ask(office.start_run, SLUG, 1)
        manifest = eventually(agents[0].task, "there is a round to take part in", hub.logs)
        sealed = tmp_path / "update.hspu"
        sealed.write_bytes(agents[0].seal(manifest))
        secret = hub.ask(office.set_up_second_factor, name)
        asked = [hub.processes.address, "--name", name, "--password", PASSWORD, "--otp", code_of(secret)]
        asked += ["--agent-token", agents[0].token, "--update", str(sealed)]
        command = [sys.executable, str(SCRIPT), *asked]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        _as_described([json.loads(line) for line in done.stdout.splitlines()], name)
        # The update is one like any other: it is looked at and accepted.
        eventually(lambda: hub.ask(office.update_states, run) == ["ACCEPTED"], "the update is accepted", hub.logs)
    finally:
        if run:
            hub.ask(office.abort, run)


def _as_described(lines: list[dict[str, Any]], name: str) -> None:
    """The answers are those of docs/api.md, and of the original description."""
    told = {line["call"]: line["answer"] for line in lines if line["status"] == 200 or line["status"] == 202}
    assert told["GET /"] == {"status": "active", "message": "Secure Federated Learning Server Online"}
    assert told["GET /public_key"]["type"] == "application/x-pem-file"
    assert told["GET /status"]["required_updates"] == 2
    assert told["GET /status"].keys() >= {"round", "pending_updates", "required_updates", "clients_online"}
    assert re.fullmatch(r"hip_[\w-]{43}", told["POST /login"]["token"])
    assert "You have the fine-tuning lease" in told["POST /login"]["message"]
    assert told["GET /model"]["type"] == "application/octet-stream"
    assert told["POST /update"]["status"] == "accepted"
    assert told["POST /upload_model"]["uploaded_by"] == name
    assert "message" in told["POST /logout"]
    sessions = [line["answer"] for line in lines if line["call"] == "GET /check_session"]
    assert sessions == [{"logged_in": True, "user": name}, {"logged_in": False, "user": None}]
