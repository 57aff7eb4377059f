"""Every setting of the project. AGENTS.md has a table of those that can be set from outside.

They are read from the environment, then from `.env` in the working folder and in the state folder,
and checked here. A wrong or unknown one stops the start with `ImproperlyConfigured`.
"""

import hmac
import os
import tomllib
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http.request import split_domain_port
from django.utils.csp import CSP

from agenticfleet import accounts
from agenticfleet.environment import (
    Environment,
    hidden,
    is_installed,
    name_elsewhere,
    without_secrets,
)
from agenticfleet.statefolder import kept_key, make_state_folder
from chat.access.limits import NO_LIMIT, Limits
from chat.deadlines import Deadlines, PathLevels, ServiceLevels
from chat.logs import logging_of
from chat.protocol.requests import MAX_MODEL
from chat.protocol.terms import MAX_MESSAGE
from routing.caps import Caps, Sampling

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment(os.environ)
# Tests must not depend on the .env of the person who runs them. pytest sets PYTEST_VERSION for
# itself and its children. Fleets for tests and benchmarks, and `manage.py test`, get the switch of
# python-dotenv.
reads_files = not any(map(os.environ.get, ("PYTHON_DOTENV_DISABLED", "PYTEST_VERSION")))
if reads_files:
    env.add_file(Path(".env").absolute())


def version() -> str:
    return str(tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"])


# --- Django ---------------------------------------------------------------------------------------

FLEET_STATE_DIR = Path(env.text("FLEET_STATE_DIR", str(BASE_DIR / ".fleet"))).absolute()
if _PROBLEM := make_state_folder(FLEET_STATE_DIR):
    env.reject("FLEET_STATE_DIR", _PROBLEM)
if reads_files:
    env.add_file(FLEET_STATE_DIR / ".env")
SECRET_KEY = env.text("DJANGO_SECRET_KEY", shown=hidden) or kept_key(FLEET_STATE_DIR)
DEBUG = env.flag("DJANGO_DEBUG", False)
ALLOWED_HOSTS = env.hosts("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env.origins("DJANGO_CSRF_TRUSTED_ORIGINS")
# Where people reach the fleet.
_SITE = env.site("FLEET_PUBLIC_URL")
if FLEET_PUBLIC_URL := _SITE.url:
    ALLOWED_HOSTS.append(split_domain_port(_SITE.place)[0])
    CSRF_TRUSTED_ORIGINS.append(_SITE.origin)
STATIC_URL = f"{_SITE.root}static/"
globals().update(_SITE.settings)

# "daphne" is missing on purpose: its app imports the server, which costs every command 0.8 s and
# 26 MB, and takes the choice of the event loop from `fleet-worker`. The `runserver` of
# "agenticfleet" imports it when it is needed; it must come before those of other apps.
INSTALLED_APPS = [
    "agenticfleet",
    "agenticfleet.apps.FleetAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "tooling",
    "routing",
    "chat",
]
# What the operator has changed of agents, models and tools (chat/config). `manage.py fleet` keeps
# what it was when it was last read: a worker that is started again reads that.
FLEET_FILE = env.config(
    "FLEET_CONFIG",
    [Path.cwd(), FLEET_STATE_DIR] if reads_files else [],
    kept="FLEET_KEPT_CONFIG",
    installed=INSTALLED_APPS,
)
INSTALLED_APPS += FLEET_FILE.file.apps
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "agenticfleet.assets.VersionedFilesMiddleware",
    "chat.access.hosts.AllowedHostMiddleware",
    "chat.access.forms.readable_forms",
    "chat.access.sessions.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
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
# Cookies know no ports, so each installation on a host needs names of its own. They stay the same
# as long as the key that signs what is in them. One at / of a host gets those of all its paths.
_NAMED = f"installation{_SITE.root.removesuffix('/')}".encode()
FLEET_INSTALLATION = hmac.new(SECRET_KEY.encode(), _NAMED, "sha256").hexdigest()[:8]
SESSION_COOKIE_NAME = f"fleet_session_{FLEET_INSTALLATION}"
CSRF_COOKIE_NAME = f"fleet_csrf_{FLEET_INSTALLATION}"
LANGUAGE_COOKIE_NAME = f"fleet_language_{FLEET_INSTALLATION}"
FLEET_BROWSER_COOKIE = f"fleet_browser_{FLEET_INSTALLATION}"
FLEET_ZONE_COOKIE = f"fleet_zone_{FLEET_INSTALLATION}"  # set by static/chat/theme.js
CSRF_FAILURE_VIEW = "chat.access.origins.refused_form"
SESSION_ENGINE = "chat.access.signins"
# The name of Django's cookie for messages can't be set.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "German"), ("ar", "Arabic")]
LOCALE_PATHS = [BASE_DIR / "chat" / "locale"]
LANGUAGE_COOKIE_AGE = 31_536_000
TIME_ZONE = "UTC"
USE_TZ = True
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = FLEET_STATE_DIR / "static"  # where workers publish them
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "agenticfleet.assets.VersionedStorage"},
}
SERVESTATIC_USE_FINDERS = True
PASSWORD_HASHERS = accounts.PASSWORD_HASHERS
AUTH_PASSWORD_VALIDATORS = accounts.AUTH_PASSWORD_VALIDATORS
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "new_chat"
TEST_RUNNER = "agenticfleet.testrunner.PytestRunner"
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}
# Pages copy texts. Nothing else that browsers ask people for is needed.
PERMISSIONS_POLICY = {
    "clipboard-write": "self",
    **dict.fromkeys(("camera", "display-capture", "geolocation", "microphone", "usb"), ()),
}

