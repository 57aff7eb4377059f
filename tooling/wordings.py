"""Compare wordings: whether a text has the words of a quotation, whatever its marks and its markup.

Words and figures count; letter case, punctuation, markup and white space do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from unicodedata import normalize

import regex

# Around words, and in the middle of them.
_MARKUP = regex.compile(r"[*_`~\p{Cf}\ufe00-\ufe0f]+")
_TAG = regex.compile(r"</?[a-z][a-z0-9]*+(?:\s[^<>]{0,500})?/?>", regex.I)
# An address behind the words of a link, and a picture.
_PICTURE = regex.compile(r"!\[[^\[\]]{0,500}\]\([^()\s]{0,2000}(?:\s[^()]{0,500})?\)")
_ADDRESS = regex.compile(r"\]\((?:[^()\s]|\([^()\s]{0,500}\)){0,2000}+(?:\s[^()]{0,500})?\)")
# A note of the page itself: [12], [a], [note 3].
_NOTE = regex.compile(r"\[(?:[0-9]{1,3}|[a-z]|note [0-9]{1,3}|edit|citation needed)\](?![\p{L}])")
_ESCAPED = regex.compile(r"\\(?=[!-/:-@\[-`{-~])")
# Scripts without spaces between words: each character counts as one.
_ALONE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = regex.compile(
    rf"[{_ALONE}]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}]--[{_ALONE}]]++"
    r"|[\p{Sc}%‰°§&+=±]|(?<![\p{L}\p{N}])[-\u2212](?=\p{N})",
    regex.V1,
)
# What stands for words that were left out.
_LEFT_OUT = regex.compile(r"[\[(]?(?:\.[.\s]{0,2}\.[.\s]{0,2}\.|…)[.\s…]{0,10}[\])]?")
# What the person who quotes has put in: [the company], [sic]. Of [T]he, only the letter's case.
_CASE = regex.compile(r"\[(\p{L})\](?=\p{L})")
# No one who quotes puts in what turns a sentence round.
_NEGATES = (
    r"(?:\b(?:not|never|no|nor|nothing|none|without|nicht|niemals|nie|kein\w*|ohne|ne|pas|jamais|non"
    r"|sans|nunca|jamás|não|sem|senza|niet|geen|inte|ikke|не|нет|никогда|لا|لم|ليس)(?![\w-])"
    r"|[不没沒無无])"
)
_PUT_IN = regex.compile(rf"\[(?![^\[\]]{{0,80}}?{_NEGATES})[^\[\]]{{1,80}}\]", regex.I)
MAX_PARTS = 8  # of a quotation
# A part of fewer words is found only so near behind the part before it: in a long text there is
# any single word.
FEW_WORDS, NEAR = 3, 400
MAX_TRIES = 5  # places of the first part


def folded(text: str) -> str:
    """Return the words of a text, with one blank before and behind each."""
    text = _ADDRESS.sub("]", _PICTURE.sub(" ", text))
    text = unescape(_TAG.sub("", _ESCAPED.sub("", text)))
    text = _MARKUP.sub("", normalize("NFKC", text).casefold())
    return f" {' '.join(_WORD.findall(_NOTE.sub(' ', text)))} "


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of a quotation, and those between its ellipses and additions, folded."""

    whole: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, quotation: str) -> "Wording":
        told = _PUT_IN.sub("…", _LEFT_OUT.sub("…", _CASE.sub(r"\1", quotation)))
        parts = (folded(part) for part in told.split("…", MAX_PARTS))
        return cls(folded(quotation), tuple(part for part in parts if part.strip()))

    def is_in(self, text: str) -> bool:
        """Return True if a folded text has these words, perhaps with others between the parts."""
        if self.whole.strip() and self.whole in text:
            return True
        if sum(len(part.split()) for part in self.parts) < FEW_WORDS:
            return False
        first, *others = self.parts
        start = -1
        for _ in range(MAX_TRIES):
            start = text.find(first, start + 1)
            if start < 0:
                return False
            if has_behind(text, start + len(first) - 1, others):
                return True
        return False


def has_behind(text: str, end: int, parts: Sequence[str]) -> bool:
    """Return True if a folded text has these parts behind this place, in their order."""
    for part in parts:
        last = end + NEAR if len(part.split()) < FEW_WORDS else len(text)
        start = text.find(part, end, last)
        if start < 0:
            return False
        end = start + len(part) - 1
    return True
