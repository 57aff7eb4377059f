"""Sessions as rows that know whose they are, so that people see and end their own.

This is Django's way to extend its sessions in the database (SESSION_ENGINE names this module).
"""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models

from chat.database import is_unavailable

MAX_AGENT = 200  # characters of a browser's name that are kept
# Where a session has what its row shows of it.
AGENT_KEY = "agent"
ADDRESS_KEY = "address"
SIGNED_IN_KEY = "signed_in_at"  # seconds since 1970


class Session(AbstractBaseSession):
    """A session. Those of people who have not signed in have no user."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="sessions"
    )
    agent = models.CharField(max_length=MAX_AGENT, blank=True, help_text="the browser's own words")
    address = models.CharField(max_length=45, blank=True, help_text="where it signed in")
    signed_in_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(auto_now=True, help_text="to the day")

    class Meta(AbstractBaseSession.Meta):
        verbose_name = "session"

    def __str__(self) -> str:
        # Without the key, which opens the account: the page that deletes a user lists sessions.
        return f"session of user {self.user_id}" if self.user_id else "session"

    @classmethod
    def get_session_store_class(cls) -> type["SessionStore"]:
        return SessionStore


class SessionStore(db.SessionStore):
    @classmethod
    def get_model_class(cls) -> type[Session]:
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        row = super().create_model_instance(data)
        assert isinstance(row, Session)
        user_id = data.get(SESSION_KEY)
        row.user_id = int(user_id) if user_id else None
        row.agent = str(data.get(AGENT_KEY, ""))[:MAX_AGENT]
        row.address = str(data.get(ADDRESS_KEY, ""))[:45]
        if signed_in_at := data.get(SIGNED_IN_KEY):
            row.signed_in_at = datetime.fromtimestamp(signed_in_at, UTC)
        return row

    def save(self, must_create: bool = False) -> None:
        """Store the session. Raise UpdateError only if it was deleted meanwhile.

        Django takes each failure of the database for that, and says that the request was wrong.
        """
        try:
            super().save(must_create)
        except UpdateError as exc:
            fault = exc.__context__
            if fault and is_unavailable(fault):
                raise fault from fault.__cause__  # which has the database's code
            raise