# --- Storage --------------------------------------------------------------------------------------

_FILE = f"sqlite:///{FLEET_STATE_DIR / 'fleet.sqlite3'}"
DATABASES = {"default": env.database("DATABASE_URL", _FILE, user=f"fleet-{FLEET_INSTALLATION}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file, as in production: a shared in-memory database ignores the busy timeout.
    DATABASES["default"]["TEST"] = {"NAME": str(FLEET_STATE_DIR / f"test-{os.getpid()}.sqlite3")}

# If this is empty, `manage.py fleet` starts a Valkey and passes its URL to the workers.
REDIS_URL = env.url("REDIS_URL", ("redis", "rediss", "unix"))
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # redis-py 8 ends idle reads after 5 s, which kills the layer's own blocking pop.
        "CONFIG": {
            "hosts": [{"address": REDIS_URL or "redis://127.0.0.1:6379", "socket_timeout": None}]
        },
    }
}

# --- The network beyond this machine --------------------------------------------------------------

PROXIES = env.proxies()
# OpenSSL and the libraries of search and traces read it from the environment.
if _CERTIFICATES := env.file("SSL_CERT_FILE"):
    os.environ["SSL_CERT_FILE"] = _CERTIFICATES

# --- Models ---------------------------------------------------------------------------------------

OPENAI_API_KEY = env.key("OPENAI_API_KEY")
OPENAI_BASE_URL = env.url("OPENAI_BASE_URL", ("http", "https"))
OPENAI_DEFAULT_HEADERS = env.headers("OPENAI_DEFAULT_HEADERS")
FLEET_MODEL = env.text(
    "FLEET_MODEL", "gpt-5-mini" if OPENAI_API_KEY and not OPENAI_BASE_URL else ""
)
if OPENAI_BASE_URL and not FLEET_MODEL:
    env.reject("FLEET_MODEL", "must name the model to ask at OPENAI_BASE_URL.")
FLEET_LIGHT_MODEL = env.text("FLEET_LIGHT_MODEL", FLEET_MODEL)
FLEET_ROUTER_MODEL = env.text("FLEET_ROUTER_MODEL")
if FLEET_MODEL and not (OPENAI_API_KEY or OPENAI_BASE_URL):
    env.reject_without_server(FLEET_FILE, "FLEET_MODEL", "FLEET_LIGHT_MODEL", "FLEET_ROUTER_MODEL")
