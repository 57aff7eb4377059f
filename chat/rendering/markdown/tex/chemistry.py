r"""Formulas and reactions of chemistry, as in \ce{2H2 + O2 -> 2H2O}, as TeX."""

import re

ARROWS = {
    "<=>>": "rightleftharpoons",
    "<<=>": "rightleftharpoons",
    "<=>": "rightleftharpoons",
    "<->": "leftrightarrow",
    "<-->": "leftrightarrow",
    "->": "rightarrow",
    "-->": "rightarrow",
    "<-": "leftarrow",
}
ARROW = re.compile(
    rf"({'|'.join(sorted(map(re.escape, ARROWS), key=len, reverse=True))})"
    r"(?:\[([^\[\]]*)\])?(?:\[([^\[\]]*)\])?"
)
GROUP = r"\{(?:[^{}]|\{[^{}]*\})*\}"
TOKEN = re.compile(
    rf"""
      (?P<space>\s+)
    | (?P<maths>\$[^$]*\$|\\[a-zA-Z]+(?:\s*{GROUP})*|\\.)
    | (?P<arrow>{ARROW.pattern})
    | (?P<precipitate>(?<!\S)[v^](?!\S))
    | (?P<raised>\^(?:{GROUP}|[0-9]*[+-]|[0-9]+|.))
    | (?P<lowered>_(?:{GROUP}|[0-9]+|.))
    | (?P<charge>(?<=[\w)\]}}])[+-](?=[\s,;)\]]|$))
    | (?P<fraction>(?<![A-Za-z)\]}}])[0-9]+/[0-9]+)
    | (?P<number>[0-9]+(?:\.[0-9]+)?)
    | (?P<letters>[A-Za-z]+)
    | (?P<group>{GROUP})
    | (?P<closing>[)\]])
    | (?P<point>[*.·])
    | (?P<bond>[-=\#])
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
BONDS = {"-": "{-}", "=": "{=}", "#": r"{\equiv}"}


def chemical(words: str) -> str:
    """Return the TeX of a chemical formula or reaction."""
    pieces: list[str] = []
    before = "space"  # the kind of token before this one
    for token in TOKEN.finditer(words):
        kind = token.lastgroup or "mark"
        if kind == "number" and before in ("letters", "group", "closing"):
            kind = "count"
        pieces.append(piece(kind, token[0], before))
        before = kind
    return "".join(pieces)


def piece(kind: str, text: str, before: str) -> str:
    """Return the TeX of a token."""
    match kind:
        case "space":
            return " "
        case "maths":
            return f"{{{text.strip('$')}}}" if text.startswith("$") else text + " "
        case "arrow":
            return arrow(text)
        case "precipitate":
            return r"\uparrow " if text == "^" else r"\downarrow "
        case "raised" | "lowered":
            base = "{}" if before in ("space", "arrow", "mark", "point", "number") else ""
            return f"{base}{text[0]}{{{text[1:].removeprefix('{').removesuffix('}')}}}"
        case "charge":
            return f"^{{{text}}}"
        case "fraction":
            above, below = text.split("/")
            return rf"\tfrac{{{above}}}{{{below}}}\,"
        case "count":
            return f"_{{{text}}}"
        case "number":
            return rf"{text}\,"
        case "letters":
            return rf"\mathrm{{{text}}}"
        case "point":
            return r"\cdot "
        case "bond" if before != "space":
            return BONDS[text]
        case _:
            return text


def arrow(text: str) -> str:
    """Return the TeX of an arrow with what stands above and below it."""
    found = ARROW.fullmatch(text)
    assert found is not None
    name = ARROWS[found[1]]
    if not (found[2] or found[3]):
        return rf"\long{name} " if "harpoons" not in name else rf"\{name} "
    return rf"\x{name}[{chemical(found[3] or '')}]{{{chemical(found[2] or '')}}} "
