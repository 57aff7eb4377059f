"""Characters that no text may keep, and those that stand for something while it is rendered.

Noncharacters are removed from every text, so the renderer can use them as marks: a cleaner would
take away the attributes of an element, but it leaves a mark in the words alone.
"""

import re

# The growing end of a line while the structure around it is rendered: what is before it in the HTML
# is the head of a part, what follows is its foot.
CURSOR = "\ufdd0"
# chat/rendering/partials.py uses U+FDD1 and U+FDD2.
CITATION, CITATION_END = "\ufdd3", "\ufdd4"
MATHS, DISPLAYED_MATHS, MATHS_END = "\ufdd5", "\ufdd6", "\ufdd7"  # around TeX
PIPE = "\ufdd8"  # that belongs to a formula, in a row of a table
REFERENCE, REFERENCE_END = "\ufdd9", "\ufdda"  # a link whose address is defined elsewhere
NOTE, NOTE_END = "\ufddb", "\ufddc"  # the label of a footnote
PICTURE, PICTURE_END = "\ufddd", "\ufdde"  # the words of an image
OPEN_TASK, DONE_TASK = "\ufddf", "\ufde0"

MARKS = re.compile("[\ufdd0-\ufdef]")

UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls
    # Bidirectional overrides can make code and links read as something else.
    "\u202a-\u202e\u2066-\u2069"
    "\ufdd0-\ufdef\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # noncharacters, invisible tags
    "\ud800-\udfff]"
)
SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def without_marks(text: str) -> str:
    return MARKS.sub("", text)


def without_controls(text: str) -> str:
    """Remove control characters and characters that only machines see."""
    if UNWANTED.search(text) is None:
        return text
    # JSON may write an emoji as two surrogates, in one delta or in two. Join them before the rest
    # is removed.
    joined = SURROGATE_PAIR.sub(
        lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text
    )
    return UNWANTED.sub("", joined)
