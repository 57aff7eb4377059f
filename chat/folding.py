"""Compare texts as a person does who searches: letters in any form, with any accents.

"İSTANBUL" and "istanbul" are the same word, and so are "Straße" and "STRASSE", "ΟΔΟΣ" and "οδός".
What one database finds, the other finds, too.
"""

import re
import unicodedata
from sqlite3 import Connection
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func, TextField

# After lower(): the letters that are written otherwise in capitals, or at the end of a word.
SAME = {"ß": "ss", "ς": "σ", "ı": "i"}
# Accents of Latin, Greek and Cyrillic letters; soft hyphens, joiners and selectors of forms.
IGNORED = "\u0300-\u036f\u00ad\u200b-\u200f\ufe00-\ufe0f"
_IGNORED = re.compile(f"[{IGNORED}]")


def folded(text: str) -> str:
    """Return the text in the form in which texts are compared."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", text).lower()
    for letter, same in SAME.items():
        text = text.replace(letter, same)
    return unicodedata.normalize("NFC", _IGNORED.sub("", text))


class Folded(Func):
    """A text of a row in the form in which texts are compared: `folded`, in the database."""

    function = "chat_folded"
    arity = 1
    output_field = TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = 'lower(normalize(%(expressions)s, NFKD) COLLATE "und-x-icu")'
        for letter, same in SAME.items():
            template = f"replace({template}, '{letter}', '{same}')"
        template = f"normalize(regexp_replace({template}, '[{IGNORED}]', '', 'g'), NFC)"
        return self.as_sql(compiler, connection, template=template, **context)


def add_folding(connection: BaseDatabaseWrapper, **_: object) -> None:
    """Give a new connection to SQLite the function that `Folded` calls."""
    if connection.vendor == "sqlite":
        sqlite: Connection = connection.connection
        sqlite.create_function("chat_folded", 1, folded, deterministic=True)
