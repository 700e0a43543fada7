"""Every bad combination of settings is named before anything starts."""

import re
from pathlib import Path
from typing import Any

import pytest

from apps.federation.pipeline.keys import ensure_keys
from hospintel_site import checks
from hospintel_site.certificates import make_test_certificate
from hospintel_site.checks import all_checks, keys


def ids() -> list[str | None]:
    return [message.id for message in all_checks()]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    made = make_test_certificate(tmp_path / "tls", ["hub.example.org"])
    return made.cert, made.key


def test_the_defaults_are_fine():
    assert ids() == []


def test_debug_may_not_be_reached_from_outside(settings: Any):
    settings.DEBUG = True
    assert "hospintel.E001" not in ids()
    settings.BIND = "0.0.0.0"
    assert "hospintel.E001" in ids()


def test_every_host_name_is_one_too_many(settings: Any):
    settings.ALLOWED_HOSTS = ["hub.example.org", "*"]
    assert ids() == ["hospintel.E002"]


@pytest.mark.parametrize("secret", ["short", "a" * 80])
@pytest.mark.parametrize("name", ["SECRET_KEY", "OTP_KEY"])
def test_a_secret_key_must_be_long_and_varied(settings: Any, name: str, secret: str):
    setattr(settings, name, secret)
    assert ids() == ["hospintel.E003"]


def test_the_keys_folder_is_for_this_account_alone(settings: Any, tmp_path: Path):
    settings.KEYS = tmp_path / "keys"
    settings.KEYS.mkdir(mode=0o750)
    assert ids() == ["hospintel.E004"]
    settings.KEYS.chmod(0o700)
    assert ids() == []


@pytest.mark.parametrize("place", ["static/keys", "static", "models/keys", "uploads/keys"])
def test_keys_do_not_lie_where_files_are_served_from(settings: Any, tmp_path: Path, place: str):
    settings.STATICFILES_DIRS = [tmp_path / "static"]
    settings.MODEL_DIR, settings.UPLOAD_DIR = tmp_path / "models", tmp_path / "uploads"
    settings.KEYS = tmp_path / place
    settings.KEYS.mkdir(mode=0o700, parents=True)
    assert ids() == ["hospintel.E005"]


def test_a_certificate_needs_its_key(settings: Any, certificate: tuple[Path, Path]):
    settings.TLS_CERT = certificate[0]
    assert ids() == ["hospintel.E006"]
    settings.TLS_KEY = certificate[1]
    assert ids() == []


def test_a_certificate_needs_its_own_key(settings: Any, certificate: tuple[Path, Path], tmp_path: Path):
    settings.TLS_CERT = certificate[0]
    settings.TLS_KEY = make_test_certificate(tmp_path / "other", []).key
    assert ids() == ["hospintel.E007"]
    settings.TLS_KEY = tmp_path / "missing.pem"
    assert ids() == ["hospintel.E007"]


def test_the_tls_key_is_for_this_account_alone(settings: Any, certificate: tuple[Path, Path]):
    settings.TLS_CERT, settings.TLS_KEY = certificate
    certificate[1].chmod(0o640)
    assert ids() == ["hospintel.E008"]


def test_base_weights_must_be_readable(settings: Any, tmp_path: Path):
    settings.BASE_WEIGHTS = tmp_path / "missing.h5"
    assert ids() == ["hospintel.E009"]


def test_the_folders_must_be_writable(settings: Any, tmp_path: Path):
    settings.VAR = tmp_path / "gone"
    assert ids() == ["hospintel.E010"]


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        (0o700, []),
        (0o711, ["hospintel.W006"]),
        (0o755, ["hospintel.W006"]),
        (0o770, ["hospintel.W006"]),
        (0o777, ["hospintel.E012"]),
    ],
)
def test_the_hubs_folder_is_for_this_account_alone(settings: Any, tmp_path: Path, mode: int, found: list[str]):
    settings.VAR = tmp_path / "var"
    settings.VAR.mkdir()
    settings.VAR.chmod(mode)
    assert ids() == found


def test_middleware_that_holds_a_thread_is_refused(settings: Any):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "whitenoise.middleware.WhiteNoiseMiddleware"]
    assert ids() == ["hospintel.E011"]


