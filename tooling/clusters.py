"""Cut texts between characters as people see them, which Unicode calls grapheme clusters.

A flag, a family of emoji, a letter with its accents or a Hangul syllable is several characters to
Python, and one to its reader.
"""

import regex

CLUSTER = regex.compile(r"\X")
# Characters before a cut in which clusters are looked for. For a row of flags, the pattern takes
# quadratic time.
LOOKBACK = 300


def beginning(text: str, max_chars: int) -> str:
    """Return the first `max_chars` characters, or fewer if the last ones are part of a cluster."""
    if len(text) <= max_chars:
        return text
    start = max(0, max_chars - LOOKBACK)
    end = start
    # One character more tells if a cluster ends before it.
    for cluster in CLUSTER.finditer(text[start : max_chars + 1]):
        if start + cluster.end() > max_chars:
            break
        end = start + cluster.end()
    # A letter may have any number of marks. If it alone is too long, it can't be kept whole.
    return text[: end if end > start else max_chars]


def shortened(text: str, max_chars: int) -> str:
    """Return the text on one line, cut after at most `max_chars` characters, with an ellipsis."""
    text = " ".join(text.split())
    if len(text) <= max_chars:
        return text
    return beginning(text, max_chars - 1).rstrip() + "…"
