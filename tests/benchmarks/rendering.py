"""Search for the text whose rendering costs most: `uv run python -m tests.benchmarks.rendering`.

Each mark, and each pair of them, is repeated in a line, in lines, in an item and in a cell, and
streamed to one follower.
"""

import argparse
import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticfleet.settings")

MARKS = (
    *("a ", "**a** ", "*a* ", "*", "**a", "_a_", "~~a", "`", "`c` ", "[", "]", "](", "!["),
    *("[a](b) ", "[a](https://x.example) ", "https://x.example/a ", "www.a.b ", "a@b.cd ", "<"),
    *("<a@b.cd> ", "&amp; ", "\\", "\\* "),
    *("[a][b] ", "[^1] ", "[1] ", "a[1][2]", "$", "$x$ ", "\\(x\\) ", "\\("),
    *("<sub>", "<sub>x</sub>", "<br>", "<!--", "|", ">", "- ", "1. ", "# ", "\t", "\xa0"),
    *("强**", "😀"),
)  # fmt: skip
BLOCKS = (
    *("- a\n", "> a\n", "> a\n\n", "1. a\n", "# a\n", "a\n=\n", "---\n", "```\n"),
    *("```py\nx\n```\n",),
    *("    a\n", "$$\nx\n$$\n", "$$\n", "|a|\n|-|\n", "|a|b|\n", "[a]: https://x.example\n", "\n"),
    *("[^n]: x\n\n", "<details>\n", "<!--\n", "- [ ] a\n", "- ```\n  a\n  ```\n", "- - - - a\n"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What a text costs: seconds of CPU time."""

    name: str
    held: float  # the dearest rendering on the event loop
    in_thread: float  # the dearest in a thread
    per_kib: float  # all renderings of the text, for each KiB


def texts(size: int) -> Iterator[tuple[str, str]]:
    for mark in MARKS:
        line = mark * (size // len(mark))
        lines = [mark * max(1, 180 // len(mark))] * (size // 180)
        yield f"a line of {mark!r}", f"{line}\n"
        yield f"an item of {mark!r}", f"- {line}\n"
        yield f"a cell of {mark!r}", f"|a|b|\n|-|-|\n| {line}\n"
        yield f"lines of {mark!r}", "\n".join(lines)
        yield f"lines of an item of {mark!r}", "- a\n" + "".join(f"  {each}\n" for each in lines)
    for block in BLOCKS:
        yield f"{block!r}", block * (size // len(block))
    for pair in permutations(MARKS, 2):
        both = "".join(pair)
        yield f"a line of {both!r}", both * (size // len(both)) + "\n"
    for columns in (10, 40, 3000):
        row = "|a" * columns + "|\n"
        yield f"{columns} columns", row + "|-" * columns + "|\n" + row * (size // len(row))


def cost_of(name: str, text: str, step: int) -> Cost:
    # Models can be imported only after Django is set up.
    from chat.protocol.events import ResponseDelta
    from chat.rendering.answer import AnswerView
    from chat.rendering.markdown import renderers

    renderers.remembered.cache_clear()
    view, held, in_thread, total = AnswerView("r"), 0.0, 0.0, 0.0
    for start in range(0, len(text), step):
        event = ResponseDelta(delta=text[start : start + step])
        is_long = view.may_take_long(event)
        before = time.thread_time()
        view.render(event)
        cost = time.thread_time() - before
        total += cost
        if is_long:
            in_thread = max(in_thread, cost)
        else:
            held = max(held, cost)
    return Cost(name, held, in_thread, total * 1024 / len(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kib", type=int, default=8, help="size of each text")
    parser.add_argument("--step", type=int, default=120, help="characters of a delta")
    parser.add_argument("--show", type=int, default=20, help="rows")
    options = parser.parse_args()

    import django

    django.setup()
    cost_of("", "**a** |\n\n- b\n\n|a|\n|-|\n|b|\n", 5)
    gc.collect()
    gc.freeze()
    gc.disable()
    found = []
    for name, text in texts(options.kib * 1024):
        found.append(cost_of(name, text, options.step))
        gc.collect()
    print(f"{len(found)} texts of {options.kib} KiB\n")
    print("| text | holds the loop | in a thread | all, per KiB |\n|---|---:|---:|---:|")
    for each in sorted(found, key=lambda cost: -max(cost.held, cost.in_thread))[: options.show]:
        times = (each.held, each.in_thread, each.per_kib)
        print(f"| `{each.name}` | {' | '.join(f'{value * 1000:.0f} ms' for value in times)} |")
    print(f"\nThe longest hold of the loop: {max(each.held for each in found) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
