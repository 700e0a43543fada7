"""What is left when a round has ended, what a captured upload is worth then, and how keys are rotated."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections
from hub_client import HubClient
from hub_driver import assert_refused
from site_agent import SiteAgent, delta, payload

from apps.federation.models import HubKey, Round
from apps.federation.pipeline import keys, runs
from apps.federation.pipeline.finish import finish
from hospintel_core import envelope, signing
from hospintel_core.errors import EnvelopeError

pytestmark = pytest.mark.usefixtures("own_keys")


def private_keys_on_disk(folder):
    """Every private key that any file under the folder holds, wherever it lies."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        while (start := content.find(b"-----BEGIN PRIVATE KEY-----")) >= 0:
            end = content.find(b"-----END PRIVATE KEY-----", start) + len(b"-----END PRIVATE KEY-----")
            found.append(load_pem_private_key(content[start:end], password=None))
            content = content[end:]
    return found


def try_to_open(sealed, sender, folder):
    """Open a captured upload with every pair of keys that the disk gives away; return how many times it worked."""
    found = private_keys_on_disk(folder)
    rsa = [key for key in found if isinstance(key, signing.RSAPrivateKey)]
    rounds = [key for key in found if isinstance(key, X25519PrivateKey)]
    assert rsa
    opened = 0
    for rsa_key in rsa:
        for round_key in [*rounds, X25519PrivateKey.generate()]:
            try:
                envelope.open_envelope(sealed, sender=sender, rsa_private=rsa_key, round_private=round_key)
                opened += 1
            except EnvelopeError:
                continue
    return opened


def spellings(key):
    """The ways in which a private key may lie in a file."""
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return [raw, base64.b64encode(raw), raw.hex().encode(), pem.splitlines()[1]]


def files_with(needles, folder):
    connections.close_all()
    return [
        path for path in folder.rglob("*") if path.is_file() and any(needle in path.read_bytes() for needle in needles)
    ]


def test_a_captured_upload_cannot_be_opened_after_its_round_with_everything_left_on_disk(hub, north, south, tmp_path):
    round_ = hub.open_round(north, south)
    captured = north.take_part()
    hub.work()
    sender = north.key.public_key()
    needles = spellings(keys.round_private(round_.pk))
    assert try_to_open(captured, sender, tmp_path) == 1
    assert len(files_with(needles, tmp_path)) == 1
    hub.finish_honestly(south)
    assert try_to_open(captured, sender, tmp_path) == 0
    assert files_with(needles, tmp_path) == []
    assert hub.event(action="round.erase")["object"] == f"round:{round_.pk}"


def test_the_round_key_is_never_in_the_database(hub, north, south, tmp_path):
    round_ = hub.open_round(north, south)
    needles = spellings(keys.round_private(round_.pk))
    (path,) = files_with(needles, tmp_path)
    assert path == Path(settings.KEYS) / "rounds" / f"{round_.pk}.pem"
    assert path.stat().st_mode & 0o777 == 0o600


def test_ciphertext_lies_on_disk_only_while_its_round_needs_it(hub, north, south):
    round_ = hub.open_round(north, south)
    sealed = north.take_part()
    (path,) = hub.paths()
    assert path.read_bytes() == sealed
    hub.work()
    assert hub.paths() == [path]
    hub.finish_honestly(south)
    assert keys.kept_round_keys() == []
    assert round_.updates.count() == 2


@pytest.mark.parametrize("how", ["aborted", "quorum"])
def test_a_round_that_failed_leaves_no_more_than_one_that_was_published(hub, north, south, tmp_path, how):
    round_ = hub.open_round(north, south)
    captured = north.take_part()
    south_digest = "a" * 64
    south.put(round_.pk, b"unfinished", length=1000, digest=south_digest)
    hub.work()
    if how == "aborted":
        hub.run(runs.abort(round_.run, actor="user:1"))
    else:
        hub.configure(deadline=0)
        runs.pause(round_.run, actor="user:1")
        hub.tick()
    round_.refresh_from_db()
    assert (round_.state, round_.reason) == ("FAILED", how)
    assert hub.files() == set()
    assert try_to_open(captured, north.key.public_key(), tmp_path) == 0


def test_plaintext_of_an_update_never_touches_the_disk(hub, north, south, tmp_path):
    hub.open_round(north, south)
    manifest = north.task()
    arrays = delta()
    arrays["head_dense/bias"][:4] = [1.5, 2.5, 3.5, 4.5]
    needle = arrays["head_dense/bias"][:4].tobytes()
    content = payload(arrays)
    assert needle in content
    assert north.put(manifest.round_id, north.seal(manifest, content)).status_code == 202
    assert files_with([needle], tmp_path) == []
    hub.work()
    assert files_with([needle], tmp_path) == []
    hub.finish_honestly(south)
    assert files_with([needle], tmp_path) == []