# The models that people may choose from, with their names.
FLEET_MODELS = env.names("FLEET_MODELS", longest=MAX_MODEL)
# A model in a file, which the fleet serves itself.
FLEET_MODEL_FILE = env.file("FLEET_MODEL_FILE")
# Whether to use a model server that runs on this machine. Tests and CI must not depend on that.
FLEET_LOOK = env.choice(
    "FLEET_LOOK",
    "auto" if reads_files and not os.environ.get("CI") else "off",
    ("auto", "on", "tell", "off"),
)
# Where `fetch_model` fetches from: the hub, or a mirror of it.
HF_ENDPOINT = env.url("HF_ENDPOINT", ("http", "https"), "https://huggingface.co")
OLLAMA_HOST = env.text("OLLAMA_HOST", shown=without_secrets)  # Ollama's own setting
# Serves if there is no other model. It reads 400 tokens/s on two cores, and its window of 2048
# tokens includes the answer.
BUILTIN_MODEL = "SmolLM2-135M-Instruct"
# Threads of a model that spin while they wait take the cores from the fleet that streams its
# answers: beside other work, it then writes 1 token/s instead of 20.
OMP_WAIT_POLICY = env.text("OMP_WAIT_POLICY", "PASSIVE")
# True if the model in use is the small one above, because nothing better is there: it gets short
# texts and no tools. `manage.py fleet` sets this for its workers, so no document lists it.
FLEET_MODEL_IS_STAND_IN = env.flag("FLEET_MODEL_IS_STAND_IN", False)
# The kind of the model server, such as Ollama, if `manage.py fleet` has found it on this machine.
FLEET_MODEL_SERVER = env.text("FLEET_MODEL_SERVER")
# True if `manage.py fleet` serves the model itself: until it has loaded, calls wait for it.
FLEET_SERVES_MODEL = env.flag("FLEET_SERVES_MODEL", False)
# What an agent of the team may write per model call: notes and drafts, not the answer. The next
# step must be able to read it, so a window has at least this size.
FLEET_STEP_TOKENS = 150 if FLEET_MODEL_IS_STAND_IN else 1000
# If unset, each model reads what its server tells, within limits (chat/llm/windows.py).
FLEET_CONTEXT_TOKENS = (
    env.integer("FLEET_CONTEXT_TOKENS", 1200, least=FLEET_STEP_TOKENS)
    if FLEET_MODEL_IS_STAND_IN or env.text("FLEET_CONTEXT_TOKENS")
    else None
)
FLEET_MAX_OUTPUT_TOKENS = env.integer(
    "FLEET_MAX_OUTPUT_TOKENS", 300 if FLEET_MODEL_IS_STAND_IN else 4096, least=16
)
# Hidden thinking counts as written tokens, so models get these in addition. If unset, those that
# are known to think.
FLEET_THINKING_TOKENS = (
    env.integer("FLEET_THINKING_TOKENS", 0) if env.text("FLEET_THINKING_TOKENS") else None
)

# --- Tools ----------------------------------------------------------------------------------------

TAVILY_API_KEY = env.key("TAVILY_API_KEY")
TAVILY_BASE_URL = env.url("TAVILY_BASE_URL", ("http", "https"), "https://api.tavily.com")
# Without a key, questions leave this machine for a free service. That must be asked for.
FLEET_SEARCH = env.choice_or_url(
    "FLEET_SEARCH", "on" if TAVILY_API_KEY else "off", ("on", "off", "keyless")
)
SEARXNG_URL = FLEET_SEARCH if "://" in FLEET_SEARCH else ""
if SEARXNG_URL:
    FLEET_SEARCH = "searxng"
if FLEET_SEARCH == "on" and not TAVILY_API_KEY:
    env.reject(
        "FLEET_SEARCH",
        "is on, which needs TAVILY_API_KEY; keyless searches without one, within narrow limits.",
    )
