"""Is an agent enrolled here, are its files its own, and what did it do last?"""

from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_agent.config import load_config
from client_agent.doctor.finding import Finding, Patient, failure, ok, skipped, warning
from client_agent.errors import SetupError, StorageError
from client_agent.journal import Journal, State
from hospintel_core import signing
from hospintel_core.errors import KeyFileError


def check_configuration(patient: Patient) -> Iterator[Finding]:
    """The home is closed to others, config.json can be used, and the key is there and nobody else's."""
    home = patient.home
    try:
        home.require_private()
        patient.config = load_config(home)
    except SetupError as error:
        patient.mine = error.code != "home_exposed"
        if error.code == "not_enrolled" and patient.hub:
            enrol = f"hospintel-agent enrol --hub {patient.url} --code -" + (
                f" --ca {patient.ca}" if patient.ca else ""
            )
            yield warning("configuration", error.code, error.detail, f"ask the hub's administrator for a code; {enrol}")
        else:
            yield failure("configuration", error)
        yield skipped("key", "the key is made at enrolment" if error.code == "not_enrolled" else "see configuration")
        return
    config = patient.config
    who = f"agent {config.agent_id} of {config.hospital} in {config.federation}"
    yield ok("configuration", f"{who}, home {home.folder}")
    try:
        key = signing.read_private_key(home.key, Ed25519PrivateKey)
    except KeyFileError as error:
        yield failure("key", error)
    else:
        yield ok("key", f"this user's alone; fingerprint {signing.fingerprint(key.public_key())}")


def check_journal(patient: Patient) -> Iterator[Finding]:
    """The journal can be read, and its last task ended well."""
    if not patient.mine:
        yield skipped("journal", "see configuration")
        return
    if not patient.home.journal.exists():
        yield ok("journal", "no task yet", tasks=0)
        return
    try:
        with Journal(patient.home.journal) as journal:
            rows = journal.rounds()
    except StorageError as error:
        yield failure("journal", error)
        return
    if not rows:
        yield ok("journal", "no task yet", tasks=0)
        return
    last = rows[-1]
    when = f"{datetime.fromtimestamp(last.changed_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    found = f"{len(rows)} tasks, the last: {last.kind} in round {last.number}, {last.state} at {when}"
    if last.state == State.REFUSED:
        remedy = "tell the hub's administrator the code and the round; the next round starts afresh"
        yield warning("journal", last.code, f"{found}: {last.detail} ({last.code})", remedy, tasks=len(rows))
    else:
        yield ok("journal", found, tasks=len(rows))
