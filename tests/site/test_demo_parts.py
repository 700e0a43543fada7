"""The demo's parts that need no process: the split, its folder, its signals, what it says meanwhile."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospintel_core import phantoms
from hospintel_core.architectures import CLASSES
from hospintel_site.demo import progress, scans
from hospintel_site.demo.__main__ import parse
from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.folder import emptied
from hospintel_site.demo.options import NAMES
from hospintel_site.demo.signals import Signals, Stopped

INF = float("inf")
labels = st.lists(st.integers(0, 3), min_size=200, max_size=800).map(lambda found: np.array(found, dtype=np.int64))


@given(labels=labels, hospitals=st.integers(1, 4), alpha=st.sampled_from([INF, 0.5]), seed=st.integers(0, 2**31 - 1))
def test_every_scan_goes_to_exactly_one_hospital_and_each_gets_enough(
    labels: np.ndarray, hospitals: int, alpha: float, seed: int
) -> None:
    parts = scans.split(labels, hospitals, alpha, seed)
    assert len(parts) == hospitals
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert min(map(len, parts)) >= scans.MIN_SCANS
    again = scans.split(labels, hospitals, alpha, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True)), "one seed, one split"


@given(labels=labels, hospitals=st.integers(1, 4), seed=st.integers(0, 2**31 - 1))
def test_without_skew_every_hospital_gets_the_same_share_of_each_class(
    labels: np.ndarray, hospitals: int, seed: int
) -> None:
    parts = scans.split(labels, hospitals, INF, seed)
    for label in range(4):
        counts = [int(np.sum(labels[part] == label)) for part in parts]
        assert max(counts) - min(counts) <= 1


def test_a_small_alpha_gives_the_hospitals_different_classes() -> None:
    labels = np.repeat(np.arange(4), 250)
    parts = scans.split(labels, 3, 0.1, seed=0)
    shares = np.array([[np.mean(labels[part] == label) for label in range(4)] for part in parts])
    assert shares.max() > 0.6
    assert not np.array_equal(parts[0], scans.split(labels, 3, 0.1, seed=1)[0]), "another seed, another split"


@given(count=st.integers(0, 119))
def test_too_few_scans_for_so_many_hospitals_are_refused_with_a_way_out(count: int) -> None:
    with pytest.raises(DemoError, match=f"^{count} scans could not be split") as refused:
        scans.split(np.zeros(count, dtype=np.int64), 3, INF, seed=0)
    assert "fewer hospitals" in refused.value.hint


def test_given_scans_are_laid_out_by_hospital_and_class(tmp_path: Path) -> None:
    for label, name in enumerate(CLASSES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(20):
            image = phantoms.draw(label, np.random.default_rng((label, number)), 32)
            image.save(tmp_path / "data" / name / f"{number}.png")
    options = parse(
        ["--data", str(tmp_path / "data"), "--hospitals", "2", "--folder", str(tmp_path / "demo"), "--smoke"]
    )
    prepared = scans.prepare(options)
    assert prepared.description == "data: 80 scans"
    assert prepared.test is None
    laid_out = [path.read_bytes() for folder in prepared.hospitals for path in folder.rglob("*.png")]
    given_scans = [path.read_bytes() for path in (tmp_path / "data").rglob("*.png")]
    assert sorted(laid_out) == sorted(given_scans)
    assert [path.name for path in sorted(prepared.hospitals[0].iterdir())] == sorted(CLASSES)


@pytest.mark.parametrize("option", ["data", "test"])
def test_data_that_cannot_be_used_is_found_out_before_anything_starts(tmp_path: Path, option: str) -> None:
    (tmp_path / "broken.zip").write_bytes(b"no zip file")
    for path in (tmp_path / "missing", tmp_path / "broken.zip"):
        with pytest.raises(DemoError, match=f"^{option.upper()}=.* cannot be used"):
            scans.check(parse([f"--{option}", str(path)]))


def test_the_folder_is_emptied_and_held(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with emptied(folder, ours=False):
        (folder / "hub").mkdir()
        (folder / "hub" / "old").touch()
        with pytest.raises(DemoError, match=f"Another demo, process {os.getpid()}, uses"), emptied(folder, ours=True):
            pass
        assert (folder / "hub" / "old").exists(), "the second demo has deleted nothing"
    with emptied(folder, ours=False):
        assert [path.name for path in folder.iterdir()] == ["demo.lock"]


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DemoError, match="holds files that no demo made"), emptied(tmp_path, ours=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_link_in_the_folder_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "precious")
    with emptied(folder, ours=True):
        assert not (folder / "link").is_symlink()
    assert (tmp_path / "precious" / "file").exists()


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Listening as the demo does."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # The tests may have been started with nohup, which the demo would respect.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    listening = Signals()
    listening.install()
    yield listening
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_demo_wherever_it_is(signals: Signals, number: signal.Signals) -> None:
    with pytest.raises(Stopped):
        signal.raise_signal(number)


def test_a_signal_waits_for_the_end_of_what_must_not_be_left_half_done(signals: Signals) -> None:
    done = []

    def start() -> None:
        with signals.held():
            signal.raise_signal(signal.SIGINT)
            done.append("registered")

    with pytest.raises(Stopped):
        start()
    assert done == ["registered"]


def test_signals_are_only_counted_once_the_demo_is_ending(signals: Signals) -> None:
    signals.only_count()
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert signals.count == 2


def test_silence_is_broken_by_the_headline_and_the_agents_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    last = {
        "hospital-1": "2026-11-25T03:28:11.123Z INFO features: 320 of 1534 scans",
        "hospital-2": "2026-11-25T03:28:11.123Z INFO round 1: training on 1227 scans, 307 kept for validation",
    }
    shown = progress.Progress(dict(zip(last, NAMES, strict=False)), lambda process, _lines: last[process], said.append)
    shown.look(lambda: "Round 1 of 5 is collecting.")
    assert said == [], "nothing happened yet for which one would wait"
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    shown.look(lambda: "Round 1 of 5 is collecting.")
    shown.look(lambda: "Round 1 of 5 is collecting.")
    counts = "    North Clinic: features: 320 of 1534 scans"
    assert said == ["  Round 1 of 5 is collecting.", counts, counts], "the headline is not repeated"


def test_the_command_line_has_the_issues_defaults() -> None:
    options = parse([])
    assert (options.hospitals, options.rounds, options.epochs, options.seed, options.port) == (3, 5, 5, 0, 8000)
    assert (options.data, options.test, options.alpha, options.exit, options.smoke) == (None, None, INF, False, False)
    assert options.folder.parts[-2:] == ("var", "demo")
    assert [parse(["--alpha", text]).alpha for text in ("inf", "0.5", "0.1")] == [INF, 0.5, 0.1]


@pytest.mark.parametrize("wrong", [["--hospitals", "0"], ["--hospitals", "13"], ["--alpha", "2"], ["--port", "70000"]])
def test_a_value_out_of_range_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(wrong)
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err
