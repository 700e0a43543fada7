"""`make demo` as its user sees it: what it prints, what it writes, and that nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drawn import draw_scans
from harness import PATIENCE_SECONDS, eventually, still_running

from hospintel_core import h5, weights
from hospintel_core.architectures import get
from hospintel_site.demo.processes import ROOT
from hospintel_site.ports import any_free

ROUND_KEYS = {
    *("round", "version", "digest", "accuracy", "loss", "updates"),
    *("bytes_up", "bytes_down", "train_seconds", "hub_seconds"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough for two hospitals."""
    folder = tmp_path_factory.mktemp("data")
    draw_scans(folder, 25, seed=3)
    return folder


class Demo:
    """A demo that runs, and what it has printed."""

    def __init__(self, folder: Path, data: Path, *arguments: str) -> None:
        self.folder = folder
        options = ["--smoke", "--port", str(any_free("127.0.0.1")), "--folder", str(folder), "--data", str(data)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hospintel_site.demo", *options, *arguments],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until_line(self, beginning: str) -> None:
        """Wait for a line that begins so."""
        eventually(lambda: any(line.startswith(beginning) for line in self.lines), beginning, lambda: str(self.lines))

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the exit status and what was printed on stderr."""
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert self.process.stderr is not None
        return status, self.process.stderr.read()

    def close(self) -> None:
        """End it, however far it is."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def demo(folder: Path, data: Path, *arguments: str) -> Iterator[Demo]:
    """Start a demo."""
    started = Demo(folder, data, *arguments)
    try:
        yield started
    finally:
        started.close()


def test_a_demo_that_shall_exit_leaves_a_summary_and_a_model_and_no_process(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder, data, "--hospitals", "2", "--rounds", "2", "--test", str(data), "--exit") as started:
        status, said = started.end()
    assert (status, said) == (0, "")
    assert still_running(folder) == []
    summary = json.loads((folder / "summary.json").read_text())
    assert json.loads(started.lines[-1]) == summary, "the last line on stdout is the summary"
    assert set(summary) == {"rounds", "test_accuracy", "final_digest", "seconds", "data"}
    assert [set(round_) for round_ in summary["rounds"]] == [ROUND_KEYS] * 2
    assert [(r["round"], r["version"], r["updates"]) for r in summary["rounds"]] == [(1, 2, 2), (2, 3, 2)]
    for round_ in summary["rounds"]:
        assert 0 <= round_["accuracy"] <= 1
        assert round_["loss"] > 0
        assert round_["bytes_up"] > 2 * get("pixels-head16").head_schema.nbytes, "two sealed heads"
        assert round_["bytes_down"] > 2 * get("pixels-head16").head_schema.nbytes, "two plain heads"
    assert 0 <= summary["test_accuracy"] <= 1
    assert summary["final_digest"] == summary["rounds"][-1]["digest"]
    head = h5.read_head(folder / "global_model.h5", get("pixels-head16"))
    assert weights.digest(weights.dumps(head)) == summary["final_digest"]


def test_ctrl_c_after_the_summary_ends_hub_and_agents(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder, data, "--hospitals", "1", "--rounds", "1") as started:
        started.until_line("{")
        assert any(" admin / " in line and " doctor / " in line for line in started.lines), "address and passwords"
        assert len(still_running(folder)) > 1
        os.killpg(started.process.pid, signal.SIGINT)
        status, said = started.end()
    assert status == 0, said
    assert still_running(folder) == []


@pytest.mark.parametrize("stage", ["2 hospitals", "hub: ", "round "])
def test_ctrl_c_before_the_summary_ends_whatever_was_started(tmp_path: Path, data: Path, stage: str) -> None:
    folder = tmp_path / "demo"
    with demo(folder, data, "--hospitals", "2", "--rounds", "1000") as started:
        started.until_line(stage)
        os.killpg(started.process.pid, signal.SIGINT)
        status, said = started.end()
    assert status == 130, said
    assert "Traceback" not in said
    assert still_running(folder) == []
    assert not (folder / "summary.json").exists()
