"""Files in a bucket of an S3-compatible storage, by boto3; imported only where HOSPINTEL_STORAGE names one.

A storage has to keep what AWS promises: a put is there whole or not at all and seen by who asks next, Range, If-Match.
"""

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings

from apps.federation.pipeline.objects import Objects, Reader, StorageAwayError, Stored, disk_full
from hospintel_site.env import S3

_CONFIG = {
    "connect_timeout": 5,
    "read_timeout": 20,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
    # Downloads that wait for slow receivers hold one each.
    "max_pool_connections": 64,
    # Not every storage knows the checksums that boto3 would add. That of Signature V4 every one has to check: it names
    # the SHA-256 of what is sent, over TLS too.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "signature_version": "s3v4",
}
_GONE = frozenset({"404", "NoSuchKey", "NotFound", "412", "PreconditionFailed"})
_REFUSED = frozenset(
    {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_FULL = frozenset({"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"})
_PARTIAL = 206


@dataclass(frozen=True)
class Bucket(Objects):
    """Files whose keys begin with `prefix` in a bucket."""

    place: S3
    prefix: str

    def put(self, name: str, data: bytes, *, lasting: bool = True) -> None:  # noqa: ARG002 - it always lasts
        """See `Objects.put`."""
        self._write(name, io.BytesIO(data), len(data))

    def put_file(self, name: str, draft: Path) -> None:
        """See `Objects.put_file`."""
        with draft.open("rb") as file:
            self._write(name, file, draft.stat().st_size)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """See `Objects.draft`."""
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=_spool())
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def get(self, name: str) -> bytes:
        """See `Objects.get`."""
        with self._told():
            data: bytes = self._client.get_object(**self._at(name))["Body"].read()
            return data

    def find(self, name: str) -> Stored | None:
        """See `Objects.find`."""
        try:
            with self._told():
                found = self._client.head_object(**self._at(name))
        except FileNotFoundError:
            return None
        return Stored(self, name, found["ContentLength"], found["ETag"], found["LastModified"].timestamp())

    def open(self, found: Stored, first: int = 0) -> Reader:
        """See `Objects.open`: a stream, of which no more is in memory than is asked for."""
        if first >= found.size:
            return io.BytesIO()
        wanted = {"Range": f"bytes={first}-"} if first else {}
        with self._told():
            answer = self._client.get_object(**self._at(found.name), IfMatch=found.tag, **wanted)
        body = answer["Body"]
        if answer["ETag"] != found.tag:
            body.close()
            raise FileNotFoundError(found.name)
        if first and answer["ResponseMetadata"]["HTTPStatusCode"] != _PARTIAL:
            body.close()
            raise StorageAwayError(f"{self._where} sends whole files where a part was asked for.")
        return _Body(self, body)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """See `Objects.local`: a copy."""
        with self.draft() as path:
            with self._told(), path.open("wb") as file:
                for block in self._client.get_object(**self._at(name))["Body"].iter_chunks(1 << 20):
                    file.write(block)
            yield path

    def delete(self, name: str) -> None:
        """See `Objects.delete`."""
        try:
            with self._told():
                self._client.delete_object(**self._at(name))
        except FileNotFoundError:
            return

    def list(self, prefix: str, before: float = inf) -> list[Stored]:
        """See `Objects.list`."""
        start = self._key(prefix)
        with self._told():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.place.bucket, Prefix=start)
            found = [
                Stored(self, name, one["Size"], one["ETag"], one["LastModified"].timestamp())
                for page in pages
                for one in page.get("Contents", [])
                for name in [one["Key"].removeprefix(self._key(""))]
            ]
        return [one for one in found if not Path(one.name).name.startswith(".") and one.modified < before]

    def sweep(self, before: float) -> None:
        """See `Objects.sweep`: drafts lie on this machine."""
        for path in _spool().iterdir():
            try:
                if path.stat().st_mtime < before:
                    path.unlink()
            except FileNotFoundError:
                continue

    def _write(self, name: str, file: Any, size: int) -> None:
        with self._told():
            self._client.put_object(**self._at(name), Body=file, ContentLength=size)
        there = self.find(name)
        if there is None or there.size != size:
            raise StorageAwayError(f"{self._where} took {name}, and does not have it.")

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.place.bucket, "Key": self._key(name)}

    def _key(self, name: str) -> str:
        return f"{self.place.prefix}{self.prefix}{name}"

    @property
    def _client(self) -> Any:
        return _client(self.place, os.getpid())

    @property
    def _where(self) -> str:
        return f"The bucket {self.place.bucket} at {self.place.endpoint or 'AWS'}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what boto3 raises into what `Objects` promises."""
        try:
            yield
        except ClientError as error:
            raise self._fault(error) from error
        except BotoCoreError as error:
            raise StorageAwayError(f"{self._where} does not answer: {error}") from error

    def _fault(self, error: ClientError) -> OSError:
        told: Any = error.response
        code = str(told["Error"].get("Code", "")) or str(told["ResponseMetadata"]["HTTPStatusCode"])
        if code in _GONE:
            return FileNotFoundError(str(error))
        if code in _FULL:
            return disk_full(f"{self._where} is full.")
        if code in _REFUSED:
            return StorageAwayError(f"{self._where} refuses our credentials ({code}).")
        if code == "NoSuchBucket":
            return StorageAwayError(f"{self._where} does not exist.")
        return StorageAwayError(f"{self._where} cannot do it: {error}")


class _Body:
    """What is read from a bucket, whose faults are told as those of other calls."""

    def __init__(self, bucket: Bucket, body: Any) -> None:
        self._bucket, self._body = bucket, body

    def read(self, size: int = -1, /) -> bytes:
        with self._bucket._told():  # noqa: SLF001 - one of the two is the other's
            data: bytes = self._body.read(None if size < 0 else size)
            return data

    def close(self) -> None:
        self._body.close()


@lru_cache(maxsize=4)
def _client(place: S3, process: int) -> Any:  # noqa: ARG001 - connections are not shared with forked processes
    """Return a client, which any number of threads may use."""
    styled = {"s3": {"payload_signing_enabled": True, "addressing_style": "path" if place.endpoint else "auto"}}
    # None: where boto3 looks by itself, such as in the role of a machine.
    return boto3.session.Session(
        aws_access_key_id=place.access_key or None,
        aws_secret_access_key=place.secret_key or None,
        aws_session_token=place.session_token or None,
        region_name=place.region,
    ).client("s3", endpoint_url=place.endpoint or None, config=Config(**_CONFIG, **styled))


def _spool() -> Path:
    folder = Path(settings.VAR) / "spool"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
