"""What agenticfleet/README.md tells operators to do."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "agenticfleet/README.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(heading: str, document: Path = DOCUMENT) -> str:
    """Return the text below a heading of any level, up to the next heading."""
    _, found, rest = document.read_text().partition(f"# {heading}\n")
    assert found, f"{document} has no section {heading!r}"
    return re.split(r"^#", FENCE.sub(hide, rest), maxsplit=1, flags=re.MULTILINE)[0].replace(
        HIDDEN, "#"
    )


HIDDEN = "\0"


def hide(block: re.Match[str]) -> str:
    """Return the block so that none of its lines begins like a heading."""
    return block[0].replace("#", HIDDEN)


def commands(heading: str, document: Path = DOCUMENT) -> str:
    """Return the commands of the section, as they are to be typed."""
    return block("sh", heading, document)


def block(language: str, heading: str, document: Path) -> str:
    """Return the block of the section that is in this language."""
    blocks = FENCE.findall(section(heading, document))
    [found] = [content for name, content in blocks if name == language]
    return str(found)
