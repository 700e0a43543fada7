"""What the processes of the hub load: neither the web process nor the default worker touches TensorFlow."""

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


@pytest.mark.parametrize("code", [WEB, WORKER], ids=["web", "worker"])
def test_no_tensorflow_is_imported(code: str, tmp_path: Path):
    listing = f"{code}; import sys; print(sorted(n for n in sys.modules if n.split('.')[0] in ('tensorflow', 'keras')))"
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
