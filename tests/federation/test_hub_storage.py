"""What every storage of the hub promises: a folder, and a bucket of a server that speaks S3."""

import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from apps.federation.pipeline.bucket import Bucket
from apps.federation.pipeline.folder import Folder
from apps.federation.pipeline.objects import StorageAwayError


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path, settings):
    settings.VAR = tmp_path / "var"
    if request.param == "folder":
        return Folder(tmp_path / "files", private=True)
    return Bucket(request.getfixturevalue("s3_server").bucket(), "uploads/")


def drained(reader, size=7):
    blocks = []
    while block := reader.read(size):
        blocks.append(block)
    reader.close()
    return b"".join(blocks)


@pytest.mark.parametrize("lasting", [True, False])
def test_what_is_put_is_there_whole(place, lasting):
    place.put("a/one.bin", b"x" * 1000, lasting=lasting)
    assert place.get("a/one.bin") == b"x" * 1000
    found = place.find("a/one.bin")
    assert (found.name, found.size, found.stem) == ("a/one.bin", 1000, "one")
    assert abs(found.modified - time.time()) < 30
    place.put("a/one.bin", b"other", lasting=lasting)
    assert place.get("a/one.bin") == b"other"
    assert place.find("a/one.bin").tag != found.tag


def test_an_empty_file_is_a_file(place):
    place.put("empty", b"")
    assert (place.get("empty"), place.find("empty").size) == (b"", 0)
    assert drained(place.find("empty").open()) == b""


def test_a_draft_becomes_a_file_or_is_gone(place):
    with place.draft() as draft:
        draft.write_bytes(b"made here")
        place.put_file("models/made.h5", draft)
    with place.draft() as left:
        left.write_bytes(b"never put")
    assert place.get("models/made.h5") == b"made here"
    assert not draft.exists()
    assert not left.exists()
    assert [found.name for found in place.list("")] == ["models/made.h5"]


def test_what_is_not_there_is_told(place):
    assert place.find("no/where") is None
    with pytest.raises(FileNotFoundError):
        place.get("no/where")
    with pytest.raises(FileNotFoundError), place.local("no/where"):
        pass
    place.delete("no/where")
    assert place.list("no/") == []


def test_a_file_is_read_from_a_byte_on_in_blocks(place):
    data = os.urandom(3_000_000)
    place.put("large", data)
    found = place.find("large")
    assert drained(found.open(), 1 << 18) == data
    assert drained(found.open(2_999_990)) == data[-10:]
    assert drained(found.open(3_000_000)) == b""


def test_another_content_is_not_taken_for_the_one_that_was_found(place):
    place.put("file", b"the first one")
    found = place.find("file")
    place.put("file", b"the other one")
    with pytest.raises(FileNotFoundError):
        found.open(3)
    place.delete("file")
    with pytest.raises(FileNotFoundError):
        found.open()


def test_a_program_that_needs_a_path_gets_one(place):
    place.put("a/b", b"bytes")
    with place.local("a/b") as path:
        assert Path(path).read_bytes() == b"bytes"
    assert place.get("a/b") == b"bytes"


def test_files_are_listed_by_how_their_names_begin_and_by_age(place):
    for name in ("parts/1-a-0.part", "parts/1-a-1.part", "parts/2-a-0.part", "scans/x/1.bin", "scans/y/1.bin", "top"):
        place.put(name, name.encode())
    assert {found.name for found in place.list("parts/1-a-")} == {"parts/1-a-0.part", "parts/1-a-1.part"}
    assert {found.name for found in place.list("scans/")} == {"scans/x/1.bin", "scans/y/1.bin"}
    assert {(found.name, found.size) for found in place.list("scans/x/")} == {("scans/x/1.bin", 13)}
    assert len(place.list("")) == 6
    assert place.list("", time.time() - 60) == []
    assert len(place.list("", time.time() + 60)) == 6
    for found in place.list(""):
        place.delete(found.name)
    assert place.list("") == []


