"""What a hospital installs: the agent and the core, nothing of the hub."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("client_agent", "hospintel_core", "hospintel_site", "apps", "pyproject.toml", "README.md", "LICENSE", "NOTICE")


def test_the_wheel_holds_agent_and_core_and_the_console_script(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in PARTS:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        scripts = next(archive.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"client_agent", "hospintel_core"}
    assert {"client_agent/py.typed", "hospintel_core/py.typed", "client_agent/__main__.py"} <= set(names)
    assert "hospintel-agent = client_agent.cli:main" in scripts
