"""Making and revoking tokens, with a line in the log and, for people, an entry in the admin's."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone

from .leaving import delete_all_of, end_sockets
from .tokens import SCOPES, TERM, NewToken, Service, Token

logger = logging.getLogger(__name__)


def issue(
    owner: User | Service,
    name: str,
    *,
    by: User | None,
    scopes: Sequence[str] = SCOPES,
    term: timedelta | None = TERM,
    **fields: Any,
) -> NewToken:
    """Make a token of a user or a service. `by` is the person who does it, None at a terminal."""
    new = Token.objects.make(owner, name, scopes=scopes, term=term, **fields)
    note(new.row, ADDITION, "Made.", by=by)
    return new


def revoke(token: Token, *, by: User | None) -> None:
    """Let a token count no more, from the next request on, and end the sockets that it opened."""
    if Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        note(token, CHANGE, "Revoked.", by=by)
        end_sockets(f"token:{token.pk}")


def delete_service(service: Service) -> None:
    """Delete a service with its tokens and its chats; live answers are cancelled."""
    owner = service.owner
    # First, so that nothing begins while its chats are deleted.
    service.delete()
    end_sockets(str(owner))
    delete_all_of(owner)


def note(token: Token, flag: int, message: str, *, by: User | None) -> None:
    logger.info("token %s of %s: %s by=%s", token.pk, token.owner, message, by.pk if by else "-")
    if by is not None:
        LogEntry.objects.create(
            user_id=by.pk,
            content_type=ContentType.objects.get_for_model(Token),
            object_id=token.pk,
            object_repr=str(token)[:200],
            action_flag=flag,
            change_message=message,
        )
