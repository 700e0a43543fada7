"""The hospital's sheet of its rounds: what the hub was told, in columns, and safe in a spreadsheet."""

import csv
import io
import re
from pathlib import Path

import pytest
from agent_program import Command
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hub_double import HubDouble
from hub_http import answer

from client_agent.config import Home
from client_agent.sheet import COLUMNS, _cell
from hospintel_core import metrics, signing
from hospintel_core.architectures import CLASSES

DOC = Path(__file__).parents[2] / "docs" / "agent.md"


def _sheet(command: Command, home: Home, *more: str) -> list[dict[str, str]]:
    done = command.run("report", "--home", str(home.folder), *more)
    assert (done.returncode, done.stderr) == (0, "")
    return list(csv.DictReader(io.StringIO(done.stdout, newline="")))


def test_a_round_is_told_as_the_hub_learned_it(command: Command, hub: HubDouble, home: Home) -> None:
    round_ = hub.open_round(3, version=9)
    assert command.run("once", "--home", str(home.folder)).returncode == 0
    (row,) = _sheet(command, home)
    report = round_.updates[0].report
    assert report is not None
    assert report.accuracy is not None
    assert row["run"] == str(round_.manifest.run_id)
    shown = command.run("status", "--home", str(home.folder)).stdout
    key = signing.read_private_key(home.key, Ed25519PrivateKey).public_key()
    assert f"its key     {signing.fingerprint(key)}\n" in shown
    assert re.search(rf"^{row['run'][:8]} +3 +train +ACCEPTED", shown, re.MULTILINE)
    told = (row["hospital"], row["round"], row["task"], row["state"], row["code"], row["version"], row["model"])
    assert told == ("North Clinic", "3", "train", "ACCEPTED", "", "9", hub.current)
    assert float(row["accuracy"]) == pytest.approx(report.accuracy, abs=1e-6)
    assert int(row["validation_scans"]) == report.n
    assert int(row["trained_scans"]) == round_.updates[0].header.num_samples
    for name, figures in zip(CLASSES, metrics.per_class(report.confusion), strict=True):
        assert int(row[f"{name}_validation"]) == figures.support
        assert int(row[f"{name}_trained"]) + figures.support == 12
        shown = row[f"{name}_accuracy"]
        assert shown == ("" if figures.recall is None else f"{figures.recall:.6f}")
    assert row["epochs"] == "2"
    assert len(row["epoch_losses"].split()) == len(row["epoch_accuracies"].split()) == 2
    assert int(row["bytes_sent"]) == len(round_.updates[0].sealed)
    assert row["started_utc"] <= row["ended_utc"]


def test_an_evaluation_and_a_refusal_are_lines_of_their_own(command: Command, hub: HubDouble, home: Home) -> None:
    hub.open_round(1, kind="evaluate")
    command.run("once", "--home", str(home.folder))
    hub.open_round(2)
    hub.verdicts.append("norm_range")
    assert command.run("once", "--home", str(home.folder)).returncode == 5
    evaluation, refusal = _sheet(command, home)
    assert (evaluation["task"], evaluation["state"], evaluation["trained_scans"]) == ("evaluate", "ACCEPTED", "")
    assert int(evaluation["validation_scans"]) > 0
    assert int(evaluation["bytes_sent"]) > 0
    assert (refusal["state"], refusal["code"]) == ("REFUSED", "norm_range")
    assert [row["round"] for row in _sheet(command, home, "--round", "2")] == ["2"]
    unknown = command.run("report", "--home", str(home.folder), "--round", "7")
    assert (unknown.returncode, unknown.stdout) == (9, "")
    assert "(no_round)" in unknown.stderr


def test_an_agent_without_rounds_has_a_line_of_names_alone(command: Command, home: Home) -> None:
    done = command.run("report", "--home", str(home.folder))
    assert done.stdout.rstrip("\n") == ",".join(COLUMNS)
    assert not home.journal.exists()


def test_what_the_hub_says_is_never_a_formula(command: Command, hub: HubDouble, home: Home) -> None:
    hub.open_round()
    hub.inject("PUT", "/update", answer(422, {"code": "=cmd|' /C calc'!A0", "detail": "a;=1+1\n\t-2,@SUM(A1)"}))
    command.run("once", "--home", str(home.folder))
    (row,) = _sheet(command, home)
    assert row["code"] == "'=cmd|' /C calc'!A0"
    assert row["detail"] == "a;'=1+1??-2,'@SUM(A1)"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@A", " =1", '"=1', "\uff1d1", "x,=1", "x; -1", "x|@A", 'x;"=1'])
def test_no_cell_begins_a_formula_at_any_separator(text: str) -> None:
    for piece in re.split(r"[,;|\t]", _cell(text)):
        assert not re.match(r"[\s\"]*[=+\-@\uff1d]", piece)


@pytest.mark.parametrize("text", ["a-b", "2026-11-25 08:00:00", "the round ended - without it", "norm_range", "x=1"])
def test_words_that_are_no_formula_stay_as_they_are(text: str) -> None:
    assert _cell(text) == text


def test_the_sheet_can_go_to_a_file_that_is_replaced_whole(command: Command, home: Home, tmp_path: Path) -> None:
    target = tmp_path / "rounds.csv"
    target.write_text("old")
    arguments = ["report", "--home", str(home.folder), "--output"]
    assert command.run(*arguments, str(target)).returncode == 0
    assert target.read_text().startswith("hospital,agent,")
    assert target.stat().st_mode & 0o777 == 0o600
    for wrong in (tmp_path / "nowhere" / "rounds.csv", tmp_path, Path("/dev/null")):
        done = command.run(*arguments, str(wrong))
        assert (done.returncode, done.stdout) == (3, "")
        assert "(output_unwritable)" in done.stderr


def test_every_column_is_explained_in_the_docs() -> None:
    text = DOC.read_text().partition("## The sheet of rounds")[2].partition("\n## ")[0]
    documented = re.findall(
        r"`([a-z_<>0-9]+)`", "\n".join(line.split("|")[1] for line in text.split("\n") if "|" in line)
    )
    spelled = [
        name.replace("<class>", known) for name in documented for known in (CLASSES if "<class>" in name else ("",))
    ]
    assert sorted(spelled) == sorted(COLUMNS)
