"""Draw the PNGs of the icon from static/chat/icon.svg: `uv run python -m tests.pages.draw_icons`.

Phones cut an icon to a shape of their own, and iOS fills what is clear with black: theirs have the
ground to the edges. The sign is in the middle, which no shape cuts.
"""

from pathlib import Path

from .browsing import chromium_running

FOLDER = Path(__file__).parents[2] / "static/chat"
# Their names, sizes, and whether the ground goes to the edges.
ICONS = (
    ("icon-192.png", 192, False),
    ("icon-512.png", 512, False),
    ("icon-180.png", 180, True),
    ("icon-maskable-512.png", 512, True),
)


def draw() -> None:
    drawn = (FOLDER / "icon.svg").read_text()
    with chromium_running() as browser:
        for name, size, is_full in ICONS:
            svg = drawn.replace(' rx="8"', "") if is_full else drawn
            page = browser.new_page(viewport={"width": size, "height": size})
            page.set_content(f'<body style="margin: 0; line-height: 0">{svg}</body>')
            page.screenshot(path=FOLDER / name, omit_background=True)


if __name__ == "__main__":
    draw()
