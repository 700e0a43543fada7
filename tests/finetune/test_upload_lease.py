"""A model is handed in by who has the lease, from the first byte to the last."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_upload_model import file_of, quarantined, trained

from apps.federation.pipeline.step import Refusal
from apps.finetune.models import ModelUpload
from apps.finetune.pipeline import lease, upload_model


def code_of(user: Any, chunks: Any) -> str:
    with pytest.raises(Refusal) as raised:
        upload_model.receive(user, chunks)
    assert quarantined() == []
    assert not ModelUpload.objects.exists()
    return raised.value.code


def test_without_it_no_byte_is_read(hub: Any, cast: Any):
    def never() -> Iterator[bytes]:
        pytest.fail("the file was read")
        yield b""

    assert code_of(cast.north_doctor, never()) == "lease_lost"
    lease.take(cast.south_doctor)
    assert code_of(cast.north_doctor, never()) == "lease_lost"


def test_who_loses_it_while_the_file_comes_has_handed_in_nothing(hub: Any, cast: Any, tmp_path: Path):
    data = file_of(tmp_path, trained(hub))

    def slow() -> Iterator[bytes]:
        yield data
        lease.release(cast.north_doctor, by="holder")
        lease.take(cast.south_doctor)

    lease.take(cast.north_doctor)
    assert code_of(cast.north_doctor, slow()) == "lease_lost"


def test_a_file_that_breaks_off_leaves_nothing(hub: Any, cast: Any, tmp_path: Path):
    data = file_of(tmp_path, trained(hub))

    def broken() -> Iterator[bytes]:
        yield data
        raise ConnectionResetError

    lease.take(cast.north_doctor)
    with pytest.raises(ConnectionResetError):
        upload_model.receive(cast.north_doctor, broken())
    assert quarantined() == []


def test_handing_in_lets_it_last_on(hub: Any, cast: Any, tmp_path: Path, clock: Any):
    held = lease.take(cast.north_doctor)
    before = held.until
    clock.shift(600)
    upload = upload_model.receive(cast.north_doctor, [file_of(tmp_path, trained(hub))])
    held.refresh_from_db()
    assert (upload.lease, held.until > before) == (held, True)
