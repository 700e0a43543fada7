"""A backup restores to the same hub, and nothing but a whole backup is restored."""

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server

from hospintel_site.backup import BackupError, _extract, _private
from hospintel_site.lock import hold

ROOT = Path(__file__).resolve().parents[2]


def manage(var: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "HOSPINTEL_VAR": str(var), **more},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def ask(var: Path, code: str) -> Any:
    done = manage(var, "shell", "-v0", "-c", f"import json; {code}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


FACTS = (
    "from apps.accounts.models import Hospital; from apps.federation.models import ModelVersion; "
    "from apps.audit.api import verify, events_after; from django.contrib.sessions.models import Session; "
    "from apps.federation.models import Round; "
    "print(json.dumps({'hospitals': [h.name for h in Hospital.objects.all()], "
    "'versions': [v.digest for v in ModelVersion.objects.all()], 'holds': verify().ok, "
    "'sessions': Session.objects.count(), "
    "'rounds': [[r.state, r.reason] for r in Round.objects.all()], "
    "'actions': [e['action'] for e in events_after(0, 500)]}))"
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hub that has two hospitals, a version 1, and somebody signed in."""
    var = tmp_path_factory.mktemp("hub")
    for arguments in (["migrate", "-v0"], ["create_hospital", "North Clinic"], ["create_hospital", "South Clinic"]):
        assert manage(var, *arguments).returncode == 0
    ask(
        var,
        "from apps.federation.pipeline.bootstrap import bootstrap; bootstrap(); "
        "from django.contrib.sessions.backends.db import SessionStore; s = SessionStore(); "
        "s['x'] = 1; s.save(); print(1); "
        "from apps.federation.models import Federation, Round, Run; from django.utils import timezone; "
        "f = Federation.objects.get(); run = Run.objects.create(federation=f, rounds=1, plan={}, started_by='x'); "
        "Round.objects.create(run=run, number=1, base=f.current, manifest=b'', manifest_signature=b'', "
        "opened_at=timezone.now())",
    )
    return var


@pytest.fixture(scope="module")
def saved(hub: Path) -> Path:
    made = manage(hub, "backup", str(hub / "hub.tar"))
    assert made.returncode == 0, made.stderr
    assert "NOT in it" in made.stdout
    return hub / "hub.tar"


def test_the_same_hub_comes_back_on_an_empty_machine(hub: Path, saved: Path, tmp_path: Path):
    restored = manage(tmp_path, "restore", str(saved))
    assert restored.returncode == 0, restored.stderr
    assert "put your copy of them" in restored.stdout
    assert "agents revoked since are active again" in restored.stdout
    before, after = ask(hub, FACTS), ask(tmp_path, FACTS)
    assert after["hospitals"] == before["hospitals"] == ["North Clinic", "South Clinic"]
    assert after["versions"] == before["versions"]
    assert after["holds"]
    assert (before["sessions"], after["sessions"]) == (1, 0)
    assert before["actions"][-1] == "backup.create"
    assert after["actions"] == [*before["actions"][:-1], "round.failed", "backup.restore"]
    assert before["rounds"] == [["COLLECTING", ""]]
    assert after["rounds"] == [["FAILED", "restored"]]
    digest = after["versions"][0]
    head = tmp_path / "models" / "heads" / f"{digest}.safetensors"
    assert head.read_bytes() == (hub / "models" / "heads" / f"{digest}.safetensors").read_bytes()


def test_models_of_a_backup_go_into_the_bucket_and_those_in_a_bucket_are_told(hub: Path, saved: Path, tmp_path: Path):
    server = S3Server()
    try:
        place = server.bucket()
        inside = {
            "HOSPINTEL_STORAGE": f"s3://{place.bucket}/a",
            "HOSPINTEL_S3_ENDPOINT": place.endpoint,
            "AWS_ACCESS_KEY_ID": place.access_key,
            "AWS_SECRET_ACCESS_KEY": place.secret_key,
        }
        restored = manage(tmp_path / "one", "restore", str(saved), **inside)
        assert restored.returncode == 0, restored.stderr
        assert "The storage has no head" not in restored.stdout
        digest = ask(hub, FACTS)["versions"][0]
        names = {one["Key"] for one in server.admin.list_objects_v2(Bucket=place.bucket)["Contents"]}
        assert f"a/models/heads/{digest}.safetensors" in names
        again = tmp_path / "again.tar"
        made = manage(tmp_path / "one", "backup", str(again), **inside)
        assert f"The models are in the bucket {place.bucket} and NOT in it" in made.stdout
        with tarfile.open(again) as tar:
            assert tar.getnames() == ["manifest.json", "hospintel.sqlite3"]
        elsewhere = manage(tmp_path / "two", "restore", str(again))
        assert "The storage has no head of version 1" in elsewhere.stdout
    finally:
        server.close()


def test_a_backup_is_private_and_holds_no_key(hub: Path, saved: Path):
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    with tarfile.open(saved) as tar:
        names = tar.getnames()
    assert names[:2] == ["manifest.json", "hospintel.sqlite3"]
    assert all(name.startswith("models/") for name in names[2:])
    content = saved.read_bytes()
    for secret in (hub / "keys").rglob("*"):
        if secret.is_file():
            assert secret.read_bytes().strip() not in content


def test_what_lies_in_the_way_of_a_backup_is_not_written_through(tmp_path: Path):
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"precious")
    victim.chmod(0o644)
    link.symlink_to(victim)
    for place in (victim, link):
        with pytest.raises(FileExistsError), _private(place):
            pass
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError), _private(dangling):
        pass
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "elsewhere").exists()


def test_the_name_of_an_unfinished_backup_cannot_be_known_before(hub: Path, tmp_path: Path):
    victim, guess = tmp_path / "victim", tmp_path / ".hub.tar.partial"
    victim.write_bytes(b"precious")
    guess.symlink_to(victim)
    made = manage(hub, "backup", str(tmp_path / "hub.tar"))
    assert made.returncode == 0, made.stderr
    assert victim.read_bytes() == b"precious"
    assert guess.is_symlink()
    assert stat.S_IMODE((tmp_path / "hub.tar").stat().st_mode) == 0o600


def test_no_file_is_replaced_by_a_backup(hub: Path, saved: Path):
    again = manage(hub, "backup", str(saved))
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert not list(hub.glob(".*.partial"))


def test_a_hub_in_use_is_replaced_only_by_force_and_then_kept(hub: Path, saved: Path, tmp_path: Path):
    assert manage(tmp_path, "migrate", "-v0").returncode == 0
    assert manage(tmp_path, "create_hospital", "Old Clinic").returncode == 0
    refused = manage(tmp_path, "restore", str(saved))
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert ask(tmp_path, FACTS)["hospitals"] == ["Old Clinic"]
    forced = manage(tmp_path, "restore", "--force", str(saved))
    assert forced.returncode == 0, forced.stderr
    assert ask(tmp_path, FACTS)["hospitals"] == ["North Clinic", "South Clinic"]
    (aside,) = tmp_path.glob("replaced-*")
    assert (aside / "hospintel.sqlite3").exists()


def test_a_running_hub_is_not_replaced(saved: Path, tmp_path: Path):
    with hold(tmp_path):
        refused = manage(tmp_path, "restore", "--force", str(saved))
    assert refused.returncode == 1
    assert f"Process {os.getpid()} already runs a hub" in refused.stderr


def rewrite(saved: Path, target: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    with tarfile.open(saved) as tar:
        members = [(info, file.read()) for info in tar if (file := tar.extractfile(info)) is not None]
    change(members)
    with tarfile.open(target, "w") as tar:
        for info, content in members:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))
    return target


def flip_a_model_byte(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    info, content = members[2]
    members[2] = (info, content[:-1] + bytes([content[-1] ^ 1]))


def flip_a_database_byte(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    info, content = members[1]
    members[1] = (info, content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])


def drop_a_model(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    del members[2]


def add_a_stranger(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.append((tarfile.TarInfo("models/heads/extra"), b"x"))


def climb_out(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    name = "models/../../evil"
    manifest = json.loads(members[0][1])
    manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
    members[0] = (members[0][0], json.dumps(manifest).encode())
    members.append((tarfile.TarInfo(name), b"x"))


def link_instead(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    link = tarfile.TarInfo(members[2][0].name)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members[2] = (link, b"")


def another_format(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[0] = (members[0][0], members[0][1].replace(b'"format": 1', b'"format": 2'))


def no_manifest(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    del members[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (flip_a_model_byte, "damaged"),
        (flip_a_database_byte, "damaged"),
        (drop_a_model, "damaged"),
        (add_a_stranger, "does not describe"),
        (climb_out, "no file of a backup"),
        (link_instead, "does not describe"),
        (another_format, "format 2"),
        (no_manifest, "does not begin with a manifest"),
    ],
)
def test_a_backup_that_was_changed_is_not_believed(
    saved: Path, tmp_path: Path, change: Callable[[Any], None], reason: str
):
    bad, folder = rewrite(saved, tmp_path / "bad.tar", change), tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(BackupError, match=reason):
        _extract(bad, folder)
    assert not (tmp_path / "evil").exists()


def test_a_refused_backup_leaves_everything_as_it_was(saved: Path, tmp_path: Path):
    bad, var = rewrite(saved, tmp_path / "bad.tar", flip_a_model_byte), tmp_path / "var"
    refused = manage(var, "restore", str(bad))
    assert refused.returncode == 1
    assert "damaged" in refused.stderr
    assert not (var / "hospintel.sqlite3").exists()
    assert not list(var.glob("restore-*"))


def test_what_is_no_tar_is_refused(tmp_path: Path):
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    refused = manage(tmp_path / "var", "restore", str(tmp_path / "x.tar"))
    assert refused.returncode == 1
    assert "cannot be read as a backup" in refused.stderr