# Whether pages that people name are opened: requests to the public web from this machine.
FLEET_READ_PAGES = env.flag("FLEET_READ_PAGES", True)
# Tools whose calls the person who asked must approve first.
FLEET_APPROVE = frozenset(env.texts("FLEET_APPROVE", ""))
# Whether agents of the team may ask the person a question in mid-answer.
FLEET_QUESTIONS = env.flag("FLEET_QUESTIONS", False)
FLEET_CACHE_TTL = env.number("FLEET_CACHE_TTL", 3600, least=1)
FLEET_TIME_ZONE = env.text("FLEET_TIME_ZONE", "UTC")
try:
    ZoneInfo(FLEET_TIME_ZONE)
except (ZoneInfoNotFoundError, ValueError, OSError):
    env.reject(
        "FLEET_TIME_ZONE", f"must be a time zone such as Europe/Paris, not {FLEET_TIME_ZONE!r}."
    )

# --- Time, in seconds -----------------------------------------------------------------------------

FLEET_HEARTBEAT = env.number("FLEET_HEARTBEAT", 5, least=0.05)
_IDLE = env.number("FLEET_IDLE_TIMEOUT", 60, least=0.1)
FLEET_DEADLINES = Deadlines(
    first_chunk=env.number("FLEET_FIRST_CHUNK_TIMEOUT", 45, least=0.05),
    # Half of the run's patience: a model that hangs is found, and named, before its run is idle.
    chunk=_IDLE / 2,
    idle=_IDLE,
    runtime=env.number("FLEET_MAX_RUNTIME", 180, least=0.05),
)
FLEET_SHUTDOWN_GRACE = env.number("FLEET_SHUTDOWN_GRACE", 30)
# How long a paused answer waits for a person.
FLEET_PAUSE_TTL = env.duration("FLEET_PAUSE_TTL", "14d") or timedelta(days=36_500)
FLEET_LEASE_TTL = env.number("FLEET_LEASE_TTL", 10, least=1)
_CANCEL_LEVEL, _TOOL_LEVEL = env.numbers("FLEET_SLA_STEPS", (0.25, 5))
FLEET_SERVICE_LEVELS = ServiceLevels(
    light=PathLevels(*env.numbers("FLEET_SLA_LIGHT", (0.25, 2, 30))),
    full=PathLevels(*env.numbers("FLEET_SLA_FULL", (0.25, 30, 120))),
    cancel=_CANCEL_LEVEL,
    tool=_TOOL_LEVEL,
)
FLEET_PRICES = env.prices("FLEET_PRICES", FLEET_FILE.file.models)

# --- Light or full --------------------------------------------------------------------------------

FLEET_LIGHT_MODE = env.flag("FLEET_LIGHT_MODE", True)
# Calls beside the answers, so those who pay for tokens may not want them.
FLEET_TITLES = env.flag("FLEET_TITLES", True)
FLEET_SUMMARIES = env.flag("FLEET_SUMMARIES", True)
# If unset, the classifier's own threshold counts.
FLEET_LIGHT_THRESHOLD = (
    env.number("FLEET_LIGHT_THRESHOLD", 0, most=1) if env.text("FLEET_LIGHT_THRESHOLD") else None
)
_SHARE, _TOKENS = env.numbers("FLEET_COMPARE", (0, 500_000))
if _SHARE > 1:
    env.reject("FLEET_COMPARE", f"must begin with a share from 0 to 1, not {_SHARE:g}.")
FLEET_COMPARE = Sampling(_SHARE, int(_TOKENS))
FLEET_LIGHT_CAPS = Caps(
    # One call that may use tools, and one that answers. What needs more is work for the team.
    supersteps=env.integer("FLEET_LIGHT_MAX_SUPERSTEPS", 2, least=1),
    tool_calls=env.integer("FLEET_LIGHT_MAX_TOOL_CALLS", 1),
    fan_out=1,
    tokens=FLEET_MAX_OUTPUT_TOKENS,
    seconds=FLEET_DEADLINES.runtime,
)
FLEET_FULL_CAPS = Caps(
    supersteps=env.integer("FLEET_FULL_MAX_SUPERSTEPS", 12, least=1),
    tool_calls=env.integer("FLEET_FULL_MAX_TOOL_CALLS", 8),
    # Each agent holds a stream of the model server. One question must not take all of a small one.
    fan_out=3,
    # Twelve steps of full length: ends a team that writes on and on before it answers.
    tokens=12_000,
    # The last third of a run is left for the answer.
    seconds=FLEET_DEADLINES.runtime * 2 / 3,
    money=env.number("FLEET_LIMIT_RUN_MONEY", 0) or None,
)

