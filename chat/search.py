"""Find questions by their words, with the full-text index of the database.

SQLite has an FTS5 table, PostgreSQL a GIN index. Migration 0008_question_words makes them. Answers
are not indexed.
"""

import json
from collections.abc import Iterable

from django.db import connection

from .conversations import Message
from .folding import Folded, folded

MAX_FOUND = 1_000  # The newest questions with the words. Common words are in most of a million.
MAX_WORDS = 20
MIN_PREFIX = 3  # Characters of a last word that also matches longer words.

# Ids grow with time, so the newest come first without a sort.
SQLITE = """
SELECT rowid FROM chat_question_words WHERE chat_question_words MATCH %s
ORDER BY rowid DESC LIMIT %s
"""
# FTS5 keeps the ids of what it has indexed. In the order of ids, it needs to write only once.
INDEX = """
INSERT INTO chat_question_words(rowid, text)
SELECT id, text FROM chat_message
WHERE id IN (SELECT value FROM json_each(%s))
    AND id NOT IN (SELECT id FROM chat_question_words_docsize)
ORDER BY id
"""
# The expression and the condition must be those of the index, or PostgreSQL doesn't use it. It
# knows too little of words to choose between the index and the newest rows, which differ by
# seconds: the index of a common word has most rows, and a rare word may be in none of the newest.
COMMON = 100  # of the newest 1,000 questions
SHARE = """
SELECT count(*) FROM (
    SELECT text FROM chat_message WHERE role = 'user' ORDER BY id DESC LIMIT 1000
) newest WHERE to_tsvector('simple', left(text, 100000)) @@ to_tsquery('simple', %s)
"""
COMMON_WORDS = """
SELECT id FROM chat_message
WHERE to_tsvector('simple', left(text, 100000)) @@ to_tsquery('simple', %s) AND role = 'user'
ORDER BY id DESC LIMIT %s
"""
# No index has this order, so the rows come from the index of the words.
RARE_WORDS = COMMON_WORDS.replace("ORDER BY id", "ORDER BY id + 0")


def question_ids(text: str) -> list[int]:
    """Return the ids of the newest MAX_FOUND questions with all words of `text`, newest first.

    The last word may be the beginning of one. A text without words matches no question.
    """
    words = words_of(text)
    if not words:
        return []
    if connection.vendor == "postgresql":
        query = tsquery(words)
        [share] = selected(SHARE, query)
        return selected(COMMON_WORDS if share >= COMMON else RARE_WORDS, query, MAX_FOUND)
    if is_indexed():
        return selected(SQLITE, fts_query(words), MAX_FOUND)
    # Without an index, read all questions. A system check tells the operator.
    found = Message.objects.alias(words=Folded("text")).filter(role=Message.Role.USER)
    for word in words:
        found = found.filter(words__contains=folded(word))
    return list(found.order_by("-pk").values_list("pk", flat=True)[:MAX_FOUND])


def index_questions(ids: Iterable[int]) -> None:
    """Add the words of these questions to the index, unless they are in it.

    Called some seconds after a run has ended: on SQLite, indexing at its start would delay the
    first event. PostgreSQL updates its index itself.
    """
    if connection.vendor == "sqlite" and is_indexed():
        with connection.cursor() as cursor:
            cursor.execute(INDEX, [json.dumps(list(ids))])


def selected(query: str, *parameters: str | int) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return [pk for (pk,) in cursor.fetchall()]


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
    return bool(selected("SELECT 1 FROM sqlite_master WHERE name = 'chat_question_words'"))
