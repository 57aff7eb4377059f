"""What Django's accounts are set to: how passwords are kept, which are good enough, and e-mail."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# The first hashes new passwords. Those of older versions are hashed anew at their next sign-in.
PASSWORD_HASHERS = [
    "chat.accounts.passwords.Argon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
_RULES = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"{_RULES}.UserAttributeSimilarityValidator"},
    {"NAME": f"{_RULES}.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": f"{_RULES}.CommonPasswordValidator"},
    {"NAME": f"{_RULES}.NumericPasswordValidator"},
    {"NAME": "chat.accounts.passwords.SignsOutElsewhere"},
]

SMTP_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
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
