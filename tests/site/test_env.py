"""Settings come from the environment, typed, and fail loudly."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from hospintel_site import env


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("Yes", True), ("0", False), ("off", False), ("", False)])
def test_flags(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool):
    monkeypatch.setenv("X", value)
    assert env.flag("X", default=not expected) is expected


def test_what_is_not_set_takes_the_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("X", raising=False)
    assert env.flag("X", default=True) is True
    assert env.integer("X", 7, low=0, high=9) == 7
    assert env.words("X", ["a"]) == ["a"]
    assert env.path("X") is None
    assert env.secret("X", "d") == "d"


@pytest.mark.parametrize("value", ["maybe", "2"])
def test_a_flag_that_is_neither_is_refused(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("X", value)
    with pytest.raises(ImproperlyConfigured, match="X must be 1 or 0"):
        env.flag("X", default=False)


@pytest.mark.parametrize("value", ["many", "1.5", "-1", "10"])
def test_numbers_have_their_range(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("X", value)
    with pytest.raises(ImproperlyConfigured, match="X must be"):
        env.integer("X", 7, low=0, high=9)


def test_a_secret_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "secret").write_text("hush\n")
    monkeypatch.setenv("X_FILE", str(tmp_path / "secret"))
    assert env.secret("X") == "hush"
    monkeypatch.setenv("X", "other")
    with pytest.raises(ImproperlyConfigured, match="not both"):
        env.secret("X")
    monkeypatch.delenv("X")
    monkeypatch.setenv("X_FILE", str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match="cannot be read"):
        env.secret("X")
    (tmp_path / "empty").touch()
    monkeypatch.setenv("X_FILE", str(tmp_path / "empty"))
    with pytest.raises(ImproperlyConfigured, match="empty"):
        env.secret("X")


def test_processes_that_start_together_keep_one_secret(tmp_path: Path):
    code = (
        "import sys, pathlib; from hospintel_site.env import kept_secret; print(kept_secret(pathlib.Path(sys.argv[1])))"
    )
    target = str(tmp_path / "keys" / "secret")
    processes = [subprocess.Popen([sys.executable, "-c", code, target], stdout=subprocess.PIPE) for _ in range(6)]
    secrets = {process.communicate()[0] for process in processes}
    assert len(secrets) == 1
    assert len(secrets.pop()) > 80
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["secret"]
    assert (tmp_path / "keys" / "secret").stat().st_mode & 0o777 == 0o600


def test_a_postgresql_url_becomes_a_pooled_database():
    made = env.postgres("postgresql://me:p%40ss@db.example.org:5433/hub?sslmode=require")
    assert made["USER"] == "me"
    assert made["PASSWORD"] == "p@ss"
    assert (made["HOST"], made["PORT"], made["NAME"]) == ("db.example.org", "5433", "hub")
    assert made["OPTIONS"]["sslmode"] == "require"
    assert made["OPTIONS"]["pool"]


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql://host", "nonsense"])
def test_other_databases_are_refused(url: str):
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL"):
        env.postgres(url)
