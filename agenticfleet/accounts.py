"""What Django's accounts are set to: how passwords are kept, and which are good enough."""

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
