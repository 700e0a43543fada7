"""What the commands print on stdout: plain text and small tables."""

import logging
import sys
from datetime import UTC, datetime
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from client_agent import __version__
from client_agent.agent import Agent
from client_agent.config import Config, Home
from client_agent.enrol import Enrolment
from client_agent.errors import AgentError, describe
from client_agent.http import Http
from client_agent.hub import NO_ROUND, Hub
from client_agent.journal import Journal, Row
from client_agent.train import measure_current
from client_agent.witness import kept_checkpoint, unsettled
from hospintel_core import metrics, signing
from hospintel_core.errors import KeyFileError

log = logging.getLogger(__name__)

SHOWN_TASKS = 10
# Of a run's id; the sheet of rounds has it whole.
SHOWN_DIGITS = 8


def enrolment(done: Enrolment) -> None:
    """Print what was agreed, and the fingerprints to compare."""
    config = done.config
    print(f"Enrolled {config.hospital} as agent {config.agent_id} in {config.federation}.")
    print(f"agent's fingerprint: {done.agent_fingerprint}")
    print(f"hub's fingerprint:   {done.hub_fingerprint}")
    print("Compare both with what the hub's administrator sees, by telephone or in person.")


def started(agent: Agent) -> None:
    """Log who serves."""
    config = agent.config
    log.info("agent %s of %s, version %s, hub %s", config.agent_id, config.hospital, __version__, config.hub)


def stopped() -> None:
    """Log a clean end."""
    log.info("stopped; an open round goes on at the next start")


def status(home: Home, config: Config) -> AgentError | None:
    """Print the enrolment, the hub's state and the last tasks; returns what is wrong with the hub or the token."""
    rows = _latest(home)
    failed = _check_hub(config, rows[0].round_id if rows else NO_ROUND)
    kept, contradicted = kept_checkpoint(home), unsettled(home)
    print(f"agent       {config.agent_id} of {config.hospital}")
    print(f"its key     {_own_fingerprint(home)}")
    print(f"home        {home.folder}")
    print(f"federation  {config.federation}")
    print(f"hub         {config.hub}: {'reachable, token valid' if failed is None else describe(failed).code}")
    print(f"hub's key   {signing.fingerprint(config.identity)}")
    if config.first_identity:
        print(f"            follows {signing.fingerprint(config.identity_at_enrolment)}, pinned at enrolment")
    if kept is not None or contradicted is not None:
        seen = f"seen up to entry {kept.seq}" if kept else "not seen"
        print(f"hub's audit {seen}{f'; it contradicts itself: {contradicted.detail}' if contradicted else ''}")
    if not rows:
        print("No task yet.")
        return failed or contradicted
    table = Table(box=None, pad_edge=False)
    for name in ("run", "round", "task", "state"):
        table.add_column(name)
    for name in ("scans", "seconds", "MB up", "MB down", "at (UTC)"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*_cells(row))
    Console().print(table)
    if rows[0].detail:
        print(f"round {rows[0].number}: {rows[0].detail}")
    return failed or contradicted


def evaluation(agent: Agent) -> None:
    """Print how good the hub's current model is on the local validation scans."""
    report, names = measure_current(agent)
    if report.accuracy is None:
        print("No validation scans.")
        return
    low, high = metrics.wilson_interval(report.correct, report.n)
    print(f"accuracy {report.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}) on {report.n} validation scans")
    table = Table(box=None, pad_edge=False)
    table.add_column("class")
    for name in ("scans", "accuracy", "precision", "F1"):
        table.add_column(name, justify="right")
    for name, figures in zip(names, metrics.per_class(report.confusion), strict=True):
        shares = (figures.recall, figures.precision, figures.f1)
        table.add_row(name, str(figures.support), *("-" if share is None else f"{share:.4f}" for share in shares))
    Console().print(table)


def raw(text: str) -> None:
    """Print text as it is, line ends included, in UTF-8 whatever the terminal's language."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()


def _own_fingerprint(home: Home) -> str:
    """The fingerprint of the agent's own key, as people compared it at enrolment; else why it cannot be told."""
    try:
        return signing.fingerprint(signing.read_private_key(home.key, Ed25519PrivateKey).public_key())
    except KeyFileError as error:
        return f"{error.detail} ({error.code})"


def _latest(home: Home) -> list[Row]:
    if not home.journal.exists():
        return []
    with Journal(home.journal) as journal:
        return journal.latest(SHOWN_TASKS)


def _check_hub(config: Config, round_id: UUID) -> AgentError | None:
    http = Http(config.hub, token=config.token, ca=config.ca_path)
    try:
        Hub(http).health()
        Hub(http).check_token(round_id)
    except AgentError as error:
        return error
    finally:
        http.close()
    return None


def _cells(row: Row) -> tuple[str, ...]:
    moment = datetime.fromtimestamp(row.changed_ms / 1000, UTC)
    return (
        row.run_id[:SHOWN_DIGITS] or "-",
        str(row.number),
        row.kind,
        f"{row.state} ({row.code})" if row.code else str(row.state),
        str(row.samples),
        f"{row.train_ms / 1000:.1f}",
        f"{row.bytes_up / 1e6:.2f}",
        f"{row.bytes_down / 1e6:.2f}",
        f"{moment:%m-%d %H:%M:%S}",
    )
