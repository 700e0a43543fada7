"""All settings of the hub. It runs with no environment at all; `env.py` reads the knobs, `checks.py` judges them."""

import atexit
import ipaddress
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hospintel_site import env, logs
from hospintel_site.wasm import add_headers

BASE_DIR = Path(__file__).resolve().parent.parent

# Under pytest nothing may touch the developer's own var/: each test process has a folder of its own.
UNDER_TEST = "PYTEST_VERSION" in os.environ


def _default_var() -> Path:
    if not UNDER_TEST:
        return BASE_DIR / "var"
    made = Path(tempfile.mkdtemp(prefix="hospintel-test-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


# --- Where things are kept -------------------------------------------------------------------------------------------
VAR: Path = env.folder(env.path("HOSPINTEL_VAR") or _default_var())
KEYS: Path = env.folder(env.path("HOSPINTEL_KEYS") or VAR / "keys")
# A folder, or s3://bucket/prefix: then the two folders are not used.
S3: env.S3 | None = env.s3("HOSPINTEL_STORAGE")
STORAGE: Path = (None if S3 else env.path("HOSPINTEL_STORAGE")) or VAR
MODEL_DIR: Path = STORAGE / "models"
UPLOAD_DIR: Path = STORAGE / "uploads"
QUEUE_DIR: Path = VAR / "queue"
CHECKPOINT_FILE: Path = env.path("HOSPINTEL_CHECKPOINTS") or VAR / "checkpoints.jsonl"
# How exact the base is that the page for a single scan fetches: 16 bits a weight (29 MB) or 8 (15 MB).
ANALYSE_BITS = env.one_of("HOSPINTEL_ANALYSE_BITS", 16, (8, 11, 16))
BASE_WEIGHTS: Path | None = env.path("HOSPINTEL_BASE_WEIGHTS")

# --- Who may reach us ------------------------------------------------------------------------------------------------
DEBUG = env.flag("HOSPINTEL_DEBUG", default=False)
BIND = env.text("HOSPINTEL_BIND", "127.0.0.1")
FAILPOINTS = env.failpoints(BIND)  # for tests alone
PORT = env.integer("HOSPINTEL_PORT", 8000, low=0, high=65535)
TLS_CERT: Path | None = env.path("HOSPINTEL_TLS_CERT")
TLS_KEY: Path | None = env.path("HOSPINTEL_TLS_KEY")
BEHIND_PROXY = env.flag("HOSPINTEL_BEHIND_PROXY", default=False)
LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


def _is_address(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


ALLOWED_HOSTS = env.words(
    "HOSPINTEL_ALLOWED_HOSTS", [f"[{BIND}]" if ":" in BIND else BIND] if _is_address(BIND) else []
)
# Whoever sits at the hub's own machine reaches it: the link for the first administrator leads there.
ALLOWED_HOSTS += [host for host in LOOPBACK_HOSTS if host not in ALLOWED_HOSTS]
CSRF_TRUSTED_ORIGINS = env.words("HOSPINTEL_CSRF_ORIGINS", [])
SECRET_KEY = env.secret("HOSPINTEL_SECRET_KEY") or env.kept_secret(KEYS / "secret_key")
SECRET_KEY_FALLBACKS = env.words("HOSPINTEL_OLD_SECRET_KEYS", [])

# --- Database and broker ---------------------------------------------------------------------------------------------
DATABASE_URL = env.secret("DATABASE_URL")
REDIS_URL = env.redis("REDIS_URL")
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.postgres(DATABASE_URL) if DATABASE_URL else env.sqlite(VAR / "hospintel.sqlite3")
}
if not DATABASE_URL:
    # A file, not :memory:, so that tests may start threads and processes that see the same database.
    DATABASES["default"]["TEST"] = {"NAME": str(VAR / "test.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = REDIS_URL or "folder://localhost"  # broker.py; kombu warns if no host is named, and uses none
# When a job of the workbench ends and its scans go at the latest.
JOB_HOURS = env.integer("HOSPINTEL_JOB_HOURS", 24, low=1, high=7 * 24)
# A task that runs longer is ended, and its process with it.
LONGEST_JOB_SECONDS = JOB_HOURS * 3600 + 600
CELERY_TASK_TIME_LIMIT = 2 * 3600
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        # Redis hands a message out again after this time: longer than any task may run (checks.py).
        "visibility_timeout": max(LONGEST_JOB_SECONDS, CELERY_TASK_TIME_LIMIT) + 600,
        # A network that swallows everything must not hold up a request for ever, nor a worker that waits for a task:
        # it asks each second, and takes another connection where nothing has come for so long.
        "socket_connect_timeout": 5,
        "socket_timeout": 10,
        "health_check_interval": 10,
        "socket_keepalive": True,
    }
    if REDIS_URL
    else {
        "data_folder_in": str(QUEUE_DIR / "messages"),
        "data_folder_out": str(QUEUE_DIR / "messages"),
        "control_folder": str(QUEUE_DIR / "control"),
        "store_processed": False,
        "polling_interval": 0.05,
    }
)
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for its broker as long as it takes
# Once more, over a new connection: the one at hand may be older than the broker. Then the tick does it.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"

# --- Applications ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "hospintel_site.apps.SiteConfig",
    "apps.accounts",
    "apps.audit",
    "apps.federation",
    "apps.finetune",
    "apps.analyse",
    "hospintel_site.apps.HubAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "guardian",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
# Each entry can run in async mode: one that cannot would hold a thread for as long as an agent's long poll waits.
MIDDLEWARE = [
    "hospintel_site.accounting.name_route",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "hospintel_site.static.StaticFilesMiddleware",
    "hospintel_site.caching.keep_nothing",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.accounts.middleware.BrowserSessions",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "hospintel_site.away.StorageAway",
]
ROOT_URLCONF = "hospintel_site.urls"
ASGI_APPLICATION = "hospintel_site.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.accounts.context.permissions",
                "apps.accounts.context.session",
            ],
        },
    }
]
# One live path in both modes: each web process reads the events from the database, so no layer spans processes.
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# --- People ----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"]
ANONYMOUS_USER_NAME = None  # guardian's own row for strangers: nobody here gets permissions without signing in
LOGIN_URL = "accounts:login"
CSRF_FAILURE_VIEW = "hospintel_site.errors.csrf_failure"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "accounts:login"
# Wrong passwords within so many minutes: of one name from one address, and of one address whatever the name.
LOGIN_MINUTES = env.integer("HOSPINTEL_LOGIN_MINUTES", 15, low=1, high=24 * 60)
LOGIN_ATTEMPTS = env.integer("HOSPINTEL_LOGIN_ATTEMPTS", 10, low=1, high=1000)
LOGIN_ATTEMPTS_OF_ADDRESS = env.integer("HOSPINTEL_LOGIN_ATTEMPTS_OF_ADDRESS", 100, low=1, high=100_000)
# The workbench: how long the lease lasts without a write of its holder.
LEASE_MINUTES = env.integer("HOSPINTEL_LEASE_MINUTES", 60, low=1, high=24 * 60)
# A browser session ends after so long without a step, and at the latest after so long.
SESSION_IDLE_SECONDS = 60 * env.integer("HOSPINTEL_SESSION_IDLE_MINUTES", 15, low=5, high=12 * 60)
SESSION_LONGEST_SECONDS = 3600 * env.integer("HOSPINTEL_SESSION_HOURS", 12, low=1, high=7 * 24)
# What asks again who it is (accounts/confirm.py) does so where that was proven longer ago.
PROOF_SECONDS = 60 * env.integer("HOSPINTEL_CONFIRM_MINUTES", 10, low=1, high=12 * 60)
TOKEN_HOURS = env.integer("HOSPINTEL_TOKEN_HOURS", 12, low=1, high=7 * 24)
# Administrators without a second factor get no further than the page that sets one up. Tests make hundreds of them.
REQUIRE_ADMIN_OTP = env.flag("HOSPINTEL_REQUIRE_ADMIN_OTP", default=not UNDER_TEST)
OTP_KEY = env.secret("HOSPINTEL_OTP_KEY") or env.kept_secret(KEYS / "otp_key")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
if UNDER_TEST:
    # The real hashers are slow on purpose; tests make hundreds of people.
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# --- API -------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    # A view that forgets to say who may call it is closed, not open.
    "DEFAULT_PERMISSION_CLASSES": ["hospintel_site.permissions.DenyAll"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.accounts.authentication.PersonTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["hospintel_site.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "hospintel_site.drf.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Hospintel",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "hospintel_site.openapi.finish"],
    "ENUM_NAME_OVERRIDES": {
        "JobState": "apps.finetune.states.JobState",
        "ModelUploadState": "apps.finetune.states.ModelUploadState",
        "RoundState": "apps.federation.states.RoundState",
        "RunState": "apps.federation.states.RunState",
        "UpdateState": "apps.federation.states.UpdateState",
        "VersionState": "apps.federation.states.VersionState",
    },
}

# --- Headers, cookies, limits ----------------------------------------------------------------------------------------
SECURE = bool(TLS_CERT) or BEHIND_PROXY
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
# Not for loopback: a browser that has seen it once speaks only TLS to every port of this machine, for a year.
_IS_PUBLIC = any(host not in LOOPBACK_HOSTS for host in ALLOWED_HOSTS)
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SECURE and _IS_PUBLIC else 0
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
# Browsers accept the prefix only over TLS; with it no sister host can plant the cookie.
SESSION_COOKIE_NAME = "__Host-session" if SECURE else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if SECURE else "csrf"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# The hub knows when a session ends (accounts/session_store.py); the browser forgets its cookie when it is closed.
SESSION_ENGINE = "apps.accounts.session_store"
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_AGE = SESSION_IDLE_SECONDS
# Says on the sign-in page why the last session ended.
SESSION_END_COOKIE_NAME = "__Host-session-end" if SECURE else "session-end"
# The web server refuses larger bodies before they are read (server.py); this is Django's limit for parsing in memory.
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024
# A body of up to 2.5 MB stays in memory; larger files lie on disk without a name.
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "hospintel_site.uploads.UnnamedFileUploadHandler",
]

# --- Static files, language, time ------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_ALLOW_ALL_ORIGINS = False
WHITENOISE_ADD_HEADERS_FUNCTION = add_headers
WHITENOISE_USE_FINDERS = True  # no collectstatic step between a checkout and a running hub
LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

# --- Logs, metrics ---------------------------------------------------------------------------------------------------
LOG_FORMAT = env.word("HOSPINTEL_LOG_FORMAT", logs.LINE, (logs.LINE, logs.JSON))
LOGGING = logs.settings_for(LOG_FORMAT, env.text("HOSPINTEL_LOG_LEVEL", "WARNING"))
# Touched with each sign of life, for health checks of containers.
ALIVE_FILE: Path | None = env.path("HOSPINTEL_ALIVE_FILE")
METRICS_TOKEN = env.secret("HOSPINTEL_METRICS_TOKEN")
