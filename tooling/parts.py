"""A long text in parts that fit what a model reads."""

MIN_PART = 200  # characters, however little room there is
ENDS = ("\n\n", "\n", ". ", " ")


def ends_of(text: str, size: int) -> list[int]:
    """Return where each part of at most `size` characters ends: between paragraphs if possible."""
    size = max(size, MIN_PART)
    ends: list[int] = []
    start = 0
    while len(text) - start > size:
        window = text[start : start + size]
        # Not so early that parts become small.
        places = ((window.rfind(end), len(end)) for end in ENDS)
        at = next((at + length for at, length in places if at >= size // 2), size)
        start += at
        ends.append(start)
    return [*ends, len(text)]


def part_of(text: str, number: int, size: int, *, tool: str) -> str:
    """Return this part of a text, counted from 1, with a note on the others if there are any."""
    if len(text) <= size:
        return text if number <= 1 else "There is no such part: part 1 is the whole text."
    ends = ends_of(text, size - 120)  # room for the note
    if number > len(ends):
        return f"There is no such part: the last one is {len(ends)}."
    part = text[([0, *ends])[number - 1] : ends[number - 1]].strip()
    note = f"[Part {number} of {len(ends)}."
    if number < len(ends):
        note += f" To read on, call {tool} with part={number + 1}."
    return f"{part}\n\n{note}]"
