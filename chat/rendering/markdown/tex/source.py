r"""TeX as models write it, rewritten as math-core reads it.

Models write for MathJax and KaTeX, which know more commands and forgive more than LaTeX. What only
needs other words is in `macros`; what needs its arguments changed has a method of `Rewriting`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .bounds import RefusedError, check_bounds
from .chemistry import chemical
from .colours import COLOURS, colour_of

# What each environment becomes at the outermost level, and inside another.
ENVIRONMENTS = {
    **dict.fromkeys(("align", "alignat", "flalign", "eqnarray"), ("align*", "aligned")),
    "gather": ("gather*", "gathered"),
    "multline": ("multline*", "gathered"),
    "equation": ("equation*", "gathered"),
    "split": ("aligned", "aligned"),
    "alignedat": ("aligned", "aligned"),
    "smallmatrix": ("matrix", "matrix"),
    "cases": ("cases", "cases"),
    "dcases": ("dcases", "dcases"),
    **{f"{fence}smallmatrix": (f"{fence}matrix", f"{fence}matrix") for fence in "pbvBV"},
    **{f"{fence}matrix": (f"{fence}matrix", f"{fence}matrix") for fence in ("", *"pbvBV")},
}
TAGGABLE = ("align*", "gather*", "multline*", "equation*")
WRAPPERS = ("subequations", "math", "displaymath", "document")
WITH_ARGUMENT = ("alignat", "alignedat", "array")
DEFINITIONS = (
    *("def", "gdef", "edef", "xdef", "let", "futurelet", "global", "newcommand", "renewcommand"),
    *("providecommand", "newenvironment", "renewenvironment", "DeclareMathOperator"),
    *("DeclareRobustCommand", "newcounter", "loop", "csname"),
)

SPECIAL = re.compile(r"\\(?:([a-zA-Z]+)(\*?)|.)|[{}&%]", re.DOTALL)
BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
SPACES = re.compile(r"\s*")
OPTION = re.compile(r"\s*\[([^\[\]]*)\]")
ROW_GAP = re.compile(r"\*?(?:\s*\[\s*-?[\d.]+\s*(?:[a-z]{2}|\\[a-z]+)\s*\])?")
COMMENT = re.compile(r"[^\n]*\n?")
MATHS_IN_TEXT = re.compile(r"(?<!\\)\$(.*?)(?<!\\)\$|\\\((.*?)\\\)", re.DOTALL)
UNESCAPED = re.compile(r"\\.|[_^#&%$~]", re.DOTALL)
COLUMN_SPACE = re.compile(r"[@!<>]\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
COLUMN_WIDTH = re.compile(r"[pmb]\s*\{[^{}]*\}")
REPEATED_COLUMN = re.compile(r"\*\s*\{(\d{1,2})\}\s*\{([clr|\s]*)\}")


@dataclass(slots=True)
class Rewriting:
    """A formula, or an argument in one, while it is rewritten from left to right."""

    source: str
    is_display: bool
    tags: list[str] = field(default_factory=list)  # of the whole formula, in their order
    is_inside: bool = False  # in an argument
    at: int = 0
    depth: int = 0  # of groups and fences
    environments: list[tuple[str, str]] = field(default_factory=list)  # as written, as rewritten
    columns: int = 0  # of the row so far, for eqnarray
    has_rows: bool = False  # outside of environments
    has_columns: bool = False
    is_tagged: bool = False

    def whole(self) -> str:
        """Return the formula rewritten."""
        text = self.rest()
        if not (self.has_rows or self.has_columns or self.is_tagged):
            return text
        # MathJax and KaTeX break lines here, LaTeX and math-core don't.
        if not self.is_display:
            name = "aligned" if self.has_columns else "gathered"
        elif self.has_columns:
            name = "align*"
        else:
            name = "gather*" if self.has_rows else "equation*"
        return rf"\begin{{{name}}}{text}\end{{{name}}}"

    def rest(self) -> str:
        """Return the rest of the source rewritten."""
        pieces = []
        for found in iter(lambda: SPECIAL.search(self.source, self.at), None):
            pieces.append(self.source[self.at : found.start()])
            self.at = found.end()
            pieces.append(self.replaced(found))
        return "".join(pieces) + self.source[self.at :]

    def replaced(self, found: re.Match[str]) -> str:
        """Return what stands for this command or character, and move past its arguments."""
        mark, name = found[0], found[1]
        if mark in ("{", "}"):
            self.depth += 1 if mark == "{" else -1
        elif mark == "&":
            return self.next_column()
        elif mark == "%":
            return self.percent(found.start())
        elif mark == "\\\\" or name in ("newline", "cr", "tabularnewline"):
            return self.next_row()
        elif name in DEFINITIONS:
            raise RefusedError("defines a command")
        elif name in TEXTS:
            return text_as_tex(TEXTS[name], self.argument(), self.inner)
        elif name in COMMANDS:
            return COMMANDS[name](self, found[2])
        elif name in ("left", "right"):
            self.depth += 1 if name == "left" else -1
        return mark

    def inner(self, source: str) -> str:
        """Return an argument rewritten."""
        return Rewriting(source, self.is_display, self.tags, is_inside=True).rest()

    def argument(self) -> str:
        """Return the next argument without its braces, and move past it."""
        start = SPACES.match(self.source, self.at).end()  # type: ignore[union-attr]
        if not self.source.startswith("{", start):
            found = SPECIAL.match(self.source, start)
            self.at = found.end() if found else start + 1
            return self.source[start : self.at]
        depth = 0
        for brace in BRACES.finditer(self.source, start):
            depth += (brace[0] == "{") - (brace[0] == "}")
            if not depth:
                self.at = brace.end()
                return self.source[start + 1 : brace.start()]
        raise RefusedError("unclosed group")

    def option(self) -> str:
        """Return the optional argument that follows, or "" without one, and move past it."""
        found = OPTION.match(self.source, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found[1]

    @property
    def is_outermost(self) -> bool:
        return not (self.is_inside or self.depth or self.environments)

    def next_column(self) -> str:
        self.columns += 1
        self.has_columns |= self.is_outermost
        is_second = self.columns == 2 and self.environments
        # eqnarray has its relation in a column of its own.
        return "" if is_second and self.environments[-1][0].startswith("eqnarray") else "&"

    def next_row(self) -> str:
        self.columns = 0
        self.has_rows |= self.is_outermost
        self.at = ROW_GAP.match(self.source, self.at).end()  # type: ignore[union-attr]
        return "\\\\ "

    def percent(self, start: int) -> str:
        before = self.source[:start].rstrip(" ")[-1:]
        if before.isdigit() or (start and not self.source[start - 1].isspace()):
            return r"\%"
        self.at = COMMENT.match(self.source, self.at).end()  # type: ignore[union-attr]
        return ""

    def begin(self, _star: str) -> str:
        name = self.argument()
        base = name.removesuffix("*")
        if base in WRAPPERS:
            return ""
        outer, inner = ENVIRONMENTS.get(base, (name, name))
        new = outer if self.is_outermost else inner
        columns = ""
        self.option()
        if base in WITH_ARGUMENT:
            columns = self.argument()
        self.environments.append((name, new))
        self.columns = 0
        return rf"\begin{{{new}}}" + (f"{{{plain_columns(columns)}}}" if base == "array" else "")

    def end(self, _star: str) -> str:
        name = self.argument()
        if name.removesuffix("*") in WRAPPERS:
            return ""
        if not self.environments or self.environments[-1][0] != name:
            raise RefusedError("environments overlap")
        return rf"\end{{{self.environments.pop()[1]}}}"

    def tag(self, star: str) -> str:
        words = self.argument()
        words = words if star else f"({words})"
        inside = self.is_inside or self.depth or not self.is_display
        if inside or (self.environments and self.environments[-1][1] not in TAGGABLE):
            return r"\qquad " + text_as_tex("text", words, self.inner)
        self.is_tagged |= self.is_outermost
        # math-core takes only plain characters here, so the words are put in when it is done.
        self.tags.append(text_as_tex("text", words, self.inner))
        return rf"\tag*{{{TAG}{len(self.tags) - 1}}}"

    def dropped(self, _star: str) -> str:
        self.argument()
        return ""

    def dropped_pair(self, _star: str) -> str:
        return self.dropped("") + self.dropped("")

    def without_star(self, _star: str) -> str:
        return r"\hspace"

    def reference(self, _star: str) -> str:
        # Labels are known in one formula only, and a link could lead to an id of the page.
        return text_as_tex("text", self.argument(), self.inner)

    def equation_reference(self, _star: str) -> str:
        return text_as_tex("text", f"({self.argument()})", self.inner)

    def substack(self, _star: str) -> str:
        rows = Rewriting(self.argument(), self.is_display, self.tags, is_inside=True).rest()
        return rf"{{\begin{{subarray}}{{c}}{rows}\end{{subarray}}}}"

    def interjection(self, _star: str) -> str:
        return text_as_tex("text", self.argument(), self.inner) + "\\\\ "

    def colour(self, _star: str) -> str:
        switch = self.colour_switch()
        # LaTeX colours the rest of the group, but models mean the braces that follow, as MathJax.
        is_before_group = self.source[self.at :].lstrip().startswith("{")
        return f"{{{switch}{self.inner(self.argument())}}}" if is_before_group else switch

    def coloured(self, _star: str) -> str:
        return f"{{{self.colour_switch()}{self.inner(self.argument())}}}"

    def colour_switch(self) -> str:
        self.option()
        name = colour_of(self.argument())
        return rf"\color[HTML]{{{COLOURS[name]}}}" if name else ""

    def colour_box(self, _star: str) -> str:
        self.dropped("")
        return text_as_tex("text", self.argument(), self.inner)

    def framed_box(self, _star: str) -> str:
        self.dropped_pair("")
        return self.boxed_text("")

    def boxed_text(self, _star: str) -> str:
        return rf"\boxed{{{text_as_tex('text', self.argument(), self.inner)}}}"

    def sides(self, _star: str) -> str:
        left, right = self.argument(), self.argument()
        return rf"{{}}{left}{self.argument()}\nolimits{right}"

    def limits(self, _star: str) -> str:
        # math-core allows it after operators only, and what is braced has its limits already.
        is_after_group = self.source[: self.at - len(r"\limits")].rstrip()[-1:] == "}"
        return "" if is_after_group else r"\limits "

    def chemistry(self, _star: str) -> str:
        return f"{{{self.inner(chemical(self.argument()))}}}"


def text_as_tex(command: str, words: str, maths: Callable[[str], str]) -> str:
    r"""Return text with maths in it, such as \text{if $x > 0$}, as TeX with both side by side."""
    pieces = []
    at = 0
    for found in MATHS_IN_TEXT.finditer(words):
        pieces += [words[at : found.start()], found[1] or found[2] or ""]
        at = found.end()
    pieces.append(words[at:])
    if len(pieces) == 1:
        return rf"\{command}{{{escaped(words)}}}"
    return "".join(
        f"{{{maths(piece)}}}" if index % 2 else rf"\{command}{{{escaped(piece)}}}"
        for index, piece in enumerate(pieces)
        if piece
    )


def escaped(words: str) -> str:
    r"""Return text with its special characters escaped, as in \text{max_value} and \text{50%}."""
    return UNESCAPED.sub(escape, words)


def escape(found: re.Match[str]) -> str:
    match found[0]:
        case "\\\\":
            return " "
        case "^":
            return r"\textasciicircum "
        case "~":
            return "~"
        case mark if len(mark) == 1:
            return "\\" + mark
        case mark:
            return mark


def plain_columns(columns: str) -> str:
    """Return the columns of an array as c, l, r and lines only."""
    columns = COLUMN_WIDTH.sub("l", COLUMN_SPACE.sub("", columns))
    return REPEATED_COLUMN.sub(lambda found: found[2] * int(found[1]), columns)


TAG = "tag"
TEXTS = {
    **{name: name for name in ("text", "textbf", "textit", "textrm", "textsf", "texttt", "textsc")},
    **dict.fromkeys(("textnormal", "textup", "textmd", "mbox", "hbox"), "text"),
    "emph": "textit",
}
COMMANDS: dict[str, Callable[[Rewriting, str], str]] = {
    "begin": Rewriting.begin,
    "end": Rewriting.end,
    "tag": Rewriting.tag,
    **dict.fromkeys(("label", "require", "vspace"), Rewriting.dropped),
    "rule": Rewriting.dropped_pair,
    "hspace": Rewriting.without_star,
    "ref": Rewriting.reference,
    "eqref": Rewriting.equation_reference,
    "substack": Rewriting.substack,
    "intertext": Rewriting.interjection,
    "shortintertext": Rewriting.interjection,
    "color": Rewriting.colour,
    "textcolor": Rewriting.coloured,
    "fbox": Rewriting.boxed_text,
    "colorbox": Rewriting.colour_box,
    "fcolorbox": Rewriting.framed_box,
    "sideset": Rewriting.sides,
    "limits": Rewriting.limits,
    "ce": Rewriting.chemistry,
}


# Most formulas have nothing to rewrite.
NEEDED = re.compile(
    rf"[%&]|\\\\|\\(?:{'|'.join((*COMMANDS, *TEXTS, *DEFINITIONS, 'newline', 'cr'))})(?![a-zA-Z])"
)


def rewritten(source: str, *, is_display: bool) -> tuple[str, list[str]]:
    """Return the formula as math-core reads it, and its tags.

    Raise RefusedError if it defines commands, is nested too deeply or makes no sense.
    """
    check_bounds(source)
    if not NEEDED.search(source):
        return source, []
    rewriting = Rewriting(source, is_display)
    return rewriting.whole(), rewriting.tags
