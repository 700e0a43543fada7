"""What a hospital installs: the agent and the core, nothing of the hub."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("client_agent", "hospintel_core", "hospintel_site", "apps", "requirements")
FILES = ("Makefile", "pyproject.toml", "README.md", "LICENSE", "NOTICE")


def test_the_wheel_holds_agent_and_core_and_the_console_script(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in PARTS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    # What a build before left behind, and is gone from the tree since.
    stale = source / "build" / "lib" / "client_agent" / "gone.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("raise SystemExit")
    # `make` finds an environment that needs no installing.
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "venv" / ".dev").touch()
    build = ["make", "-C", str(source), "wheel", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        scripts = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"client_agent", "hospintel_core"}
    assert {"client_agent/py.typed", "hospintel_core/py.typed", "client_agent/__main__.py"} <= set(names)
    assert "client_agent/gone.py" not in names
    assert "hospintel-agent = client_agent.cli:main" in scripts
