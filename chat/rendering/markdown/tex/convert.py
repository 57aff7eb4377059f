"""Maths: TeX as MathML.

Nothing of one formula is known in another: no numbers, labels or commands. So a formula looks the
same in whatever order an answer is rendered.
"""

import re
from functools import lru_cache
from html import escape

from math_core import LatexError, LatexToMathML

from .bounds import RefusedError
from .macros import MACROS
from .mathml import UnsafeError, safe
from .source import TAG, rewritten

MAX_SOURCE = 4_000  # characters
MAX_CACHED_SOURCE = 400  # characters; bounds the memory that the cache may take
CACHED = 2_048  # formulas
MAX_GROWTH = 60  # times the source and what little the shortest formulas need
SMALLEST = 20  # characters

# Few expansions are enough, because macros are ours and none contains another.
converter = LatexToMathML(
    macros=MACROS, annotation=True, fancy_error=False, max_expansions=MAX_SOURCE
)
ANNOTATION = '<annotation encoding="application/x-tex">'
TAGGED = re.compile(rf"<mtext>{TAG}(\d+)</mtext>")


def maths(source: str, *, is_display: bool) -> str:
    """Return the TeX as safe HTML: MathML, or its source as code if it can't be converted."""
    if len(source) > MAX_SOURCE:
        return as_code(source, is_display=is_display)
    if len(source) > MAX_CACHED_SOURCE:
        return rendered(source, is_display=is_display)
    return cached(source, is_display=is_display)


def rendered(source: str, *, is_display: bool) -> str:
    """Return the TeX as MathML or code, whatever it is."""
    try:
        tex, tags = rewritten(source, is_display=is_display)
        body = mathml(tex, is_display=is_display)
        if tags:
            words = [mathml(tag, is_display=False) for tag in tags]
            body = TAGGED.sub(lambda found: words[int(found[1])], body)
    except (LatexError, RefusedError, UnsafeError):
        return as_code(source, is_display=is_display)
    # A displayed formula that is too wide scrolls, as code does: by keys, too.
    start = '<math display="block" tabindex="0">' if is_display else '<math display="inline">'
    return (
        f"{start}<semantics>{body}"
        f"{ANNOTATION}{escape(source, quote=False)}</annotation></semantics></math>"
    )


cached = lru_cache(maxsize=CACHED)(rendered)


def mathml(tex: str, *, is_display: bool) -> str:
    """Return one element of MathML for TeX as math-core reads it.

    Raise LatexError if it refuses the TeX, and UnsafeError if its MathML isn't safe or too long.
    """
    html = converter.convert_with_local_state(tex, displaystyle=is_display)
    start = html.index("<semantics>") + len("<semantics>")
    html = html[start : html.rindex(ANNOTATION)]
    if len(html) > MAX_GROWTH * (len(tex) + SMALLEST):
        raise UnsafeError
    return safe(html)


def as_code(source: str, *, is_display: bool) -> str:
    """Return the source with delimiters as code; on a line of its own if it is displayed."""
    words = escape(source, quote=False)
    if is_display:
        return rf'<code class="tex displayed">\[{words}\]</code>'
    return rf'<code class="tex">\({words}\)</code>'
