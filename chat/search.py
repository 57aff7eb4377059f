"""Find questions by their words, with the full-text index of the database.

SQLite has an FTS5 table that triggers keep up to date, PostgreSQL a GIN index. Migration
0008_question_words makes them. Answers are not indexed.
"""

from django.db import connection
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from .models import Message

MAX_FOUND = 5_000  # The newest questions with the words. Common words are in most of a million.
MAX_WORDS = 20
MIN_PREFIX = 3  # Characters of a last word that also matches longer words.

# Ids grow with time, so the newest come first without a sort.
SQLITE = """
SELECT rowid FROM chat_question_words WHERE chat_question_words MATCH %s
ORDER BY rowid DESC LIMIT %s
"""
# The expression and the condition must be those of the index, or PostgreSQL doesn't use it.
POSTGRESQL = """
SELECT id FROM chat_message
WHERE to_tsvector('simple', left(text, 100000)) @@ to_tsquery('simple', %s) AND role = 'user'
ORDER BY id DESC LIMIT %s
"""


def question_ids(text: str) -> RawSQL | QuerySet[Message, int]:
    """Return the ids of the newest MAX_FOUND questions with all words of `text`, for a filter.

    The last word may be the beginning of one. A text without words matches no question.
    """
    words = words_of(text)
    if not words:
        return Message.objects.none().values_list("pk", flat=True)
    if connection.vendor == "postgresql":
        return RawSQL(POSTGRESQL, [tsquery(words), MAX_FOUND])  # noqa: S611
    if is_indexed():
        return RawSQL(SQLITE, [fts_query(words), MAX_FOUND])  # noqa: S611
    # Without an index, read all questions. A system check tells the operator.
    found = Message.objects.filter(role=Message.Role.USER)
    for word in words:
        found = found.filter(text__icontains=word)
    return found.order_by("-pk").values_list("pk", flat=True)


def words_of(text: str) -> list[str]:
    """Return the words to search for. Signs alone are no words: an index has none of them."""
    words = text.replace("\0", " ").split()
    return [word for word in words if any(map(str.isalnum, word))][:MAX_WORDS]


def fts_query(words: list[str]) -> str:
    """Return the words in the syntax of FTS5. Between quotes, no sign has a meaning."""
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    return " AND ".join(quoted) + ("*" if len(words[-1]) >= MIN_PREFIX else "")


def tsquery(words: list[str]) -> str:
    """Return the words in the syntax of to_tsquery."""
    quoted = ["'" + word.replace("\\", " ").replace("'", "''") + "'" for word in words]
    return " & ".join(quoted) + (":*" if len(words[-1]) >= MIN_PREFIX else "")


def is_indexed() -> bool:
    """Return True if SQLite has the index: a database made without FTS5 has none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'chat_question_words'")
        return cursor.fetchone() is not None
