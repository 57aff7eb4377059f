"""How passwords are kept, and what a new one does."""

from concurrent.futures import ThreadPoolExecutor

from django.contrib.auth.hashers import Argon2PasswordHasher
from django.contrib.auth.models import User
from django.utils.translation import gettext as _

from chat.access.leaving import end_all_sessions

# Threads of their own: in those of requests, each would keep 19 MiB for the next hash.
_threads = ThreadPoolExecutor(2, thread_name_prefix="password")


class Argon2(Argon2PasswordHasher):
    """Argon2id with the least that OWASP recommends, so that many may sign in at once."""

    memory_cost = 19 * 1024  # KiB
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        return _threads.submit(super().encode, password, salt).result()

    def verify(self, password: str, encoded: str) -> bool:
        return _threads.submit(super().verify, password, encoded).result()


class SignsOutElsewhere:
    """A rule that all passwords meet: Django tells it of new ones, wherever they are set."""

    def validate(self, password: str, user: User | None = None) -> None:
        pass

    def get_help_text(self) -> str:
        return _("A new password signs you out everywhere else.")

    def password_changed(self, password: str, user: User) -> None:
        end_all_sessions(user.pk)