def test_more_files_than_a_page_of_a_listing_holds(place, monkeypatch):
    for number in range(12):
        place.put(f"many/{number:02d}", b"x")
    if isinstance(place, Bucket):
        pages = place._client.get_paginator
        monkeypatch.setattr(
            place._client,
            "get_paginator",
            lambda call: type("Five", (), {"paginate": lambda self, **of: pages(call).paginate(**of, MaxKeys=5)})(),
        )
    assert [found.name for found in sorted(place.list("many/"), key=lambda one: one.name)] == [
        f"many/{number:02d}" for number in range(12)
    ]


def test_files_put_and_deleted_by_many_at_once_are_whole(place):
    """The folder of an owner comes and goes with its files."""
    faults = []

    def come_and_go(number):
        try:
            for _ in range(20):
                place.put(f"scans/owner/{number}", b"x" * 5000)
                assert place.get(f"scans/owner/{number}") == b"x" * 5000
                place.delete(f"scans/owner/{number}")
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert faults == []
    assert place.list("") == []


def test_the_drafts_of_processes_that_died_are_swept(place):
    made = place.draft()
    draft = made.__enter__()
    draft.with_name(f".{draft.name}.abc.part").write_bytes(b"half")
    place.put("kept", b"x")
    place.sweep(time.time() - 60)
    assert len(list(draft.parent.glob(".*"))) == 2
    place.sweep(time.time() + 60)
    assert list(draft.parent.glob(".*")) == []
    assert place.get("kept") == b"x"


def test_a_storage_that_does_what_it_should_is_found_in_order(place):
    assert place.probe() == ""
    assert place.list("") == []


def test_a_storage_whose_clock_is_wrong_is_named(place, clock):
    clock.shift(3600)
    # A bucket tells whole seconds.
    assert re.fullmatch(r"Its clock is 3(599|600|601) s off ours\.", place.probe())


def test_a_folder_where_nothing_can_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert Folder(tmp_path / "file").probe() == "Not a directory"


# --- A bucket alone -------------------------------------------------------------------------------------------------
@pytest.fixture
def bucket(s3_server, tmp_path, settings):
    settings.VAR = tmp_path / "var"
    return s3_server.bucket()


def test_a_bucket_that_is_away_is_told_by_every_call_and_goes_on(bucket, relay_to):
    relay = relay_to(bucket)
    place = Bucket(relay.place, "models/")
    place.put("file", b"x" * 100)
    found = place.find("file")
    relay.away()
    for call in (
        lambda: place.put("other", b"x"),
        lambda: place.get("file"),
        lambda: place.find("file"),
        found.open,
        lambda: place.delete("file"),
        lambda: place.list(""),
    ):
        with pytest.raises(StorageAwayError, match="does not answer"):
            call()
    assert "does not answer" in place.probe()
    relay.back()
    assert place.get("file") == b"x" * 100
    assert place.probe() == ""


def test_a_download_that_is_cut_is_told(bucket, relay_to):
    relay = relay_to(bucket)
    place = Bucket(relay.place, "models/")
    place.put("large", os.urandom(20_000_000))
    reader = place.find("large").open()
    assert len(reader.read(1000)) == 1000
    relay.away()
    with pytest.raises(StorageAwayError):
        drained(reader, 1 << 20)


def test_a_bucket_that_does_not_exist_is_named(bucket):
    place = Bucket(replace(bucket, bucket="nowhere-at-all"), "models/")
    assert place.probe() == f"The bucket nowhere-at-all at {bucket.endpoint} does not exist."


def test_wrong_credentials_are_named(bucket, with_credentials):
    with with_credentials():
        wrong = Bucket(replace(bucket, access_key="somebody", secret_key="else"), "models/").probe()
    assert wrong.startswith(f"The bucket {bucket.bucket} at {bucket.endpoint} refuses our credentials (")
    assert "else" not in wrong


def test_two_prefixes_of_a_bucket_know_nothing_of_each_other(bucket):
    one, other = Bucket(bucket, "models/"), Bucket(replace(bucket, prefix="b/hub/"), "models/")
    one.put("heads/x", b"1")
    assert other.list("") == []
    assert other.find("heads/x") is None


def test_a_setting_never_shows_its_keys(bucket):
    assert bucket.secret_key not in repr(bucket)
