"""Enrolment: the key is made here and kept, the hub's identity is pinned, nothing is overwritten."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from agent_program import config_of
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hub_double import HubDouble
from hub_http import answer

from client_agent.config import Config, Home, load_config
from client_agent.enrol import enrol, plain_fingerprint
from client_agent.errors import DataError, HubRefusedError, HubUnreachableError, SetupError, UntrustedError
from hospintel_core import signing
from hospintel_core.errors import KeyFileError, SignatureError


def test_the_hub_gets_the_public_key_with_proof_and_the_home_keeps_the_rest(tmp_path: Path, hub: HubDouble) -> None:
    home = Home(tmp_path / "a" / "home")
    done = enrol(home, hub=hub.url + "/", code="one-time-code")
    ((token, (agent_id, raw)),) = hub.agents.items()
    key = signing.read_private_key(home.key, Ed25519PrivateKey)
    assert signing.public_raw(key.public_key()) == raw
    config = load_config(home)
    assert (config.agent_id, config.token, config.hub) == (agent_id, token, hub.url)
    assert (config.hospital, config.federation) == ("North Clinic", "brain-mri")
    assert signing.public_raw(config.identity) == signing.public_raw(hub.identity.public_key())
    assert done.agent_fingerprint == signing.fingerprint(key.public_key())
    assert done.hub_fingerprint == signing.fingerprint(hub.identity.public_key())


def test_only_the_owner_can_read_what_enrolment_wrote(tmp_path: Path, hub: HubDouble) -> None:
    before = os.umask(0)
    try:
        enrol(Home(tmp_path / "home"), hub=hub.url, code="one-time-code")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home").iterdir()}
    assert modes["config.json"] == modes["identity.pem"] == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


def test_the_private_key_and_the_code_s_secret_do_not_travel_again(tmp_path: Path, hub: HubDouble) -> None:
    home = Home(tmp_path / "home")
    enrol(home, hub=hub.url, code="one-time-code")
    assert "one-time-code" not in home.config.read_text()
    assert [seen.path for seen in hub.seen] == ["/api/v1/agents/enrol"]


def test_a_second_enrolment_into_the_same_home_is_refused_and_changes_nothing(tmp_path: Path, hub: HubDouble) -> None:
    home = Home(tmp_path / "home")
    enrol(home, hub=hub.url, code="one-time-code")
    before = (home.config.read_bytes(), home.key.read_bytes())
    hub.codes.add("next")
    with pytest.raises(SetupError) as caught:
        enrol(home, hub=hub.url, code="next")
    assert caught.value.code == "already_enrolled"
    assert (home.config.read_bytes(), home.key.read_bytes()) == before
    assert hub.codes == {"next"}


def test_a_failed_try_keeps_its_key_for_the_next_one(tmp_path: Path, hub: HubDouble) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(HubRefusedError) as caught:
        enrol(home, hub=hub.url, code="mistyped")
    assert caught.value.code == "code_unknown"
    key = home.key.read_bytes()
    assert not home.config.exists()
    enrol(home, hub=hub.url, code="one-time-code")
    assert home.key.read_bytes() == key


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, hub: HubDouble) -> None:
    home = Home(tmp_path / "home")
    with pytest.raises(HubRefusedError):
        enrol(home, hub=hub.url, code="mistyped")
    home.key.chmod(0o644)
    with pytest.raises(KeyFileError) as caught:
        enrol(home, hub=hub.url, code="one-time-code")
    assert caught.value.code == "key_permissions"
    assert hub.codes == {"one-time-code"}


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_home_that_is_open_to_others_is_refused_before_the_code_is_used(
    tmp_path: Path, hub: HubDouble, mode: int
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(mode)
    with pytest.raises(SetupError) as caught:
        enrol(Home(tmp_path / "home"), hub=hub.url, code="one-time-code")
    assert caught.value.code == "home_exposed"
    assert "chmod 700" in caught.value.hint
    assert hub.codes == {"one-time-code"}
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_config_that_is_open_to_others_is_not_believed(home: Home, mode: int) -> None:
    home.config.chmod(mode)
    with pytest.raises(SetupError) as caught:
        load_config(home)
    assert caught.value.code == "home_exposed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_config_or_home_of_another_user_is_not_believed(home: Home) -> None:
    os.chown(home.config, 12345, -1)
    with pytest.raises(SetupError, match="another user"):
        load_config(home)
    os.chown(home.folder, 12345, -1)
    with pytest.raises(SetupError, match="another user"):
        home.create()


def test_a_pipe_in_the_config_s_place_is_told_at_once(home: Home) -> None:
    home.config.unlink()
    os.mkfifo(home.config, 0o600)
    with pytest.raises(SetupError) as caught:
        load_config(home)
    assert caught.value.code == "config_broken"


def test_a_hub_whose_fingerprint_is_not_its_key_s_is_refused(tmp_path: Path, hub: HubDouble) -> None:
    found = hub.enrol(_enrolment_of(Ed25519PrivateKey.generate()))
    hub.inject("POST", "/enrol", answer(201, found | {"hub_fingerprint": "0000 " * 16}))
    with pytest.raises(UntrustedError) as caught:
        enrol(Home(tmp_path / "home"), hub=hub.url, code="one-time-code")
    assert caught.value.code == "hub_fingerprint"
    assert not (tmp_path / "home" / "config.json").exists()


def _typed(fingerprint: str) -> str:
    return plain_fingerprint(fingerprint.upper().replace(" ", ":"))


def test_a_hub_with_the_expected_fingerprint_is_enrolled_with(tmp_path: Path, hub: HubDouble) -> None:
    hub.rotate_identity()
    expected = signing.fingerprint(hub.identity.public_key())
    done = enrol(Home(tmp_path / "home"), hub=hub.url, code="one-time-code", hub_fingerprint=_typed(expected))
    assert done.hub_fingerprint == expected
    assert [seen.path for seen in hub.seen] == ["/api/v1/identity", "/api/v1/agents/enrol"]


def test_a_hub_with_another_fingerprint_does_not_get_the_code(tmp_path: Path, hub: HubDouble) -> None:
    other = signing.fingerprint(Ed25519PrivateKey.generate().public_key())
    with pytest.raises(UntrustedError) as caught:
        enrol(Home(tmp_path / "home"), hub=hub.url, code="one-time-code", hub_fingerprint=_typed(other))
    assert caught.value.code == "hub_fingerprint"
    assert hub.codes == {"one-time-code"}
    assert hub.count("POST", "/enrol") == 0


@pytest.mark.parametrize("says", [200, 404], ids=["says the expected one first", "is too old to say"])
def test_a_hub_that_enrols_with_another_identity_than_expected_is_not_pinned(
    tmp_path: Path, hub: HubDouble, says: int
) -> None:
    expected = HubDouble()
    body = {"chain": [link.to_wire() for link in expected.chain], "code": "not_found", "detail": "Nothing."}
    hub.inject("GET", "/identity", answer(says, body))
    fingerprint = signing.fingerprint(expected.identity.public_key())
    with pytest.raises(UntrustedError) as caught:
        enrol(Home(tmp_path / "home"), hub=hub.url, code="one-time-code", hub_fingerprint=_typed(fingerprint))
    assert caught.value.code == "hub_fingerprint"
    assert not (tmp_path / "home" / "config.json").exists()


@pytest.mark.parametrize("text", ["12 34", "g" * 64, "a" * 65, " : "])
def test_what_is_no_fingerprint_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        plain_fingerprint(text)


def _enrolment_of(key: Ed25519PrivateKey) -> dict[str, str]:
    raw = signing.public_raw(key.public_key())
    proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message("one-time-code", raw), key)
    return {
        "code": "one-time-code",
        "public_key": base64.b64encode(raw).decode(),
        "proof": base64.b64encode(proof).decode(),
    }


@pytest.mark.parametrize(
    "change",
    [
        {"agent_id": "7"},
        {"token": ""},
        {"token": "two\r\nlines of sixteen"},
        {"hub_identity": "!"},
        {"hub_identity": "\u00e9"},
        {"hub_identity": "AAAA"},
        {"federations": "brain-mri"},
        {"hospital": None},
    ],
)
def test_an_answer_that_no_hub_gives_enrols_nobody(tmp_path: Path, hub: HubDouble, change: dict[str, object]) -> None:
    found = hub.enrol(_enrolment_of(Ed25519PrivateKey.generate()))
    hub.inject("POST", "/enrol", answer(201, found | change))
    with pytest.raises((UntrustedError, SignatureError)):
        enrol(Home(tmp_path / "home"), hub=hub.url, code="one-time-code")
    assert not (tmp_path / "home" / "config.json").exists()


def test_nothing_is_sent_to_a_hub_without_tls(tmp_path: Path) -> None:
    with pytest.raises(HubUnreachableError) as caught:
        enrol(Home(tmp_path / "home"), hub="http://hub.example.org", code="c")
    assert caught.value.code == "insecure_hub"
    assert not (tmp_path / "home").exists()


def test_data_that_is_not_there_is_found_out_before_the_code_is_used(tmp_path: Path, hub: HubDouble) -> None:
    with pytest.raises(DataError):
        enrol(Home(tmp_path / "home"), hub=hub.url, code="one-time-code", data=tmp_path / "nowhere")
    assert hub.codes == {"one-time-code"}


def test_a_hospital_in_no_federation_yet_is_enrolled_all_the_same(
    tmp_path: Path, hub: HubDouble, caplog: pytest.LogCaptureFixture
) -> None:
    found = hub.enrol(_enrolment_of(Ed25519PrivateKey.generate()))
    hub.inject("POST", "/enrol", answer(201, found | {"federations": []}))
    home = Home(tmp_path / "home")
    enrol(home, hub=hub.url, code="one-time-code")
    assert load_config(home).federation == "brain-mri"
    assert "administrator" in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 100_000, "{}", '{"format": 2}', '{"format": 1, "hub": "https://h"}'],
    ids=lambda text: text[:40],
)
def test_a_broken_config_is_told_and_not_guessed_at(home: Home, text: str) -> None:
    home.config.write_text(text)
    with pytest.raises(SetupError) as caught:
        load_config(home)
    assert caught.value.code == "config_broken"


@pytest.mark.parametrize(
    "change", [{"hub": "http://hub.example.org"}, {"agent_id": "x"}, {"hub_identity": "AAAA"}, {"hub": 7}]
)
def test_a_config_with_an_unusable_value_is_broken(home: Home, change: dict[str, object]) -> None:
    home.config.write_text(json.dumps(config_of(home) | change))
    with pytest.raises((SetupError, HubUnreachableError)) as caught:
        load_config(home)
    assert caught.value.code in {"config_broken", "insecure_hub"}


def test_a_config_is_never_overwritten(home: Home) -> None:
    config = load_config(home)
    with pytest.raises(SetupError):
        Config(**{name: getattr(config, name) for name in Config.__dataclass_fields__}).save(home)
