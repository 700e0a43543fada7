"""The hub signs its audit: at each round's end, by the tick, and before an export."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from typing_in import typed

from apps.audit import checkpoints, guards
from apps.audit.models import AuditEntry, AuditHead, Checkpoint
from apps.federation.models import HubKey, Run
from apps.federation.pipeline import checkpoint, keys, runs, tick
from apps.federation.states import KeyState
from hospintel_core import identity, signing

TOOL = Path(settings.BASE_DIR) / "tools" / "verify_audit_export.py"


def verify_standalone(*words):
    command = [sys.executable, "-I", str(TOOL), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def export(path, *words):
    path.unlink(missing_ok=True)
    call_command("export_audit", str(path), *words)
    return path


def test_a_round_ends_with_a_checkpoint_that_the_hubs_identity_signed(hub, north, south):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    note = checkpoints.newest()
    assert note.kid == keys.active_key(HubKey.Kind.IDENTITY).kid
    assert checkpoints.check([note], keys.identities()).ok
    erased = AuditEntry.objects.filter(action="round.erase").latest("seq")
    assert note.seq >= erased.seq


def test_the_tick_signs_what_is_new_once(hub):
    hub.start_run()
    tick.sign_checkpoint()
    assert checkpoints.newest().seq == AuditHead.objects.get().seq
    tick.sign_checkpoint()
    assert Checkpoint.objects.count() == 1


def test_each_checkpoint_is_added_to_the_file_that_is_kept_elsewhere(hub, tmp_path, settings, caplog):
    settings.CHECKPOINT_FILE = tmp_path / "checkpoints.jsonl"
    for _ in range(2):
        hub.start_run()
        checkpoint.sign()
        checkpoint.sign()
        hub.run(runs.abort(Run.objects.get(state="RUNNING"), actor="user:1"))
    kept = [checkpoints.Note.from_line(line) for line in settings.CHECKPOINT_FILE.read_text().splitlines()]
    assert kept == checkpoints.notes()
    assert len(kept) == 2
    # Where it cannot be written, the hub still signs.
    settings.CHECKPOINT_FILE = tmp_path / "nowhere" / "checkpoints.jsonl"
    assert checkpoint.sign().seq == AuditHead.objects.get().seq > kept[-1].seq
    assert "cannot be added to its file" in caplog.text


def test_a_chain_that_does_not_hold_is_not_signed_and_the_log_says_so(hub, caplog):
    guards.remove(connection)
    AuditEntry.objects.filter(seq=2).update(actor="user:9")
    assert checkpoint.sign() is None
    assert not Checkpoint.objects.exists()
    assert "does not hold" in caplog.text
    assert "entry 2" in caplog.text


def test_the_export_is_verified_by_the_standalone_script(hub, north, south, tmp_path):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    whole = export(tmp_path / "audit.jsonl")
    fingerprint = signing.fingerprint(keys.identity_public())
    done = verify_standalone(whole, "--fingerprint", fingerprint)
    assert (done.returncode, done.stderr) == (0, "")
    count = AuditHead.objects.get().seq
    assert done.stdout.startswith(f"{count} entries hold. ")
    # Its own end is signed, the entry that says who exported it included.
    assert checkpoints.newest().seq == count
    last = json.loads(bytes(AuditEntry.objects.get(seq=count).body))
    assert (last["action"], last["visibility"]) == ("audit.export", "admin")


def test_the_verifier_follows_a_rotated_identity(hub, own_keys, tmp_path):
    old = signing.fingerprint(keys.identity_public())
    checkpoint.sign()
    keys.rotate(HubKey.Kind.IDENTITY, actor="user:1")
    whole = export(tmp_path / "audit.jsonl")
    assert len(keys.identities()) == 2
    for fingerprint in (old, signing.fingerprint(keys.identity_public())):
        assert verify_standalone(whole, "--fingerprint", fingerprint).returncode == 0
    call_command("verify_audit", stdout=StringIO())


def test_an_identity_that_nobody_signed_proves_nothing(hub, own_keys):
    keys.rotate(HubKey.Kind.IDENTITY, actor="user:1")
    new = keys.active_key(HubKey.Kind.IDENTITY)
    HubKey.objects.filter(pk=new.pk).update(signature=bytes(64))
    assert list(keys.identities()) == [new.kid]


def test_whoever_signs_the_identity_does_not_thereby_come_before_it(hub, own_keys):
    """A row and a signature are quickly made, but the hub's identity has signed no stranger's key."""
    now, strangers = keys.active_key(HubKey.Kind.IDENTITY), Ed25519PrivateKey.generate()
    pem = identity.pem_of(strangers.public_key())
    kid = signing.key_id(strangers.public_key()).hex()
    state = KeyState.DECRYPT_ONLY
    HubKey.objects.create(kid=kid, kind=HubKey.Kind.IDENTITY, state=state, public_pem=pem)
    signature = signing.sign(signing.DOMAIN_IDENTITY, now.public_pem.encode(), strangers)
    own = signing.sign(signing.DOMAIN_PREDECESSOR, pem.encode(), strangers)
    HubKey.objects.filter(pk=now.pk).update(signed_by=kid, signature=signature, countersignature=own)
    assert [link.kid.hex() for link in keys.identity_chain()] == [now.kid, kid]
    assert list(keys.identities()) == [now.kid]


def test_kept_checkpoints_show_what_was_cut_off(hub, north, south, tmp_path):
    hub.start_run()
    kept = export(tmp_path / "kept.jsonl", "--checkpoints")
    assert len(kept.read_text().splitlines()) == 1
    guards.remove(connection)
    end = AuditHead.objects.get().seq
    AuditEntry.objects.filter(seq=end)._raw_delete("default")
    Checkpoint.objects.all()._raw_delete("default")
    AuditHead.objects.update(seq=end - 1, entry_hash=AuditEntry.objects.get(seq=end - 1).entry_hash)
    assert "entries hold" in typed("verify_audit")[0]
    with pytest.raises(CommandError, match=f"entry {end}: a checkpoint knows entries up to {end}"):
        call_command("verify_audit", "--checkpoint", str(kept))


def test_an_export_overwrites_nothing_and_other_files_are_no_checkpoints(hub, tmp_path):
    path = tmp_path / "there.jsonl"
    path.write_text("precious")
    with pytest.raises(CommandError, match="exists"):
        call_command("export_audit", str(path))
    assert path.read_text() == "precious"
    with pytest.raises(CommandError, match=r"there\.jsonl"):
        call_command("verify_audit", "--checkpoint", str(path))


def test_only_checkpoints_beyond_an_entry_are_listed(hub):
    hub.start_run()
    out = StringIO()
    call_command("export_audit", "-", "--checkpoints", stdout=out)
    (line,) = out.getvalue().splitlines()
    seq = json.loads(json.loads(line)["body"])["seq"]
    out = StringIO()
    call_command("export_audit", "-", "--checkpoints", "--after", str(seq), stdout=out)
    assert out.getvalue() == ""
