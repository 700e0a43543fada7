"""A form that is too large for memory, where the folder for temporary files is full: 507 with its code, at each copy.

The server keeps a body while it comes, Django one while it reads it, and one more of each file in a form.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

MB = 1024 * 1024
DISK = 24 * MB
BODY = bytes(3 * MB)
TOKEN = "a" * 32


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path_factory.mktemp("small")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting a small file system is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def web(start_process: Any, disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    var = tmp_path_factory.mktemp("var")
    return start_process(["-m", "hospintel_site.server", "--port", "PORT"], HOSPINTEL_VAR=str(var), TMPDIR=str(disk))


def posted(web: Any, accept: str) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{web.port}/models/upload/",
        files={"file": ("a.dcm", BODY)},
        # Else the form is refused before anybody reads it.
        headers={"Accept": accept, "Cookie": f"csrf={TOKEN}", "Host": f"localhost:{web.port}"},
        timeout=120,
    )


@pytest.mark.parametrize("copies", [0, 1, 2])
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_it_is_refused_with_its_code(web: Any, disk: Path, copies: int, accept: str):
    free = (copies * 3 + 1) * MB
    (disk / "filler").write_bytes(bytes(DISK - free))
    try:
        answer = posted(web, accept)
    finally:
        (disk / "filler").unlink()
    assert answer.status_code == 507, answer.text
    if accept == "application/json" or copies < 2:
        assert answer.json()["code"] == "hub_disk_full"
    assert "disk is full" in answer.text
    assert [path.name for path in disk.iterdir()] == []


def test_what_is_still_in_the_buffer_does_not_swallow_the_answer(web: Any, disk: Path):
    (disk / "filler").write_bytes(bytes(DISK - MB))
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{web.port}/models/upload/",
            # Pieces that are no multiple of a file's buffer.
            content=(bytes(1000) for _ in range(3000)),
            headers={"Cookie": f"csrf={TOKEN}", "Host": f"localhost:{web.port}"},
            timeout=120,
        )
    finally:
        (disk / "filler").unlink()
    assert (answer.status_code, answer.json()["code"]) == (507, "hub_disk_full")


def test_with_room_the_form_is_read(web: Any):
    answer = posted(web, "application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
