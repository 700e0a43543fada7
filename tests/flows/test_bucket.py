"""A run through real processes that keep their files in a bucket, which is away for a while."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import office
import pytest
from harness import Federation, Hub
from s3_server import Relay, S3Server


@pytest.fixture
def server() -> Iterator[S3Server]:
    """A storage that speaks S3."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def relay(server: S3Server) -> Iterator[Relay]:
    """What the hub takes for it."""
    relay = Relay(server.bucket())
    yield relay
    relay.away()


@pytest.fixture
def bucket_hub(tmp_path: Path, relay: Relay) -> Iterator[Hub]:
    """A hub whose files lie in a bucket."""
    place = relay.place
    secret = tmp_path / "secret"
    secret.write_text(place.secret_key)
    hub = Hub(
        tmp_path,
        HOSPINTEL_STORAGE=f"s3://{place.bucket}/{place.prefix}",
        HOSPINTEL_S3_ENDPOINT=place.endpoint,
        AWS_ACCESS_KEY_ID=place.access_key,
        AWS_SECRET_ACCESS_KEY="",
        AWS_SECRET_ACCESS_KEY_FILE=str(secret),
    )
    yield hub
    hub.close()


def test_a_run_goes_on_when_the_bucket_is_back(
    bucket_hub: Hub, server: S3Server, relay: Relay, scans: list[Path], tmp_path: Path
) -> None:
    federation = Federation(bucket_hub, "bucket", scans[:2])
    federation.until_online()
    relay.away()
    run = federation.run(rounds=2)
    federation.until(lambda: "does not answer" in bucket_hub.logs() + federation.log("bucket a"), "somebody is told")
    relay.back()
    rounds = federation.until_run_is("DONE", run)
    assert [(r["number"], r["attempt"], r["state"]) for r in rounds] == [(1, 1, "PUBLISHED"), (2, 1, "PUBLISHED")]
    for round_ in rounds:
        assert round_["updates"] == [(name, "CONSUMED") for name in federation.hospitals]
    federation.until(lambda: not bucket_hub.ask(office.what_is_left, run), "ciphertexts and round keys are gone")
    assert bucket_hub.ask(office.audit_holds)

    kept = {one["Key"].removeprefix(relay.place.prefix) for one in _all(server, relay)}
    assert {f"models/heads/{round_['digest']}.safetensors" for round_ in rounds} <= kept
    assert not [name for name in kept if name.startswith("uploads/")]
    assert not (tmp_path / "var" / "models").exists()
    assert not (tmp_path / "var" / "uploads").exists()

    bucket_hub.ask(office.create_doctor_of, "doctor", "a password of a doctor", "bucket a")
    with httpx.Client(base_url=bucket_hub.processes.address) as client:
        token = client.post("/login", json={"username": "doctor", "password": "a password of a doctor"}).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        address = "/api/v1/federations/bucket/model"
        whole = client.get(address)
        assert whole.status_code == 200
        half = len(whole.content) // 2
        rest = client.get(address, headers={"Range": f"bytes={half}-", "If-Range": whole.headers["ETag"]})
        assert (rest.status_code, rest.content) == (206, whole.content[half:])


def _all(server: S3Server, relay: Relay) -> list[dict[str, str]]:
    found: list[dict[str, str]] = server.admin.list_objects_v2(Bucket=relay.place.bucket)["Contents"]
    return found
