"""docs/agent.md, pyproject.toml and the code say the same."""

import ast
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from client_agent import __version__, errors
from hospintel_core import errors as core

ROOT = Path(__file__).parents[2]
CLASSES = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, errors.AgentError)]

CORE_CLASSES = [found for found in vars(core).values() if isinstance(found, type) and issubclass(found, core.CoreError)]
# Of one file, which is skipped: docs/scans.md has them.
FILES_CODES = (
    core.ImageError.codes
    | core.DicomError.codes
    | {"scan_unreadable", "entry_too_large", "entry_encrypted", "entry_compression", "entry_nested"}
)


def _table() -> dict[int, str]:
    text = (ROOT / "docs" / "agent.md").read_text().partition("## Exit codes")[2]
    return {int(number): codes for number, codes in re.findall(r"^\| (\d+) \| [^|]* \|([^|]*)\|$", text, re.MULTILINE)}


def _loaded() -> set[Path]:
    """The modules of agent and core that the agent's own lead to."""
    waiting, found = list((ROOT / "client_agent").rglob("*.py")), set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hospintel_core"):
                for name in (node.module, *(f"{node.module}.{part.name}" for part in node.names)):
                    place = ROOT.joinpath(*name.split("."))
                    waiting += filter(Path.exists, (place.with_suffix(".py"), place / "__init__.py"))
    return found


def _core_codes() -> dict[int, set[str]]:
    """The core's codes with which the agent may end, by exit code: those that modules of the agent's raise."""
    found: dict[int, set[str]] = {}
    for path in _loaded() - {ROOT / "hospintel_core" / "errors.py"}:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        for kind in CORE_CLASSES:
            if kind.__name__ in names and kind.codes & texts:
                code = next(number for known, number in errors.CORE_EXIT_CODES if issubclass(kind, known))
                found.setdefault(code, set()).update(kind.codes & texts)
    return found


def test_the_exit_codes_and_all_codes_of_the_code_are_the_documented_ones() -> None:
    table, core_codes = _table(), _core_codes()
    assert {"no_classes", "key_missing", "base_weights_missing"} <= set().union(*core_codes.values())
    for kind in CLASSES:
        assert kind.exit_code in table, kind
        if kind.codes:
            expected = (kind.codes | core_codes.get(kind.exit_code, set())) - FILES_CODES
            documented = table[kind.exit_code].split()
            assert [code for code in expected if not any(fnmatch(code, word) for word in documented)] == [], kind
            assert [word for word in documented if not any(fnmatch(code, word) for code in expected)] == [], kind
    expected_exits = {kind.exit_code for kind in CLASSES} | {0, 2, errors.INTERRUPTED_EXIT_CODE}
    assert set(table) == expected_exits
    assert set(core_codes) <= set(table)


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
