"""Every setting, read from the environment once and checked here; see the table in AGENTS.md.

A wrong value stops the start with `ImproperlyConfigured`, which names the variable.
"""

import os
import re
import secrets
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP

BASE_DIR = Path(__file__).resolve().parent.parent

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def env(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def env_bool(name: str, default: bool) -> bool:
    value = env(name).lower()
    if not value:
        return default
    if value in _TRUE | _FALSE:
        return value in _TRUE
    raise ImproperlyConfigured(f"{name} must be on or off, not {value!r}.")


def env_number(name: str, default: float, *, least: float = 0, most: float = 1e9) -> float:
    value = env(name)
    try:
        number = float(value) if value else float(default)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a number, not {value!r}.") from None
    if not least <= number <= most:
        raise ImproperlyConfigured(f"{name} must be between {least:g} and {most:g}, not {value!r}.")
    return number


def env_int(name: str, default: int, *, least: int = 0) -> int:
    number = env_number(name, default, least=least)
    if number != int(number):
        raise ImproperlyConfigured(f"{name} must be a whole number, not {number!r}.")
    return int(number)


def env_choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = env(name, default).lower()
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def env_list(name: str, default: str = "") -> list[str]:
    return [part.strip() for part in env(name, default).split(",") if part.strip()]


def env_key(name: str) -> str:
    value = env(name)
    if not (value.isascii() and value.isprintable() and " " not in value):
        # It travels in a header.
        raise ImproperlyConfigured(f"{name} must be the key alone: ASCII characters, no spaces.")
    return value


def env_url(name: str, schemes: tuple[str, ...]) -> str:
    value = env(name)
    if value and value.lower().partition("://")[0] not in schemes:
        raise ImproperlyConfigured(
            f"{name} must start with {' or '.join(s + '://' for s in schemes)}, not {value!r}."
        )
    if value and not _has_place(value):
        # The value may hold a password.
        raise ImproperlyConfigured(
            f"{name} must be a URL with a host, and a number as the port if it has one."
        )
    return value


def _has_place(url: str) -> bool:
    """Whether a URL has a host, with a possible port if any; a path, if it is of a socket in the file system."""
    try:
        parts = urlsplit(url)
        return bool(parts.path if parts.scheme == "unix" else parts.hostname) and parts.port != 0
    except ValueError:
        return False


def env_hosts(name: str, default: str) -> list[str]:
    hosts = env_list(name, default)
    for host in hosts or [""]:
        if not re.fullmatch(r"\*|\.?\w[\w.-]*|\[[\da-f:.]+\]", host, re.ASCII | re.IGNORECASE):
            raise ImproperlyConfigured(
                f"{name} must hold host names such as chat.example, without scheme and port, not {host!r}."
            )
    return hosts


def env_origins(name: str) -> list[str]:
    origins = env_list(name)
    for origin in origins:
        scheme, _, host = origin.partition("://")
        if not scheme or not host or "/" in host:
            raise ImproperlyConfigured(
                f"{name} must hold origins such as https://chat.example, not {origin!r}."
            )
    return origins


def state_dir() -> Path:
    path = Path(env("FLEET_STATE_DIR", str(BASE_DIR / ".fleet"))).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ImproperlyConfigured(
            f"FLEET_STATE_DIR: cannot make the folder {path}: {exc.strerror}."
        ) from exc
    if not os.access(path, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"FLEET_STATE_DIR: the folder {path} is not writable.")
    return path


def secret_key() -> str:
    """`DJANGO_SECRET_KEY`, else a random one kept in the state folder, so that sessions survive a restart."""
    if value := env("DJANGO_SECRET_KEY"):
        return value
    path = FLEET_STATE_DIR / "secret_key"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text()


# --- Django -----------------------------------------------------------------------------------------------------------

FLEET_STATE_DIR = state_dir()
SECRET_KEY = secret_key()
DEBUG = env_bool("DJANGO_DEBUG", False)
ALLOWED_HOSTS = env_hosts("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env_origins("DJANGO_CSRF_TRUSTED_ORIGINS")

# "daphne" is missing on purpose: its app imports the server, which costs every command 0.8 s and
# 26 MB, and takes the choice of the event loop from `fleet-worker`. The `runserver` of
# "agenticfleet" imports it when it is needed; it must come before those of other apps.
INSTALLED_APPS = [
    "agenticfleet",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "chat",
    "routing",
    "tooling",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "agenticfleet.urls"
ASGI_APPLICATION = "agenticfleet.asgi.application"
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
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
TEST_RUNNER = "agenticfleet.testrunner.PytestRunner"
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}

# --- Storage ----------------------------------------------------------------------------------------------------------

_DATABASE_URL = env("DATABASE_URL", f"sqlite:///{FLEET_STATE_DIR / 'fleet.sqlite3'}")
if _DATABASE_URL.lower().partition("://")[0] not in ("postgresql", "postgres", "sqlite"):
    raise ImproperlyConfigured("DATABASE_URL must start with postgresql:// or sqlite:///.")
try:
    _DATABASE = dj_database_url.parse(_DATABASE_URL)
except (ValueError, KeyError) as exc:
    raise ImproperlyConfigured(f"DATABASE_URL: {exc}") from exc
DATABASES = {"default": dict(_DATABASE)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    if DATABASES["default"]["NAME"] == ":memory:":
        # Each thread of each process would have one of its own, without a table.
        raise ImproperlyConfigured(
            "DATABASE_URL must name a file, as in sqlite:////srv/fleet.sqlite3."
        )
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # A file, as in production: a shared in-memory database ignores the busy timeout.
    DATABASES["default"]["TEST"] = {"NAME": str(FLEET_STATE_DIR / f"test-{os.getpid()}.sqlite3")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    if find_spec("psycopg") is None:
        raise ImproperlyConfigured(
            "DATABASE_URL needs the PostgreSQL driver: uv sync --extra postgresql"
        )
    DATABASES["default"]["OPTIONS"] = {"connect_timeout": 5, **_DATABASE.get("OPTIONS", {})}

# `manage.py fleet` starts a Valkey and hands its URL to the workers; outside of it this stays empty.
REDIS_URL = env_url("REDIS_URL", ("redis", "rediss", "unix"))
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # redis-py 8 ends idle reads after 5 s, which kills the layer's own blocking pop.
        "CONFIG": {
            "hosts": [{"address": REDIS_URL or "redis://127.0.0.1:6379", "socket_timeout": None}]
        },
    }
}

# --- Models -----------------------------------------------------------------------------------------------------------

OPENAI_API_KEY = env_key("OPENAI_API_KEY")
OPENAI_BASE_URL = env_url("OPENAI_BASE_URL", ("http", "https"))
FLEET_MODEL = env("FLEET_MODEL", "gpt-5-mini" if OPENAI_API_KEY and not OPENAI_BASE_URL else "")
if OPENAI_BASE_URL and not FLEET_MODEL:
    raise ImproperlyConfigured("FLEET_MODEL must name the model to ask at OPENAI_BASE_URL.")
if FLEET_MODEL and not (OPENAI_API_KEY or OPENAI_BASE_URL):
    raise ImproperlyConfigured(
        "FLEET_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL; the built-in model answers without all three."
    )
FLEET_LIGHT_MODEL = env("FLEET_LIGHT_MODEL", FLEET_MODEL)
# What is served when no model is configured; `manage.py fleet` then sets FLEET_MODEL_BUILTIN for its workers.
# It reads 400 tokens/s on two cores, and holds 2048 with the answer.
BUILTIN_MODEL = "SmolLM2-135M-Instruct"
FLEET_MODEL_BUILTIN = env_bool("FLEET_MODEL_BUILTIN", False)
FLEET_CONTEXT_TOKENS = env_int(
    "FLEET_CONTEXT_TOKENS", 1200 if FLEET_MODEL_BUILTIN else 6000, least=200
)
# Hidden thinking counts as tokens that a model writes, so those that are known to think get these besides, in each call.
_THINKING_MODEL = re.compile(r"(^|/)(gpt-[5-9]|gpt-oss|o[1-9]\b)")
_THINKS = any(_THINKING_MODEL.search(model) for model in (FLEET_MODEL, FLEET_LIGHT_MODEL))
FLEET_THINKING_TOKENS = env_int("FLEET_THINKING_TOKENS", 4000 if _THINKS else 0)
FLEET_MAX_OUTPUT_TOKENS = env_int(
    "FLEET_MAX_OUTPUT_TOKENS", 600 if FLEET_MODEL_BUILTIN else 4096, least=16
)

# --- Tools ------------------------------------------------------------------------------------------------------------

TAVILY_API_KEY = env_key("TAVILY_API_KEY")
TAVILY_BASE_URL = env_url("TAVILY_BASE_URL", ("http", "https")) or "https://api.tavily.com"
# Without a key questions would leave the machine for a free service: that has to be asked for.
FLEET_SEARCH = env_choice(
    "FLEET_SEARCH", "on" if TAVILY_API_KEY else "off", ("on", "off", "keyless")
)
if FLEET_SEARCH == "on" and not TAVILY_API_KEY:
    raise ImproperlyConfigured(
        "FLEET_SEARCH=on needs TAVILY_API_KEY; without one, FLEET_SEARCH=keyless searches with narrow limits."
    )
FLEET_CACHE_TTL_NEWS = env_number("FLEET_CACHE_TTL_NEWS", 600, least=1)
FLEET_CACHE_TTL_GENERAL = env_number("FLEET_CACHE_TTL_GENERAL", 3600, least=1)
FLEET_TIME_ZONE = env("FLEET_TIME_ZONE", "UTC")
try:
    ZoneInfo(FLEET_TIME_ZONE)
except (ZoneInfoNotFoundError, ValueError, OSError):
    raise ImproperlyConfigured(
        f"FLEET_TIME_ZONE must be a time zone such as Europe/Paris, not {FLEET_TIME_ZONE!r}."
    ) from None

# Tokens that a member of the team may write in one step; the answer itself has FLEET_MAX_OUTPUT_TOKENS.
FLEET_STEP_TOKENS = env_int("FLEET_STEP_TOKENS", 150 if FLEET_MODEL_BUILTIN else 1000, least=16)
if FLEET_CONTEXT_TOKENS < FLEET_STEP_TOKENS:
    # The next step could not read what this one wrote.
    raise ImproperlyConfigured(
        f"FLEET_CONTEXT_TOKENS must not be below FLEET_STEP_TOKENS, which is {FLEET_STEP_TOKENS}."
    )

# --- Light or full ----------------------------------------------------------------------------------------------------

FLEET_LIGHT_MODE = env_bool("FLEET_LIGHT_MODE", True)
# From this confidence on a question goes the light path; unset, the classifier's own threshold counts.
FLEET_LIGHT_THRESHOLD = (
    env_number("FLEET_LIGHT_THRESHOLD", 0, most=1) if env("FLEET_LIGHT_THRESHOLD") else None
)
FLEET_ROUTER_MODEL = env("FLEET_ROUTER_MODEL")
FLEET_ROUTER_LOW = env_number("FLEET_ROUTER_LOW", 0.45, most=1)
FLEET_ROUTER_HIGH = env_number("FLEET_ROUTER_HIGH", 0.75, most=1)
if FLEET_ROUTER_LOW > FLEET_ROUTER_HIGH:
    raise ImproperlyConfigured("FLEET_ROUTER_LOW must not be above FLEET_ROUTER_HIGH.")
FLEET_LIGHT_MAX_SUPERSTEPS = env_int("FLEET_LIGHT_MAX_SUPERSTEPS", 2, least=1)
FLEET_LIGHT_MAX_TOOL_CALLS = env_int("FLEET_LIGHT_MAX_TOOL_CALLS", 1)
FLEET_LIGHT_MAX_TOKENS = env_int("FLEET_LIGHT_MAX_TOKENS", FLEET_MAX_OUTPUT_TOKENS, least=16)
FLEET_FULL_MAX_SUPERSTEPS = env_int("FLEET_FULL_MAX_SUPERSTEPS", 12, least=1)
FLEET_FULL_MAX_TOOL_CALLS = env_int("FLEET_FULL_MAX_TOOL_CALLS", 8)
FLEET_FULL_MAX_FANOUT = env_int("FLEET_FULL_MAX_FANOUT", 3, least=1)
FLEET_FULL_MAX_TOKENS = env_int("FLEET_FULL_MAX_TOKENS", 12000, least=1)
FLEET_FULL_MAX_SECONDS = env_number("FLEET_FULL_MAX_SECONDS", 120)

# --- A run's limits (seconds unless said) -----------------------------------------------------------------------------

FLEET_HANDSHAKE_TIMEOUT = env_number("FLEET_HANDSHAKE_TIMEOUT", 15, least=0.05)
FLEET_HEARTBEAT = env_number("FLEET_HEARTBEAT", 5, least=0.05)
FLEET_FIRST_CHUNK_TIMEOUT = env_number("FLEET_FIRST_CHUNK_TIMEOUT", 45, least=0.05)
FLEET_CHUNK_TIMEOUT = env_number("FLEET_CHUNK_TIMEOUT", 30, least=0.05)
FLEET_IDLE_TIMEOUT = env_number("FLEET_IDLE_TIMEOUT", 60, least=0.05)
FLEET_MAX_RUNTIME = env_number("FLEET_MAX_RUNTIME", 180, least=0.05)
FLEET_LINGER = env_number("FLEET_LINGER", 10)
FLEET_SHUTDOWN_GRACE = env_number("FLEET_SHUTDOWN_GRACE", 30)
FLEET_LEASE_TTL = env_number("FLEET_LEASE_TTL", 10, least=1)
FLEET_RUN_LOG_TTL = env_int("FLEET_RUN_LOG_TTL", 3600, least=10)
FLEET_MAX_RUNS_PER_OWNER = env_int("FLEET_MAX_RUNS_PER_OWNER", 3, least=1)

# --- Service levels: a run slower than these is logged as a miss (seconds) ---------------------------------------------

FLEET_SLA_FIRST_EVENT = env_number("FLEET_SLA_FIRST_EVENT", 0.25)
FLEET_SLA_FIRST_TOKEN = env_number("FLEET_SLA_FIRST_TOKEN", 2)
FLEET_SLA_TOTAL = env_number("FLEET_SLA_TOTAL", 30)

# --- Access and logs --------------------------------------------------------------------------------------------------

FLEET_AUTH = env_choice("FLEET_AUTH", "anonymous", ("anonymous", "required"))
FLEET_LOG_CONTENT = env_bool("FLEET_LOG_CONTENT", False)
FLEET_LOG_LEVEL = env_choice(
    "FLEET_LOG_LEVEL", "info", ("debug", "info", "warning", "error")
).upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "agenticfleet": {"level": FLEET_LOG_LEVEL},
        "chat": {"level": FLEET_LOG_LEVEL},
        "tooling": {"level": FLEET_LOG_LEVEL},
    },
}