# --- What people and programs may spend: an owner, an address, the whole site ---------------------

FLEET_LIMITS = Limits(
    runs=env.limit("FLEET_LIMIT_RUNS", "3,6,60"),
    questions=env.limit("FLEET_LIMIT_QUESTIONS", "20,40,600"),
    # Brakes for what runs away, not rations: a team spends about 30,000 on a question.
    tokens=env.limit("FLEET_LIMIT_TOKENS", "5000000,10000000,100000000"),
    searches=env.limit("FLEET_LIMIT_SEARCHES", "200,400,2000"),
    money=env.limit("FLEET_LIMIT_MONEY", "none"),
    message=env.integer("FLEET_LIMIT_MESSAGE", MAX_MESSAGE, least=1, most=MAX_MESSAGE),
    # Known only by their address until their first frame.
    sockets=env.limit("FLEET_LIMIT_SOCKETS", "none,100,2000"),
    handshakes=env.limit("FLEET_LIMIT_HANDSHAKES", "none,300,10000"),
)
if FLEET_PRICES is None and (FLEET_FULL_CAPS.money or FLEET_LIMITS.money != NO_LIMIT):
    env.reject("FLEET_LIMIT_MONEY", "and FLEET_LIMIT_RUN_MONEY need FLEET_PRICES.")

# --- Traces and retention -------------------------------------------------------------------------

FLEET_VERSION = version()
# The SDK of OpenTelemetry reads all other settings of its own from the environment.
os.environ.update(env.with_prefix(prefix="OTEL_"))
_RECEIVER = env.url("OTEL_EXPORTER_OTLP_ENDPOINT", ("http", "https"))
_TRACE_RECEIVER = env.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ("http", "https"))
_IS_DISABLED = env.flag("OTEL_SDK_DISABLED", False)
FLEET_TRACES = bool(_RECEIVER or _TRACE_RECEIVER) and not _IS_DISABLED
if FLEET_TRACES and not is_installed("opentelemetry.exporter.otlp.proto.http"):
    env.reject(
        "OTEL_EXPORTER_OTLP_ENDPOINT" if _RECEIVER else "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "needs the packages of OpenTelemetry: uv sync --extra telemetry",
    )
FLEET_TRACE_CONTENT = env.choice(
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
    "no_content",
    ("no_content", "span_only", "event_only", "span_and_event", "true", "false"),
) in ("span_only", "span_and_event", "true")
FLEET_TRACE_URL = env.url("FLEET_TRACE_URL", ("http", "https"))
if FLEET_TRACE_URL and "{trace_id}" not in FLEET_TRACE_URL:
    env.reject("FLEET_TRACE_URL", "must contain {trace_id}.")
FLEET_KEEP_RUNS = env.duration("FLEET_KEEP_RUNS", "90d")
FLEET_KEEP_CONVERSATIONS = env.duration("FLEET_KEEP_CONVERSATIONS", "never")

# --- Access, logs and metrics ---------------------------------------------------------------------

