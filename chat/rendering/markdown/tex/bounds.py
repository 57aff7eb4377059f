r"""Which formulas math-core can convert in bounded time and on a bounded stack.

It descends with every group, and with every command and bracket, which may hold all that follows
them in their cell, as in \sqrt\sqrt\sqrt x. 250 levels take 1 MB of stack, and a stack that is full
ends the process. It reads what follows a bracket twice if the bracket is not closed: twice as often
with each further one.
"""

import re

MAX_NESTING = 40  # groups, environments and fences
MAX_OPEN = 150  # commands and brackets
MAX_READ = 30_000  # characters, counted as often as they are read: some 50 ms

BRACKETS = r"(\[⌈⌊⌜⌞⎰❲⟅⟦⟨⟪⟬⟮⦃⦅⦇⦉⦋⦍⦏⦑⦓⦕⦗⧘⧚⧼"
SIZED = r"(?:big|Big|bigg|Bigg)"
DELIMITER = r"\s*(?:\\[a-zA-Z]+|\\.|[^\s\\])?"
MARK = re.compile(
    rf"""
      (?P<fence>\\left(?![a-zA-Z]){DELIMITER})
    | (?P<unfence>\\right(?![a-zA-Z]){DELIMITER})
    | (?P<group>[{{]|\\begin(?![a-zA-Z]))
    | (?P<ungroup>[}}]|\\end(?![a-zA-Z]))
    | (?P<cell>&|\\\\)
    | (?P<sized>\\(?:middle|{SIZED}m?)(?![a-zA-Z]){DELIMITER})
    | (?P<closer>[)\]]|\\[}}]|\\{SIZED}r(?![a-zA-Z]){DELIMITER}
        |\\r(?:angle|brace|brack|ceil|floor|vert|Vert)(?![a-zA-Z]))
    # Some words that begin with l open nothing, such as \leq, \lim and \log; these are the others.
    | (?P<opener>[{BRACKETS}]|\\[{{]|\\{SIZED}l(?![a-zA-Z]){DELIMITER}
        |\\(?:l(?![dehinot]|ambda|and)|ul|mathopen)[a-zA-Z]+)
    | (?P<command>\\[a-zA-Z]+)
    | \\.
    """,
    re.VERBOSE | re.DOTALL,
)


class RefusedError(Exception):
    """The formula can't be converted; the message says why."""


def check_bounds(source: str) -> None:
    """Raise RefusedError if converting the formula could take long, or too much of the stack."""
    outside: list[tuple[int, int]] = []  # of each group that is open: `held` and `unclosed` there
    held = unclosed = 0  # commands and brackets that may hold what follows; brackets of this group
    lost = 0  # brackets that no group closes
    for found in MARK.finditer(source):
        match found.lastgroup:
            case "group" | "fence":
                outside.append((held, unclosed))
                unclosed = 0
            case "ungroup" | "unfence":
                lost += unclosed
                held, unclosed = outside.pop() if outside else (held, 0)
            case "cell":
                lost += unclosed
                held, unclosed = outside[-1][0] if outside else 0, 0
            case "opener":
                held += 1
                unclosed += 1
            case "closer":
                unclosed = max(0, unclosed - 1)
            case "command" | "sized":
                held += 1
        if len(outside) > MAX_NESTING or held > MAX_OPEN:
            raise RefusedError("nested too deeply")
    lost += unclosed + sum(count for _, count in outside)
    if lost and len(source) << min(lost, 20) > MAX_READ:
        raise RefusedError("too many brackets that are not closed")
