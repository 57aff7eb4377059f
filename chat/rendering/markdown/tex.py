"""Maths: TeX as MathML."""

from html import escape


def maths(source: str, *, is_display: bool) -> str:
    """Return the TeX as safe HTML: MathML, or its source as code if it can't be converted."""
    delimiters = ("\\[", "\\]") if is_display else ("\\(", "\\)")
    return f'<code class="tex">{escape(delimiters[0] + source + delimiters[1], quote=False)}</code>'
