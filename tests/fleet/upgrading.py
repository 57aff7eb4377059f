"""Store rows as the last release does, upgrade the database, and store some again.

The test runs it as a process, because tests have no database that is older than the code:

    DATABASE_URL=… python -m tests.fleet.upgrading

It prints a JSON object.
"""

import json
import os
import uuid
from typing import Any

import django

RELEASE = ("chat", "0016_chat_lists")  # the last migration of the last release


def store(apps: Any) -> uuid.UUID:
    """Store a conversation with a run, with the columns that a version of the code knows."""
    from django.utils import timezone

    owner = "browser:0123"
    conversation = apps.get_model("chat", "Conversation").objects.create(owner=owner)
    messages = apps.get_model("chat", "Message").objects
    run_id = uuid.uuid4()
    apps.get_model("chat", "Run").objects.create(
        pk=run_id,
        conversation=conversation,
        question=messages.create(conversation=conversation, role="user", text="Why?"),
        answer=messages.create(conversation=conversation, role="assistant", text="Because."),
        owner=owner,
        message_id=uuid.uuid4(),
        mode="auto",
        status="completed",
        worker="fleet.1",
        lease_expires_at=timezone.now(),
    )
    return run_id


def upgrade() -> dict[str, Any]:
    from django.contrib.auth import SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    from chat.access.signins import Session
    from chat.models import Run

    for app in ("contenttypes", "auth", "sessions"):
        call_command("migrate", app, verbosity=0)
    call_command("migrate", *RELEASE, verbosity=0)
    loader = MigrationExecutor(connection).loader
    others = [key for key in loader.graph.leaf_nodes() if key[0] in ("auth", "sessions")]
    old = loader.project_state([RELEASE, *others]).apps

    stored = [store(old)]
    user = get_user_model().objects.create_user("ada")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session.save()

    call_command("migrate", verbosity=0)
    # A worker of the old version goes on meanwhile: it writes, and reads its own rows.
    stored.append(store(old))
    old_runs = old.get_model("chat", "Run").objects
    return {
        "read by the old version": old_runs.filter(pk__in=stored).count(),
        "read by the new version": Run.objects.filter(
            pk__in=stored, answer__text="Because."
        ).count(),
        "signed in": Session.objects.filter(user=user, session_key=session.session_key).count(),
    }


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticfleet.settings")
    django.setup()
    print(json.dumps(upgrade()))
