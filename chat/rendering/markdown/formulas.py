"""Where formulas are in a text: `\\(…\\)`, `\\[…\\]`, `$…$`, `$$…$$` and LaTeX's environments.

The parser asks for the formula at its position, so code, links and escapes come first where they
begin first. The other functions say the same of a line or a piece as a whole.
"""

import re
from dataclasses import dataclass

from .characters import MATHS, MATHS_END, PIPE

MAX_NESTED = 8  # environments of one name in each other; without it, many would be quadratic
BEFORE_CHARS = 200  # that are searched for the address in which a dollar may stand

# What LaTeX takes outside of maths, and what models write as if it did.
ENVIRONMENTS = (
    "align|alignat|aligned|alignedat|array|[bBpvV]?matrix|[dr]?cases|displaymath|eqnarray"
    "|equation|flalign|gather|gathered|multline|smallmatrix|split"
)
BEGIN = re.compile(rf"\\begin\{{((?:{ENVIRONMENTS})\*?)\}}")
ENVIRONMENT_SIGN = re.compile(r"\\(?:(begin|end)\{(\w+\*?)\}|.)", re.DOTALL)

# TeX up to its end. A second opener before it means that the first one was only text; this also
# keeps many of them linear.
PAREN = r"\\\(((?:[^\\\n]|\n(?![ \t]*\n)|\\[^()])*+)"
BRACKET = r"\\\[((?:[^\\]|\\[^][])*+)"
DOLLARS = r"(?<!\$)\$\$(?!\$)((?:[^\\$]|\\.|\$(?!\$))*+)"
# A price, a variable of a shell or a ticker is no maths: an opener stands before a word and not in
# one, and the first dollar that follows closes, or nothing does. What follows a closer is no word,
# but "$n$th" and "$x$s" are.
DOLLAR = r"(?<![0-9A-Za-z$])\$(?![\s$]|[,;.:!?]\s)((?:[^\\$`\n]|\n(?![ \t]*\n)|\\[^`])*+)"
SUFFIX = r"(?:th|st|nd|rd|s)(?![0-9A-Za-z])"
DOLLAR_END = rf"(?<!\s)\$(?![$0-9{{]|_\w|\.\d)(?:(?![A-Za-z])|(?={SUFFIX}))"

CLOSED = {
    r"\(": re.compile(PAREN + r"\\\)", re.DOTALL),
    r"\[": re.compile(BRACKET + r"\\\]", re.DOTALL),
    "$$": re.compile(DOLLARS + r"\$\$(?!\$)", re.DOTALL),
    "$": re.compile(DOLLAR + DOLLAR_END, re.DOTALL),
}
OPEN = {
    opener: re.compile(body + r"\\?\Z", re.DOTALL)
    for opener, body in {r"\(": PAREN, r"\[": BRACKET, "$$": DOLLARS, "$": DOLLAR}.items()
}
OPEN_BEGIN = re.compile(r"\\begin\{[A-Za-z]*\Z")
# Most dollars that are still open are prices, so look for what only TeX has.
TEX = re.compile(r"\\[A-Za-z{]|\^|\b[A-Za-z]_[0-9A-Za-z{]")
ADDRESS = re.compile(r"(?:https?://|www\.)[!-~]*\Z")

# The end of a text whose next character decides: "$5-$" may become "$5-$10".
UNDECIDED_END = re.compile(r"(?:\\|\\?\$+(?:[._]|th?|st?|nd?|rd?)?)\Z")

