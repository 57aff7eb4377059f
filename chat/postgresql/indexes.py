"""Indexes that migrations add while workers go on writing.

PostgreSQL makes such an index in two transactions or more. What a migration that was cut leaves
behind is made again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import migrations
from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def patient(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let statements of PostgreSQL wait in the block for all transactions that are open now.

    A backup is one for as long as it takes. Nobody queues behind such a wait.
    """
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout')")
        [limit] = cursor.fetchone()
        cursor.execute("SET lock_timeout = 0")
        try:
            yield
        finally:
            if not connection.connection.closed:
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", [limit])


class AddIndex(migrations.AddIndex):
    atomic = False

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        is_postgresql = schema_editor.connection.vendor == "postgresql"
        concurrently = "CONCURRENTLY " if is_postgresql else ""
        model = to_state.apps.get_model(app_label, self.model_name)
        with patient(schema_editor.connection):
            schema_editor.execute(f'DROP INDEX {concurrently}IF EXISTS "{self.index.name}"')
            if is_postgresql:
                schema_editor.add_index(model, self.index, concurrently=True)
            else:
                schema_editor.add_index(model, self.index)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        schema_editor.remove_index(model, self.index)
