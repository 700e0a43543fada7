"""What the processes of the hub load: no TensorFlow in the web process and workers, no web in workers and ticks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = (
    "import hospintel_site.server, hospintel_site.asgi; from django.urls import get_resolver; "
    "get_resolver().url_patterns"
)
WORKER = "import hospintel_site.worker as w; w.app.loader.import_default_modules(); w.app.finalize()"


TICK = (
    "import django; django.setup(); from django.core.management import load_command_class as load; "
    "command = load('apps.federation', 'tick'); command.check(tags=command.requires_system_checks)"
)
TENSORFLOW = {"tensorflow", "keras"}
OF_WEB = {"rest_framework.views", "drf_spectacular.openapi", "hospintel_site.urls", "redis"}


@pytest.mark.parametrize(
    ("code", "without"),
    [(WEB, TENSORFLOW), (WORKER, TENSORFLOW | OF_WEB), (TICK, TENSORFLOW | OF_WEB)],
    ids=["web", "worker", "tick"],
)
def test_what_a_process_has_no_use_for_is_not_imported(code: str, without: set[str], tmp_path: Path):
    listing = f"{code}; import sys; print(sorted({without} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", listing],
        cwd=ROOT,
        env={**os.environ, "HOSPINTEL_VAR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "hospintel_site.settings"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