def test_who_is_reached_from_outside_needs_a_name(settings: Any, certificate: tuple[Path, Path]):
    settings.TLS_CERT, settings.TLS_KEY = certificate
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    assert ids() == []
    settings.BIND = "0.0.0.0"
    assert ids() == ["hospintel.W005"]
    settings.ALLOWED_HOSTS = ["localhost", "hub.example.org"]
    assert ids() == []
    settings.BIND, settings.BEHIND_PROXY, settings.ALLOWED_HOSTS = "127.0.0.1", True, ["localhost"]
    assert ids() == ["hospintel.W005"]


def test_plain_http_beyond_this_machine_is_warned_about(settings: Any, certificate: tuple[Path, Path]):
    settings.ALLOWED_HOSTS = ["hub.example.org"]
    settings.BIND = "192.0.2.1"
    assert ids() == ["hospintel.W001"]
    settings.TLS_CERT, settings.TLS_KEY = certificate
    assert ids() == []


def test_a_proxys_headers_should_come_from_the_proxy_alone(settings: Any):
    settings.BEHIND_PROXY, settings.BIND, settings.ALLOWED_HOSTS = True, "192.0.2.1", ["hub.example.org"]
    assert ids() == ["hospintel.W002"]


def test_redis_and_sqlite_do_not_fit(settings: Any):
    settings.REDIS_URL = "redis://localhost"
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": settings.LONGEST_JOB_SECONDS + 600}
    assert ids() == ["hospintel.W003"]
    settings.DATABASE_URL = "postgresql://localhost/hospintel"
    assert ids() == []
    settings.REDIS_URL = ""
    assert ids() == ["hospintel.W004"]


def test_redis_must_wait_longer_than_any_task_may_run(settings: Any):
    settings.REDIS_URL, settings.DATABASE_URL = "redis://localhost", "postgresql://localhost/hospintel"
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": settings.LONGEST_JOB_SECONDS}
    (found,) = [message for message in all_checks() if message.id == "hospintel.E013"]
    assert found.msg.startswith("Redis hands the task finetune.train out again after 87000 s")
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {}
    assert ids() == ["hospintel.E013"] * 5, "kombu's own hour is too short for all of them"


@pytest.mark.parametrize(
    ("host", "told"), [("db.example.org", True), ("", False), ("/run/postgresql", False), ("127.0.0.1", False)]
)
def test_a_database_elsewhere_asks_for_folders_that_are_shared(
    settings: Any, monkeypatch: pytest.MonkeyPatch, host: str, told: bool
):
    settings.REDIS_URL, settings.DATABASE_URL = "redis://localhost", "postgresql://localhost/hospintel"
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": settings.LONGEST_JOB_SECONDS + 600}
    # Not the settings fixture: pytest-django's connection is made from the same dictionary.
    monkeypatch.setitem(settings.DATABASES, "default", {"HOST": host})
    for name in ("HOSPINTEL_STORAGE", "HOSPINTEL_KEYS"):
        monkeypatch.delenv(name, raising=False)
    assert ids() == (["hospintel.W007"] if told else [])
    monkeypatch.setenv("HOSPINTEL_STORAGE", "s3://models")
    assert ids() == (["hospintel.W007"] if told else [])
    monkeypatch.setenv("HOSPINTEL_KEYS", "/shared/keys")
    assert ids() == []


@pytest.mark.django_db
def test_a_machine_without_the_hubs_keys_is_told(settings: Any, tmp_path: Path):
    assert keys(["default"]) == [], "an empty database knows of none"
    settings.KEYS = tmp_path / "keys"
    ensure_keys()
    assert keys(["default"]) == []
    settings.KEYS = tmp_path / "another"
    assert [message.id for message in keys(["default"])] == ["hospintel.E014"]
    assert keys() == [], "without --database nothing is asked"


def test_every_message_has_a_hint(settings: Any):
    settings.BIND, settings.DEBUG, settings.SECRET_KEY, settings.ALLOWED_HOSTS = "0.0.0.0", True, "x", ["*"]
    assert len(ids()) == 4
    assert all(message.hint for message in all_checks())


def test_each_mistake_has_an_id_of_its_own():
    given = re.findall(r'id="(hospintel\.[EW]\d+)"', Path(checks.__file__).read_text())
    assert sorted(given) == sorted(set(given))
