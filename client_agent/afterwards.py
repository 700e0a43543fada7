"""What became of a round after the hub had accepted this agent's update, for the log, `status` and `report`."""

import logging
from collections.abc import Mapping
from typing import Final

from client_agent.agent import Agent
from client_agent.errors import HubRefusedError
from client_agent.hub import ENDED, UpdateStatus
from client_agent.journal import Row

log = logging.getLogger(__name__)

# Why a round ended without a version, by the hub's own words for it.
UNUSED: Final[Mapping[str, str]] = {
    "superseded": "another version was published meanwhile",
    "aborted": "the run was aborted",
    "quorum": "too few hospitals had sent an update at its deadline",
    "restored": "the hub was restored from a backup",
}


def look_back(agent: Agent, ended: Row | None) -> None:
    """Ask what became of the accepted updates of which it is not known; `ended` is the task that ended just now.

    Nothing waits for its own round to end: it is asked about once the hub has nothing to do, or with the next task.

    Raises:
        HubUnreachableError: ask again later.
    """
    for row in agent.journal.unsettled():
        if ended is not None and row.round_id == ended.round_id:
            continue
        try:
            status = agent.hub.update(row.round_id)
        except HubRefusedError as error:
            if error.code not in ENDED:
                raise
            # A hub that was set up anew: nobody will ever know.
            agent.journal.settle(row)
            continue
        if status.ended:
            _settle(agent, row, status)


def _settle(agent: Agent, row: Row, status: UpdateStatus) -> None:
    if status.round_state != "FAILED":
        agent.journal.settle(row)
        return
    code = status.round_reason or "round_failed"
    detail = f"accepted, but not used: {UNUSED.get(code, 'the round failed at the hub')}"
    agent.journal.settle(row, code=code, detail=detail)
    log.warning("round %d: %s (%s)", row.number, detail, code)