def test_a_round_whose_worker_died_before_the_retention_is_cleaned_by_the_tick(hub, north, south):
    round_ = hub.open_round(north, south)
    runs.abort(round_.run, actor="user:1")  # what follows from it is lost
    assert keys.has_round_key(round_.pk)
    hub.tick()
    assert not keys.has_round_key(round_.pk)


def test_nothing_is_erased_while_the_round_is_active(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    finish(round_.pk)
    assert keys.has_round_key(round_.pk)
    assert len(hub.files()) == 1
    hub.work()
    hub.finish_honestly(south)


def test_a_round_whose_key_is_lost_fails_by_name_and_the_next_attempt_goes_on(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    keys.erase_round_key(round_.pk)
    hub.work()
    round_.refresh_from_db()
    assert (round_.state, round_.reason) == ("FAILED", "key_missing")
    assert north.status(round_.pk)["code"] == "round_closed"
    assert hub.current_round().attempt == 2
    hub.finish_honestly(north, south)


def test_a_key_that_cannot_be_read_for_a_while_costs_nothing(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    path = Path(settings.KEYS) / "rounds" / f"{round_.pk}.pem"
    path.chmod(0o644)
    hub.work()
    assert north.status(round_.pk)["state"] == "RECEIVED"
    path.chmod(0o600)
    hub.inspect_all()
    assert north.status(round_.pk)["state"] == "ACCEPTED"
    hub.finish_honestly(south)


def test_the_rsa_key_may_be_rotated_while_a_round_is_open(hub, north, south):
    round_ = hub.open_round(north, south, rounds=2)
    north.take_part()
    hub.work()
    old = round_.rsa_kid
    call_command("rotate_keys")
    new = HubKey.objects.get(kind="RSA", state="ACTIVE").kid
    assert new != old
    assert signing.key_id(served_key()).hex() == new
    hub.finish_honestly(south)
    second = hub.current_round()
    assert second.rsa_kid == new
    hub.finish_honestly(north, south)
    assert [event["object"] for event in hub.events(action="key.decrypt_only")] == [f"key:{old}"]


def served_key():
    return load_pem_public_key(HubClient().get("/public_key").content)


def test_a_retired_key_is_destroyed_only_when_no_round_needs_it(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    old = Path(settings.KEYS) / f"rsa-{round_.rsa_kid}.pem"
    call_command("rotate_keys")
    with pytest.raises(CommandError, match="A round is open"):
        call_command("rotate_keys", "--destroy")
    assert old.exists()
    hub.finish_honestly(south)
    call_command("rotate_keys", "--destroy")
    assert not old.exists()
    assert HubKey.objects.get(kid=round_.rsa_kid).state == "DESTROYED"
    assert hub.event(action="key.destroyed")["object"] == f"key:{round_.rsa_kid}"


def test_a_retired_identity_is_erased_and_the_hub_goes_on(hub, north, south, tmp_path):
    old = keys.identity_private()
    call_command("rotate_keys", "--identity")
    assert files_with(spellings(old), tmp_path)
    call_command("rotate_keys", "--destroy")
    assert files_with(spellings(old), tmp_path) == []
    assert HubKey.objects.get(kid=signing.key_id(old.public_key()).hex()).state == "DESTROYED"
    keys.ensure_keys()
    hub.open_round(north, south)
    # Both have pinned the old identity, and follow.
    new = keys.identity_public()
    hub.finish_honestly(*(SiteAgent(replace(agent.credentials, identity=new)) for agent in (north, south)))


def test_a_destruction_that_was_interrupted_is_finished_by_the_next(hub):
    call_command("rotate_keys")
    row = HubKey.objects.get(kind="RSA", state="DECRYPT_ONLY")
    (Path(settings.KEYS) / f"rsa-{row.kid}.pem").unlink()
    call_command("rotate_keys", "--destroy")
    row.refresh_from_db()
    assert row.state == "DESTROYED"


def test_after_rotation_and_destruction_the_next_round_works(hub, north, south):
    call_command("rotate_keys")
    call_command("rotate_keys", "--destroy")
    hub.open_round(north, south)
    hub.finish_honestly(north, south)


def test_a_new_identity_is_signed_by_the_old_one(hub, north, south):
    old = keys.identity_public()
    call_command("rotate_keys", "--identity")
    row = HubKey.objects.get(kind="IDENTITY", state="ACTIVE")
    assert row.signed_by == signing.key_id(old).hex()
    signing.verify(signing.DOMAIN_IDENTITY, row.public_pem.encode(), bytes(row.signature), old)
    round_ = hub.open_round(north, south)
    assert Round.objects.get(pk=round_.pk).manifest_kid == row.kid


def test_an_update_to_a_destroyed_key_cannot_get_in(hub, north, south):
    old_key = served_key()
    call_command("rotate_keys")
    call_command("rotate_keys", "--destroy")
    round_ = hub.open_round(north, south)
    answer = north.put(round_.pk, north.seal(north.task(), rsa_public=old_key))
    assert_refused(answer, 422, "wrong_rsa_key")
    hub.finish_honestly(north, south)
