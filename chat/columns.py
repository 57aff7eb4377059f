"""New columns of tables that may be large."""

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import AddField


class AddColumn(AddField):
    """Add a column with a constant `db_default`, in place. It is no key, and not unique.

    On SQLite, `AddField` copies a table to add a column that is never null, and all its triggers
    are lost. SQLite itself would do it in a moment, whatever the table's size.
    """

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: Any,
        to_state: Any,
    ) -> None:
        connection = schema_editor.connection
        model = to_state.apps.get_model(app_label, self.model_name)
        if connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
        elif self.allow_migrate_model(connection.alias, model):
            # Without the override of the editor for SQLite, which makes the copy.
            BaseDatabaseSchemaEditor.add_field(
                schema_editor, model, model._meta.get_field(self.name)
            )
