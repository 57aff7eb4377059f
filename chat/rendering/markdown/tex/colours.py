"""The colours of formulas."""

import re

# Colours are a closed set, so that each can be read on both grounds of the page. The values only
# carry them through math-core.
COLOURS = {
    "red": "FF0000",
    "orange": "FF8000",
    "yellow": "FFFF00",
    "green": "00FF00",
    "teal": "00FFFF",
    "blue": "0000FF",
    "purple": "8000FF",
    "magenta": "FF00FF",
    "gray": "808080",
}
# Words in the names of colours.
SHADES = {
    **{name: name for name in COLOURS},
    "grey": "gray",
    "silver": "gray",
    "crimson": "red",
    "maroon": "red",
    "brown": "orange",
    "gold": "yellow",
    "olive": "green",
    "lime": "green",
    "cyan": "teal",
    "aqua": "teal",
    "navy": "blue",
    "violet": "purple",
    "indigo": "purple",
    "pink": "magenta",
    "fuchsia": "magenta",
}
HEX_COLOUR = re.compile(r"#?([0-9a-fA-F]{6}|[0-9a-fA-F]{3})")


def colour_of(name: str) -> str:
    """Return the colour of the closed set that is nearest; "" for black, white and unknown ones."""
    name = name.strip()
    if found := HEX_COLOUR.fullmatch(name):
        return nearest_colour(found[1])
    name = name.lower()
    return next((colour for word, colour in SHADES.items() if word in name), "")


def nearest_colour(digits: str) -> str:
    """Return the colour of the closed set with the nearest hue."""
    red, green, blue = (
        int(part * (2 if len(digits) == 3 else 1), 16)
        for part in re.findall("..?" if len(digits) == 6 else ".", digits)
    )
    high, low = max(red, green, blue), min(red, green, blue)
    if high - low < 32:
        return "gray" if 64 <= high <= 208 else ""
    if high == red:
        hue = (green - blue) / (high - low) * 60 % 360
    elif high == green:
        hue = 120 + (blue - red) / (high - low) * 60
    else:
        hue = 240 + (red - green) / (high - low) * 60
    bounds = (
        *((15, "red"), (45, "orange"), (70, "yellow"), (160, "green"), (200, "teal")),
        *((255, "blue"), (290, "purple"), (340, "magenta"), (360, "red")),
    )
    return next(colour for bound, colour in bounds if hue <= bound)
