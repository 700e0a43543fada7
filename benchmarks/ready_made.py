"""`python -m benchmarks.ready_made run --home HOME --data SCANS`: an agent that has a delta without training.

Everything else is the agent's own code: the long poll, the download, sealing, uploading in parts, the journal. So a hub
with VGG16 heads is measured without TensorFlow.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from client_agent import poll
from client_agent import train as training
from client_agent.agent import Agent, open_agent
from client_agent.clock import Stop, StopRequested
from client_agent.config import Home, write_private
from client_agent.console import set_up
from client_agent.journal import Row, State
from client_agent.task import Task
from hospintel_core import weights
from hospintel_core.report import Report

SCALE = np.float32(1e-3)
SAMPLES = 100
NOTHING = Report(((0,) * 4,) * 4, loss_micro=0)


def ready_made(agent: Agent, task: Task, row: Row) -> Row:
    """TASK -> TRAINED with a delta of random values, after the download of the model."""
    head = training.fetch_head(agent, task.architecture, task.manifest.model)
    rng = np.random.default_rng(int(agent.config.agent_id) % 2**32)
    delta = {name: rng.standard_normal(array.shape, dtype=np.float32) * SCALE for name, array in head.items()}
    write_private(training.delta_path(agent, row), weights.dumps(delta, {"report": NOTHING.to_json()}))
    return agent.journal.advance(row, State.TRAINED, samples=SAMPLES)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    os.umask(0o077)
    poll.STEPS = {**poll.STEPS, State.TASK: ready_made}
    training.evaluate_head = lambda *_: NOTHING
    stop = Stop()
    stop.install()
    with open_agent(Home(given.home), data=given.data, weights=None, display=set_up("info"), stop=stop) as agent:
        agent.scans.split = lambda _architecture: _NoScans  # type: ignore[method-assign,assignment]
        try:
            poll.Service(agent).run()
        except StopRequested:
            return


class _NoScans:
    """No features: nothing is measured, so the base is never needed."""

    validation_features = validation_labels = None


if __name__ == "__main__":
    main()
