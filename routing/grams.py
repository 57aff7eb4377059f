"""The n-grams of a text: words, pieces of words, and the skeleton without the topics."""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from math import log1p

from routing import patterns
from routing.lexicon import words_of
from routing.words import concepts_of, count_concepts, size_of, tokens_of

_FUNCTION_WORDS = words_of(
    "a an the of in on at to for from by with and or but if as that which who , . ? : ' \" 0 's"
)


def grams_of(whole: str, core: str, earlier: str, answered: str) -> Iterator[str]:
    """Yield each n-gram of a text once; `core` is what it asks.

    These are the words of the whole text, pairs, triples and pieces of the core, its skeleton of
    known words, and the beginning of a follow-up. `earlier` is the question before, and `answered`
    the path that it took; they are empty if there is none, or if it isn't known.
    """
    seen: dict[str, None] = {}
    words = ["0" if token[0].isdigit() else token for token in tokens_of(whole)[:160]]
    kernel = ["^", *("0" if token[0].isdigit() else token for token in tokens_of(core)[:60]), "$"]
    seen.update((word, None) for word in words)
    seen.update((f"{left} {right}", None) for left, right in pairwise(kernel))
    seen.update(
        (f"{left} {middle} {right}", None)
        for left, middle, right in zip(kernel, kernel[1:], kernel[2:], strict=False)
    )
    for word in kernel[1:-1]:
        padded = f"<{word}>"
        for width in (3, 4, 5):
            seen.update(
                (f"#{padded[at : at + width]}", None) for at in range(len(padded) - width + 1)
            )
    if patterns.UNSPACED_SCRIPT.search(core):
        run = core[:120]
        seen.update(
            (f"#{run[at : at + width]}", None)
            for width in (1, 2, 3)
            for at in range(len(run) - width + 1)
        )
    if earlier:
        seen.update((f"~{word}", None) for word in kernel[:6])
    if answered:
        # The same words may be thanks for a plan or a change of it: what they follow decides.
        present = count_concepts(core, kernel)
        seen.update((f"={answered} {part}", None) for part in (*sorted(present), *kernel[1:5]))
    seen.update(dict.fromkeys(crosses(core, kernel[1:-1])))
    yield from seen


def crosses(core: str, words: Sequence[str]) -> Iterator[str]:
    """Yield concepts in pairs and with the length, and the sentence with its topics blanked out."""
    length = int(log1p(size_of(core, words)) * 2)
    present = sorted(count_concepts(core, words))
    yield from (f"&{concept} {length}" for concept in present)
    yield from (f"&{left} {right}" for left, right in combinations(present, 2))
    if words:
        yield f"&{words[0]} {length}"
    skeleton = skeleton_of(words)
    for width in (2, 3, 4):
        yield from (
            "%" + " ".join(skeleton[at : at + width]) for at in range(len(skeleton) - width + 1)
        )


def skeleton_of(words: Sequence[str]) -> list[str]:
    """Return concepts in place of known words, and one blank for each run of other words."""
    skeleton = ["^"]
    for word in words:
        known = concepts_of(word)
        part = word if word in _FUNCTION_WORDS else known[0].upper() if known else "_"
        if part != "_" or skeleton[-1] != "_":
            skeleton.append(part)
    return [*skeleton, "$"]
