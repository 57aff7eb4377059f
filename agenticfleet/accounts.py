"""What Django's accounts are set to: how passwords are kept, which are good enough, and e-mail."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from agenticfleet.environment import is_installed

# The first hashes new passwords. Those of older versions are hashed anew at their next sign-in.
PASSWORD_HASHERS: list[str] = [
    "chat.accounts.passwords.Argon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
_RULES = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS: list[dict[str, object]] = [
    {"NAME": f"{_RULES}.UserAttributeSimilarityValidator"},
    {"NAME": f"{_RULES}.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": f"{_RULES}.CommonPasswordValidator"},
    {"NAME": f"{_RULES}.NumericPasswordValidator"},
    {"NAME": "chat.accounts.passwords.SignsOutElsewhere"},
]

SMTP_PORTS: dict[str, int] = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
MAIL_TIMEOUT = 20  # seconds


def mailers(url: str) -> dict[str, Any]:
    """Return what sends e-mails, from the URL of a mail server; without one, the log has them."""
    if not url:
        return {"default": {"BACKEND": "chat.accounts.mail.EmailBackend"}}
    parts = urlsplit(url)
    options = {
        "host": parts.hostname,
        "port": parts.port or SMTP_PORTS[parts.scheme],
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "use_tls": parts.scheme == "smtp+tls",
        "use_ssl": parts.scheme == "smtps",
        "timeout": MAIL_TIMEOUT,
    }
    return {
        "default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": options}
    }


def sender(url: str) -> str:
    """Return the address that e-mails come from: `?from=`, or the name at the mail server."""
    parts = urlsplit(url)
    name = unquote(parts.username or "agenticfleet")
    default = name if "@" in name else f"{name}@{parts.hostname or 'localhost'}"
    return parse_qs(parts.query).get("from", [default])[0]


# Single sign-on by django-allauth. It makes accounts at the first sign-in, and takes over none that
# has the same e-mail address: the other server may never have checked that.
SSO_APPS: list[str] = [
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
]
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SSO_MIDDLEWARE = "allauth.account.middleware.AccountMiddleware"


def sso_problem(url: str, client_id: str, secret: str) -> str:
    """Return what is wrong with FLEET_OIDC_URL and what belongs to it; empty if nothing is."""
    if not (url and client_id and secret):
        return "needs FLEET_OIDC_CLIENT_ID and FLEET_OIDC_CLIENT_SECRET, and they need it."
    # Its certificate is the only proof of who it is.
    if not (url.startswith("https://") or urlsplit(url).hostname in LOOPBACK):
        return "must start with https://."
    return "" if is_installed("allauth") else "needs django-allauth: uv sync --extra sso"


def sso_settings(url: str, client_id: str, secret: str, name: str) -> dict[str, Any]:
    """Return the settings of allauth for one OpenID Connect server."""
    app = {
        "provider_id": "oidc",
        "name": name,
        "client_id": client_id,
        "secret": secret,
        "settings": {"server_url": url},
    }
    return {
        "ACCOUNT_ADAPTER": "chat.accounts.sso.AccountAdapter",
        "ACCOUNT_EMAIL_VERIFICATION": "none",
        "ACCOUNT_UNIQUE_EMAIL": False,
        "ACCOUNT_SIGNUP_FIELDS": ["username*", "email"],
        "ACCOUNT_RATE_LIMITS": False,
        "SOCIALACCOUNT_ADAPTER": "chat.accounts.sso.SocialAdapter",
        "SOCIALACCOUNT_EMAIL_VERIFICATION": "none",
        # A form may not lead to another server (SECURE_CSP); the state in the session is the proof.
        "SOCIALACCOUNT_LOGIN_ON_GET": True,
        "SOCIALACCOUNT_PROVIDERS": {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}},
    }