SIGNS = re.compile(r"`+|\\|\$+")
RUNS = re.compile("`+")
MASK = re.compile(f"{MATHS}(\\d+){MATHS_END}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Formula:
    source: str  # TeX without delimiters; an environment keeps its own
    is_display: bool
    start: int
    end: int


def may_have_maths(text: str) -> bool:
    return "$" in text or "\\" in text


def formula_at(text: str, start: int = 0) -> Formula | None:
    """Return the formula that begins here and is closed."""
    if begin := BEGIN.match(text, start):
        end = environment_end(text, begin)
        if end is None or end > len(text):
            return None
        return Formula(text[start:end], is_display=True, start=start, end=end)
    opener = opener_at(text, start)
    found = CLOSED[opener].match(text, start) if opener else None
    if found is None or not (source := found[1].strip()):
        return None
    if opener == "$" and not is_maths(source, text, found):
        return None
    return Formula(source, is_display=opener in ("$$", r"\["), start=start, end=found.end())


def opener_at(text: str, start: int) -> str:
    opener = text[start : start + 2]
    return opener if opener in OPEN else "$" if opener.startswith("$") else ""


def environment_end(text: str, begin: re.Match[str]) -> int | None:
    """Return where the environment ends; the text's length + 1 if it is open, None if never."""
    depth = 0
    for sign in ENVIRONMENT_SIGN.finditer(text, begin.start()):
        if sign[2] == begin[1]:
            depth += 1 if sign[1] == "begin" else -1
            if not depth:
                return sign.end()
            if depth > MAX_NESTED:
                return None
    return len(text) + 1


def is_maths(source: str, text: str, found: re.Match[str]) -> bool:
    """Return True if what stands between two single dollars is maths."""
    if source.startswith("(") and text.startswith("(", found.end()):
        return False  # $(pwd):$(date)
    # "$100 (US$)". In TeX, one of a pair may be missing: \right.
    is_half = "\\" not in source and (
        source.count("(") + source.count("[") != source.count(")") + source.count("]")
    )
    before = text[max(0, found.start() - BEFORE_CHARS) : found.start()]
    return not is_half and ADDRESS.search(before) is None


def is_open_at(text: str, start: int) -> bool:
    """Return True if a formula begins here that the rest of the text doesn't close.

    Of what dollars open, only TeX is taken for a formula: the rest is a price until it is closed.
    """
    if OPEN_BEGIN.match(text, start):
        return True
    tex = open_source(text, start)
    if tex is None:
        return False
    is_at_line_end = tex[:1] in ("", "\n") and text.startswith("$$", start)
    return text[start] == "\\" or is_at_line_end or TEX.search(tex) is not None


def open_source(text: str, start: int) -> str | None:
    """Return what follows an opener here, whatever it looks like, if nothing closes it."""
    if begin := BEGIN.match(text, start):
        end = environment_end(text, begin)
        return text[start:] if end is not None and end > len(text) else None
    opener = opener_at(text, start)
    found = OPEN[opener].match(text, start) if opener else None
    return found[1] if found else None


def formulas_of(text: str) -> tuple[list[Formula], int]:
    """Return the formulas outside of code, and where one begins that is still open.

    If none is open, the second is the text's length.
    """
    formulas: list[Formula] = []
    pos, is_in_code = 0, False
    while sign := SIGNS.search(text, pos):
        start, pos = sign.span()
        if sign[0].startswith("`"):
            ends = (run.end() for run in RUNS.finditer(text, pos) if run[0] == sign[0])
            pos, is_in_code = next(((end, is_in_code) for end in ends), (pos, True))
        elif formula := formula_at(text, start):
            formulas.append(formula)
            pos = formula.end
        elif not is_in_code and is_open_at(text, start):
            return formulas, start
        elif sign[0] == "\\":
            pos += 1
    return formulas, len(text)


def decided(text: str) -> str:
    """Return the text without its end if the next character decides what that is."""
    return UNDECIDED_END.sub("", text) if may_have_maths(text) else text


def cut_outside_formulas(text: str, end: int) -> int:
    """Return where to cut the text instead of at `end`, so that no formula is cut.

    Return 0 if it can't be cut yet.
    """
    if not may_have_maths(text):
        return end
    formulas, open_at = formulas_of(decided(text))
    for formula in formulas:
        if formula.start < end < formula.end:
            return formula.start or formula.end
    return min(end, open_at)


def without_formulas(text: str) -> tuple[str, list[str]]:
    """Return the text with a mask in place of each formula, and what the masks stand for.

    An open formula becomes its source as code, and a single opener nothing.
    """
    if not may_have_maths(text):
        return text, []
    formulas, open_at = formulas_of(text)
    words: list[str] = []
    sources: list[str] = []
    pos = 0
    for formula in formulas:
        words += [text[pos : formula.start], f"{MATHS}{len(sources)}{MATHS_END}"]
        sources.append(text[formula.start : formula.end])
        pos = formula.end
    words.append(text[pos:open_at])
    if len(text) > open_at + 2:
        words.append(f"{MATHS}{len(sources)}{MATHS_END}")
        sources.append(code_span(text[open_at:]))
    return "".join(words), sources


def with_formulas(words: str, sources: list[str]) -> str:
    return MASK.sub(lambda mask: sources[int(mask[1])], words) if sources else words


def code_span(source: str) -> str:
    """Return the source as code in Markdown, also for a cell of a table."""
    fence = "`" * (max(map(len, RUNS.findall(source)), default=0) + 1)
    return f"{fence} {source} {fence}".replace("|", PIPE)
