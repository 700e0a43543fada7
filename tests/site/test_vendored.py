"""Files of others that we ship are the ones that their list names, and have their licence beside them."""

import hashlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "static" / "vendor"
FOLDERS = sorted(path for path in VENDOR.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_file_is_the_one_that_is_listed(folder: Path) -> None:
    listed = {
        name: digest for digest, name in (line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines())
    }
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert {name: found.get(name) for name in listed} == listed
    assert set(found) - set(listed) == {"README.md", "SHA256SUMS"}
    assert "LICENSE" in listed
    assert folder.name in (ROOT / "NOTICE").read_text().lower()


@pytest.mark.parametrize("path", sorted(VENDOR.rglob("*.js")), ids=lambda path: path.name)
def test_no_script_asks_for_a_source_map_or_for_eval(path: Path) -> None:
    text = path.read_text()
    assert "sourceMappingURL" not in text
    assert "new Function(" not in text