# signup: as required, and everybody may make an account.
FLEET_AUTH = env.choice("FLEET_AUTH", "anonymous", ("anonymous", "required", "signup"))
# allowed: a fleet that other machines reach may serve people who have not signed in.
FLEET_ANONYMOUS = env.choice("FLEET_ANONYMOUS", "refused", ("refused", "allowed"))
# Proxies whose word for the address of a client counts.
FLEET_TRUSTED_PROXIES = env.networks("FLEET_TRUSTED_PROXIES")
# The proxy or name by which others get in, although the fleet listens to this machine alone.
FLEET_DOOR = ", ".join(map(str, FLEET_TRUSTED_PROXIES)) or name_elsewhere(
    ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS
)
# True if only this machine can reach the fleet. `manage.py fleet` sets it for its workers.
FLEET_IS_LOCAL = env.flag("FLEET_IS_LOCAL", False) and not FLEET_DOOR
# Which programs may ask: also those without a token, those with one, or none.
FLEET_API = env.choice("FLEET_API", "auto", ("auto", "open", "tokens", "off"))
if FLEET_API == "auto":
    FLEET_API = "open" if FLEET_IS_LOCAL and FLEET_AUTH == "anonymous" else "tokens"
FLEET_API_ORIGINS = env.origins("FLEET_API_ORIGINS")  # of pages elsewhere that may ask
# Links for new passwords go there. Without it, into the log.
_MAIL_SERVER = env.url("EMAIL_URL", tuple(accounts.SMTP_PORTS))
FLEET_SENDS_MAIL = bool(_MAIL_SERVER)
if FLEET_SENDS_MAIL and not FLEET_PUBLIC_URL and any(host[0] in "*." for host in ALLOWED_HOSTS):
    # Whoever asks for a link could name a host of their own for it.
    env.reject("EMAIL_URL", "needs FLEET_PUBLIC_URL: any name of DJANGO_ALLOWED_HOSTS is allowed.")
MAILERS, DEFAULT_FROM_EMAIL = accounts.mailers(_MAIL_SERVER), accounts.sender(_MAIL_SERVER)
# Single sign-on with an OpenID Connect server.
_SSO = (
    env.url("FLEET_OIDC_URL", ("https", "http")),
    env.text("FLEET_OIDC_CLIENT_ID"),
    env.key("FLEET_OIDC_CLIENT_SECRET"),
    env.text("FLEET_OIDC_NAME", "single sign-on"),
)
FLEET_SSO = _SSO[-1] if any(_SSO[:-1]) else ""  # what people call it
if FLEET_SSO:
    if problem := accounts.sso_problem(*_SSO[:-1]):
        env.reject("FLEET_OIDC_URL", problem)
    INSTALLED_APPS += accounts.SSO_APPS
    MIDDLEWARE.append(accounts.SSO_MIDDLEWARE)
    globals().update(accounts.sso_settings(*_SSO))
# `manage.py fleet` numbers its workers from 1. 0: this process is none of them.
FLEET_WORKER_NUMBER = env.integer("FLEET_WORKER_NUMBER", 0)
# Part of the names of a fleet's workers, so that the parent knows their runs.
FLEET_ID = env.text("FLEET_ID", "alone")
FLEET_LOG_CONTENT = env.flag("FLEET_LOG_CONTENT", False)
FLEET_LOG_LEVEL = env.choice(
    "FLEET_LOG_LEVEL", "info", ("debug", "info", "warning", "error")
).upper()
FLEET_LOG_FORMAT = env.choice("FLEET_LOG_FORMAT", "text", ("text", "json"))
LOGGING = logging_of(level=FLEET_LOG_LEVEL, layout=FLEET_LOG_FORMAT)
# A scraper that is neither on this machine nor signed in sends this token.
FLEET_METRICS_TOKEN = env.key("FLEET_METRICS_TOKEN")

# Shown by `manage.py fleet --print-settings`. It leaves out what `fleet` sets for its workers.
INTERNAL = (
    "FLEET_KEPT_CONFIG",
    "FLEET_MODEL_IS_STAND_IN",
    "FLEET_MODEL_SERVER",
    "FLEET_SERVES_MODEL",
    "FLEET_IS_LOCAL",
    "FLEET_WORKER_NUMBER",
    "FLEET_ID",
)
SETTINGS_READ = [setting for name, setting in env.read.items() if name not in INTERNAL]
env.reject_unknown("FLEET_")
