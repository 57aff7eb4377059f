"""MathML as the page takes it: from an allow-list, with classes instead of styles."""

import re

from .colours import COLOURS

LINES = {"solid": "line", "dashed": "dashes"}
# Every declaration that math-core writes. The page's policy drops styles, so chat.css has a class
# for each.
CLASSES = {
    "text-align: right": "m-right",
    "text-align: left": "m-left",
    "padding-left: 0": "m-close-left",
    "padding-right: 0": "m-close-right",
    "padding-top: 0": "m-close-top",
    "padding-bottom: 0": "m-close-bottom",
    "padding-left: 1em": "m-apart",
    "padding-top: 0.1667em": "m-lower",
    "padding-left: 0.1em": "m-near-left",
    "padding-right: 0.1em": "m-near-right",
    "padding-right: 0.1667em": "m-thin",
    "width: 100%": "m-full",
    "width: 50%": "m-half",
    "width: 7.5%": "m-margin",
    "math-shift: compact": "m-cramped",
    "font-variant-caps: small-caps": "m-small-caps",
    **{
        f"border-{side}: 0.05em {kind} currentcolor": f"m-{name}-{side}"
        for side in ("top", "right", "left", "bottom")
        for kind, name in LINES.items()
    },
    **{f"color: #{value}": f"m-{name}" for name, value in COLOURS.items()},
}
STYLE = re.compile(r' style="([^"]*)"')
# Negative spaces are margins. Classes have the usual ones; the nearest is taken.
BACKWARDS = {0.1667: "m-back-1", 0.2222: "m-back-2", 0.2778: "m-back-3", 1: "m-back-4"}
BACK = re.compile(r"margin-left: -([\d.]+)r?em")
WIDTH = re.compile(r'(width)="([\d.]+)(r?em)"')
MAX_WIDTH = 20  # em, of a space

TAGS = (
    *("math", "semantics", "annotation", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace"),
    *("mfrac", "msqrt", "mroot", "mstyle", "merror", "mpadded", "mphantom", "menclose"),
    *("msub", "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts"),
    *("mtable", "mtr", "mtd", "b", "i", "em", "code", "span", "s", "u"),
)
ATTRIBUTES = (
    *("display", "displaystyle", "scriptlevel", "mathvariant", "encoding", "class", "notation"),
    *("form", "fence", "separator", "stretchy", "symmetric", "largeop", "movablelimits", "accent"),
    *("accentunder", "lspace", "rspace", "minsize", "maxsize", "linethickness"),
    *("width", "height", "depth", "voffset"),
)
SAFE = re.compile(
    rf"(?:[^<>]++|</(?:{'|'.join(TAGS)})>"
    rf"|<(?:{'|'.join(TAGS)})(?:\ (?:{'|'.join(ATTRIBUTES)})=\"[\w .%#+-]*+\")*+/?>)*+",
    re.VERBOSE,
)


class UnsafeError(Exception):
    """MathML has an element or an attribute that isn't on the list."""


def safe(html: str) -> str:
    """Return MathML from math-core with classes instead of styles.

    Raise UnsafeError if anything in it isn't on the list.
    """
    if " style=" in html:
        html = STYLE.sub(classes_of, html)
    if "width=" in html:
        html = WIDTH.sub(bounded_width, html)
    if SAFE.fullmatch(html) is None:
        raise UnsafeError
    return html


def classes_of(style: re.Match[str]) -> str:
    """Return the classes that stand for the declarations of a style."""
    declarations = (
        part.replace(":", ": ").replace("  ", " ").strip() for part in style[1].split(";")
    )
    names = [name for name in map(class_of, declarations) if name]
    return f' class="{" ".join(names)}"' if names else ""


def class_of(declaration: str) -> str:
    if back := BACK.fullmatch(declaration):
        return BACKWARDS[min(BACKWARDS, key=lambda width: abs(width - float(back[1])))]
    return CLASSES.get(declaration, "")


def bounded_width(width: re.Match[str]) -> str:
    return f'{width[1]}="{min(float(width[2]), MAX_WIDTH):g}{width[3]}"'
