"""Index the words of questions, for `chat/search.py`.

SQLite gets an FTS5 table that reads its texts from chat_message. Questions are added to it when their
runs are counted; triggers take care of what is changed or deleted. A later migration that makes
SQLite copy chat_message drops the triggers, and must create them again; a test of the search fails
otherwise.
"""

from django.db import migrations, utils

SQLITE = (
    """
    CREATE VIRTUAL TABLE chat_question_words USING fts5(
        text, content='chat_message', content_rowid='id',
        tokenize='unicode61 remove_diacritics 2', prefix='3'
    )
    """,
    """
    INSERT INTO chat_question_words(rowid, text)
    SELECT id, text FROM chat_message WHERE role = 'user'
    """,
    # An external content table needs the old text, because it has no copy of it. It would be damaged
    # by the text of a row that it has not indexed; FTS5 keeps the ids of those that it has.
    """
    CREATE TRIGGER chat_question_deleted AFTER DELETE ON chat_message
    WHEN EXISTS (SELECT 1 FROM chat_question_words_docsize WHERE id = old.id)
    BEGIN
        INSERT INTO chat_question_words(chat_question_words, rowid, text)
        VALUES ('delete', old.id, old.text);
    END
    """,
    """
    CREATE TRIGGER chat_question_changed AFTER UPDATE OF text ON chat_message
    WHEN EXISTS (SELECT 1 FROM chat_question_words_docsize WHERE id = old.id)
    BEGIN
        INSERT INTO chat_question_words(chat_question_words, rowid, text)
        VALUES ('delete', old.id, old.text);
        INSERT INTO chat_question_words(rowid, text) VALUES (new.id, new.text);
    END
    """,
)
POSTGRESQL = (
    # Without the limit, PostgreSQL would refuse a text with more than a megabyte of words.
    """
    CREATE INDEX chat_question_words ON chat_message
    USING gin (to_tsvector('simple', left(text, 100000))) WHERE role = 'user'
    """,
)
BACKWARDS = {
    "sqlite": (
        "DROP TRIGGER IF EXISTS chat_question_deleted",
        "DROP TRIGGER IF EXISTS chat_question_changed",
        "DROP TABLE IF EXISTS chat_question_words",
    ),
    "postgresql": ("DROP INDEX IF EXISTS chat_question_words",),
}


def index_words(apps, schema_editor):
    statements = {"sqlite": SQLITE, "postgresql": POSTGRESQL}[schema_editor.connection.vendor]
    try:
        schema_editor.execute(statements[0], params=None)
    except utils.OperationalError as exc:
        if "no such module: fts5" not in str(exc):
            raise
        # The search then reads all questions, and a system check warns of it.
        return
    for statement in statements[1:]:
        schema_editor.execute(statement, params=None)


def drop_index(apps, schema_editor):
    for statement in BACKWARDS[schema_editor.connection.vendor]:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("chat", "0007_permissions")]
    operations = [migrations.RunPython(index_words, drop_index)]
