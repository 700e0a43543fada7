import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from sealed import ROUND, RSA, SIGNING

from hospintel_core import files, signing
from hospintel_core.errors import KeyFileError

KINDS = [(SIGNING, Ed25519PrivateKey), (ROUND, X25519PrivateKey), (RSA, RSAPrivateKey)]


def refused(call, *arguments):
    with pytest.raises(KeyFileError) as caught:
        call(*arguments)
    return caught.value.code


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "agent.pem"
    signing.write_private_key(path, SIGNING)
    return path


@pytest.mark.parametrize(("key", "kind"), KINDS)
def test_a_key_is_read_back_as_it_was_written(tmp_path, key, kind):
    signing.write_private_key(tmp_path / "key.pem", key)
    read = signing.read_private_key(tmp_path / "key.pem", kind)
    assert read.public_key() == key.public_key()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_use_a_key_file_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        signing.write_private_key(tmp_path / "key.pem", SIGNING)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(key_file):
    before = key_file.read_bytes()
    assert refused(signing.write_private_key, key_file, Ed25519PrivateKey.generate()) == "key_exists"
    assert key_file.read_bytes() == before


def test_a_dangling_link_in_a_keys_place_is_not_written_through(tmp_path):
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    assert refused(signing.write_private_key, tmp_path / "key.pem", SIGNING) == "key_exists"
    assert not (tmp_path / "elsewhere").exists()


def test_writing_leaves_nothing_else_behind(key_file):
    assert [path.name for path in key_file.parent.iterdir()] == ["agent.pem"]
    refused(signing.write_private_key, key_file, SIGNING)
    assert [path.name for path in key_file.parent.iterdir()] == ["agent.pem"]


def test_a_failing_disk_leaves_no_half_key(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert refused(signing.write_private_key, tmp_path / "key.pem", SIGNING) == "key_unwritable"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    assert refused(signing.write_private_key, tmp_path / "no" / "key.pem", SIGNING) == "key_unwritable"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o601, 0o644, 0o777])
def test_a_key_that_others_may_use_is_refused(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(KeyFileError) as caught:
        signing.read_private_key(key_file, Ed25519PrivateKey)
    assert caught.value.code == "key_permissions"
    assert "chmod 600" in caught.value.hint


def test_a_read_only_key_of_the_owner_is_fine(key_file):
    key_file.chmod(0o400)
    assert signing.read_private_key(key_file, Ed25519PrivateKey).public_key() == SIGNING.public_key()


@pytest.mark.parametrize(("key", "kind"), KINDS)
def test_a_key_of_another_kind_is_refused(tmp_path, key, kind):
    signing.write_private_key(tmp_path / "key.pem", key)
    for other in {kind for _, kind in KINDS} - {kind}:
        assert refused(signing.read_private_key, tmp_path / "key.pem", other) == "key_kind"


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_without_a_key_is_unreadable(tmp_path, content):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    assert refused(signing.read_private_key, path, Ed25519PrivateKey) == "key_unreadable"


def test_a_key_under_a_password_is_unreadable(tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(SIGNING.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")))
    path.chmod(0o600)
    assert refused(signing.read_private_key, path, Ed25519PrivateKey) == "key_unreadable"


def test_a_missing_key_is_named(tmp_path):
    assert refused(signing.read_private_key, tmp_path / "key.pem", Ed25519PrivateKey) == "key_missing"


def test_a_folder_is_no_key(tmp_path):
    assert refused(signing.read_private_key, tmp_path, Ed25519PrivateKey) == "key_unreadable"


def test_an_erased_key_is_gone_and_its_bytes_too(key_file):
    other_name = key_file.with_name("backup")
    os.link(key_file, other_name)
    length = len(other_name.read_bytes())
    signing.erase_key(key_file)
    assert not key_file.exists()
    assert other_name.read_bytes() == bytes(length)


def test_erasing_twice_is_fine(key_file):
    signing.erase_key(key_file)
    signing.erase_key(key_file)


def test_what_cannot_be_erased_is_said(tmp_path):
    assert refused(signing.erase_key, Path(tmp_path)) == "key_unwritable"


def test_a_pipe_in_a_keys_place_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "key.pem", 0o600)
    assert refused(signing.read_private_key, tmp_path / "key.pem", Ed25519PrivateKey) == "key_unreadable"


def owned_by(status, user):
    return os.stat_result([user if index == stat.ST_UID else value for index, value in enumerate(status[:10])])


def test_a_file_is_a_secret_only_of_its_own_user(key_file):
    status = key_file.stat()
    assert files.exposure(status) == ""
    assert files.exposure(owned_by(status, os.geteuid() + 1)) == "it belongs to another user"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_not_used(key_file):
    os.chown(key_file, 12345, -1)
    assert refused(signing.read_private_key, key_file, Ed25519PrivateKey) == "key_permissions"
