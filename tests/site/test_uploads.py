"""A form's file, small or large, is never on disk under a name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

ROOT = Path(__file__).resolve().parents[2]
LARGE = bytes(range(256)) * 16 * 1024  # 4 MiB


@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
def test_the_file_arrives_whole_and_nothing_has_a_name(content, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    files = [SimpleUploadedFile(name, content) for name in ("a.dcm", "b.dcm")]
    request = RequestFactory().post("/", {"file": files, "note": "two"})
    found = request.FILES.getlist("file")
    assert [file.name for file in found] == ["a.dcm", "b.dcm"]
    assert [file.size for file in found] == [len(content)] * 2
    assert [b"".join(file.chunks()) for file in found] == [content] * 2
    assert request.POST["note"] == "two"
    assert list(tmp_path.iterdir()) == []
    request.close()
    assert all(file.closed for file in found)


def test_a_killed_process_leaves_nothing(tmp_path):
    script = (
        "import os, signal, django\ndjango.setup()\n"
        "from django.core.files.uploadedfile import SimpleUploadedFile\nfrom django.test import RequestFactory\n"
        "request = RequestFactory().post('/', {'file': SimpleUploadedFile('a.dcm', bytes(4 << 20))})\n"
        "assert request.FILES['file'].size == 4 << 20\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    env = {**os.environ, "TMPDIR": str(temporary), "HOSPINTEL_VAR": str(tmp_path / "var")}
    env["DJANGO_SETTINGS_MODULE"] = "hospintel_site.settings"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert list(temporary.iterdir()) == []
