"""docs/agent.md, pyproject.toml and the code say the same."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from client_agent import __version__, errors

ROOT = Path(__file__).parents[2]
CLASSES = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, errors.AgentError)]


def _table() -> dict[int, str]:
    text = (ROOT / "docs" / "agent.md").read_text().partition("## Exit codes")[2]
    return {int(number): codes for number, codes in re.findall(r"^\| (\d+) \| [^|]* \|([^|]*)\|$", text, re.MULTILINE)}


def test_the_exit_codes_of_the_errors_are_the_documented_ones() -> None:
    table = _table()
    for kind in CLASSES:
        assert kind.exit_code in table, kind
        if kind.codes:
            assert set(table[kind.exit_code].split()) == kind.codes, kind
    expected = {kind.exit_code for kind in CLASSES} | {0, 2, errors.INTERRUPTED_EXIT_CODE}
    assert set(table) == expected


def test_every_kind_of_failure_has_an_exit_code_of_its_own() -> None:
    codes = [kind.exit_code for kind in CLASSES if kind is not errors.AgentError]
    assert len(codes) == len(set(codes))


def test_every_documented_code_is_raised_somewhere() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "client_agent").rglob("*.py") if path.name != "errors.py")
    text += (ROOT / "client_agent" / "errors.py").read_text().partition("_FULL: Final")[2]
    for kind in CLASSES:
        for code in kind.codes:
            assert f'"{code}"' in text, code


def test_the_version_is_the_package_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert project["scripts"] == {"hospintel-agent": "client_agent.cli:main"}


def test_the_documented_service_is_one_that_systemd_takes_and_finds_hardened(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    text = (ROOT / "docs" / "agent.md").read_text()
    (unit,) = re.findall(r"```\n(# /etc/systemd/system/hospintel-agent.service\n.*?)```", text, re.DOTALL)
    program = tmp_path / "hospintel-agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "hospintel-agent.service"
    path.write_text(unit.replace("/opt/hospintel/bin/hospintel-agent", str(program)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=30", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_every_check_of_the_doctor_is_in_the_docs() -> None:
    shown = (ROOT / "tests" / "agent" / "transcripts" / "doctor" / "healthy.txt").read_text()
    checks = set(re.findall(r"^ok +([a-z ]+):", shown, re.MULTILINE))
    text = (ROOT / "docs" / "agent.md").read_text().partition("## Is everything in place?")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| ([a-z ,]+) \| ", text, re.MULTILINE)
    assert {name.strip() for names in documented for name in names.split(",")} - {"check"} == checks
