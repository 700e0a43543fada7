"""`manage.py` where somebody types it with the wrong Python."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_python_without_the_hub_s_packages_is_told_which_one_to_take():
    # -S leaves the installed packages out.
    words = [sys.executable, "-S", "manage.py", "issue_code", "North Clinic"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    error, hint = done.stderr.splitlines()
    assert error == f"error: {sys.executable} does not have what the hub needs (no django)."
    assert hint == "hint: in the checkout: .venv/bin/python manage.py issue_code 'North Clinic' (make run makes .venv)"
