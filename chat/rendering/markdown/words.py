"""The words of a line as clean HTML, also while the line is being written."""

import re
from dataclasses import dataclass, field
from html import escape

from .cleaning import cleaned
from .formulas import with_formulas, without_formulas
from .parser import parser
from .unfinished import with_ends, without_halves

# What parser and cleaner act on, addresses aside. CURSOR is none of it.
ACTIVE = re.compile("[\n\\\\`*_~[<&$@\xa0\ufdd1-\ufdef]")
# Emphasis and code that no rule could read otherwise, if nothing around them is active.
SIMPLE = re.compile(
    r"(?<!\*)(\*\*?)([^\W_](?:[^*`\n]*[^\W_])?|[^\W_][^*`\n]*[:.!?](?=\*+(?:\s|$)))\1(?!\*)"
    "|(?<!`)`(?! )([^`\n\xa0\ufdd0-\ufdef]+)(?<! )`(?!`)"
)


def is_plain(text: str) -> bool:
    """Return True if parser and cleaner would only escape the text."""
    return ACTIVE.search(text) is None and ":/" not in text and "www." not in text.lower()


def plain_html(text: str) -> str:
    return escape(text, quote=False)  # the cleaner keeps quotes


def simple_html(text: str) -> str | None:
    """Return words with nothing but simple emphasis and code as clean HTML; None for others.

    Most words are so simple, and parser and cleaner take thirty times as long.
    """
    if is_plain(text):
        return plain_html(text)
    if not is_plain(SIMPLE.sub(r"\2", text)):
        return None
    return SIMPLE.sub(tagged, plain_html(text))


def tagged(simple: re.Match[str]) -> str:
    mark, words, code = simple.groups()
    tag = "code" if code else "strong" if mark == "**" else "em"
    return f"<{tag}>{code or words}</{tag}>"


def inline_html(text: str) -> str:
    """Return the words of a line as clean HTML."""
    html = simple_html(text)
    return cleaned(parser.renderInline(text)) if html is None else html


MAX_CUTS = 8  # of marks that stand behind each other at the end of words
SIGN = re.compile(r"[\\*`_~]")
# What is whole in itself, an escape or most code; or else a mark. Most bold text is whole too, but
# not in emphasis that is open: there, its first ** may be the end.
MARKS_INSIDE = re.compile(r"\\.|`[^`]+`(?!`)|(`+|\*+|_+|~+)|.", re.DOTALL)
MARKS = re.compile(rf"\*\*(?=\S)[^*_~`\\]*[^*_~`\\\s]\*\*(?!\*)|{MARKS_INSIDE.pattern}", re.DOTALL)
CODE_MARKS = re.compile("`+")


@dataclass(slots=True)
class Unclosed:
    """The marks of emphasis and code that are open at the end of words."""

    emphasis: list[str] = field(default_factory=list)
    code: re.Match[str] | None = None
    end: int = 0  # of the words, without a mark that isn't whole or opens nothing yet

    @classmethod
    def of(cls, words: str) -> "Unclosed":
        found, pos = cls(end=len(words)), 0
        while sign := SIGN.search(words, pos):
            mark = (MARKS_INSIDE if found.emphasis else MARKS).match(words, sign.start())
            assert mark
            pos = mark.end()
            if mark[1] is None:
                continue
            if mark[1][0] == "`":
                # Nothing in code is a mark.
                ends = (run.end() for run in CODE_MARKS.finditer(words, pos) if run[0] == mark[0])
                pos = next(ends, 0)
                if not pos:
                    found.code = mark
                    break
            else:
                start = mark.start()
                found.take(mark[1], words[max(0, start - 1) : start], words[pos : pos + 1])
        return found

    def take(self, mark: str, before: str, after: str) -> None:
        """Open or close emphasis, by the characters around the mark."""
        if mark == "~":
            return
        is_wordy = mark[0] == "_" or mark == "*"  # a_b and 2*3 are no emphasis
        if any(each[0] == mark[0] for each in self.emphasis) and before.strip():
            if after and is_wordy and mark[0] == "_" and after.isalnum():
                return
            self.close(mark, is_last=not after)
        elif not after:
            self.end -= len(mark)
        elif after.strip() and not (is_wordy and before.isalnum()):
            self.emphasis.append(mark)

    def close(self, mark: str, *, is_last: bool) -> None:
        while self.emphasis[-1][0] != mark[0]:
            self.emphasis.pop()
        newest = self.emphasis.pop()
        if len(mark) >= len(newest):
            rest = len(mark) - len(newest)
            if rest and self.emphasis and self.emphasis[-1][0] == mark[0]:
                self.close(mark[:rest], is_last=is_last)
        elif is_last:
            # The first asterisk of two.
            self.emphasis.append(newest)
            self.end -= len(mark)
        else:
            self.emphasis.append(newest[len(mark) :])


def is_balanced(text: str) -> bool:
    """Return True if no emphasis, code, tag, formula or link is open at the end of the text."""
    return (
        text.count("[") == text.count("]")
        and text.count("(") == text.count(")")
        and settled(text) == text
    )


def settled(text: str) -> str:
    """Close what is unfinished, and show the source of an unfinished formula.

    So raw Markdown and half addresses never appear while a line grows.
    """
    words, formulas = without_formulas(text)
    return with_formulas(with_ends(closed(without_halves(words))), formulas)


def closed(text: str, *, depth: int = 0) -> str:
    """Close unfinished emphasis and code in words without formulas."""
    if SIGN.search(text) is None:
        return text
    words = text.rstrip()
    unclosed = Unclosed.of(words)
    end = "".join(unclosed.emphasis[::-1])
    if code := unclosed.code:
        inner = words[code.end() :].rstrip("`")
        gap = " " if inner.startswith(" ") else ""
        if inner:
            return words[: code.end()] + inner + gap + code[0] + end
        unclosed.end = code.start()
    if unclosed.end < len(words):
        # What stands before a mark that is cut may be a mark without words now: ~~**
        return closed(words[: unclosed.end], depth=depth + 1) if depth < MAX_CUTS else ""
    return words + end if end else text
