"""A model's thinking, beside the answer or within it."""

from typing import Any

from ..case import Case, Outcome, answers, case, fails, thinks
from ..wire import (
    ANSWER,
    THOUGHT,
    THOUGHTS,
    WORDS,
    Piece,
    chunk,
    completion,
    document,
    event,
    finish,
    say,
    stream,
    think,
)


def detailed(kind: str = "reasoning.text", key: str = "text", **beside: Any) -> list[Piece]:
    """Return the usual thoughts as reasoning_details."""
    return [
        event(
            chunk(
                {
                    "reasoning_details": [{"type": kind, key: thought, "index": 0}],
                    **dict.fromkeys(beside, thought),
                }
            )
        )
        for thought in THOUGHTS
    ]


def tagged(name: str = "think", *, opening: bool = True, cut: int = 4) -> list[Piece]:
    """Return thoughts within tags, in pieces of so many characters."""
    text = f"<{name}>\n{THOUGHT}\n</{name}>\n\n" if opening else f"{THOUGHT}\n</{name}>\n\n"
    return [event(chunk({"content": text[at : at + cut]})) for at in range(0, len(text), cut)]


PART = {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}
HANDED: tuple[Case, ...] = (
    thinks("reasoning-content", stream(think("reasoning_content"), say(), finish())),
    thinks("reasoning-details", stream(detailed(reasoning=True), say(), finish())),
    thinks("think-tags", stream(tagged(), say(), finish())),
    fails(
        "think-unclosed",
        stream(say("<think>\n", *THOUGHTS, "and more"), finish("length")),
        "think",
        "reason",
        without=["wick"],
        may_be_late=True,
    ),
    answers(
        "think-empty",
        stream(say("<think>\n\n</think>\n\n", *WORDS), finish()),
        without=["think>"],
        thought="",
        may_be_late=True,
    ),
)
FURTHER: tuple[Case, ...] = (
    thinks("reasoning", stream(think("reasoning"), say(), finish())),
    thinks("thinking", stream(think("thinking"), say(), finish())),
    thinks("reasoning-twice", stream(think("reasoning", "reasoning_content"), say(), finish())),
    thinks("reasoning-details-alone", stream(detailed(), say(), finish())),
    thinks("reasoning-summary", stream(detailed("reasoning.summary", "summary"), say(), finish())),
    thinks(
        "reasoning-object",
        stream([event(chunk({"reasoning": {"content": t}})) for t in THOUGHTS], say(), finish()),
    ),
    thinks(
        "reasoning-with-empty-content",
        stream(
            [event(chunk({"content": "", "reasoning_content": t})) for t in THOUGHTS],
            say(),
            finish(),
        ),
    ),
    thinks(
        "reasoning-with-null-content",
        stream(
            [event(chunk({"content": None, "reasoning_content": t})) for t in THOUGHTS],
            [event(chunk({"content": WORDS[0], "reasoning_content": None}))],
            say(*WORDS[1:]),
            finish(),
        ),
        may_be_late=True,
    ),
    thinks("thinking-parts", stream(event(chunk({"content": [PART]})), say(), finish())),
    thinks(
        "thinking-in-document",
        document(completion({"content": ANSWER, "reasoning_content": THOUGHT})),
    ),
    thinks(
        "tags-in-document", document(completion({"content": f"<think>{THOUGHT}</think>{ANSWER}"}))
    ),
    thinks(
        "parts-in-document",
        document(completion({"content": [PART, {"type": "text", "text": ANSWER}]})),
    ),
    thinks("tags-in-bytes", stream(tagged(cut=1), say(), finish())),
    thinks("tags-at-once", stream(say(f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"), finish())),
    thinks(
        "tags-behind-blanks", stream(event(chunk({"content": "\n "})), tagged(), say(), finish())
    ),
    thinks("tags-named-thinking", stream(tagged("thinking"), say(), finish())),
    thinks("tags-named-thought", stream(tagged("thought"), say(), finish())),
    thinks("tags-named-reasoning", stream(tagged("reasoning"), say(), finish())),
    thinks("tags-upper", stream(tagged("THINK"), say(), finish())),
    thinks(
        "opening-missing",
        stream(tagged(opening=False, cut=12), say(), finish()),
        is_taken_back=True,
        may_be_late=True,
    ),
    thinks(
        "opening-missing-at-once",
        stream(say(f"{THOUGHT}\n</think>\n\n{ANSWER}"), finish()),
        may_be_late=True,
    ),
    thinks(
        "field-and-empty-tags",
        stream(think("reasoning_content"), say("<think>\n\n</think>\n\n", *WORDS), finish()),
        may_be_late=True,
    ),
    thinks(
        "closing-tag-alone",
        stream(think("reasoning_content"), say("</think>\n\n", *WORDS), finish()),
        may_be_late=True,
    ),
    case(
        "tags-mid-answer",
        stream(say("Write `<think>` ", "and `</think>` ", "around it."), finish()),
        Outcome("Write `<think>` and `</think>` around it.", thought=""),
        may_be_late=True,
    ),
    case(
        "tags-of-other-kinds",
        stream(say("<b>bold", "</b> and ", "<thin", "g>"), finish()),
        Outcome("<b>bold</b> and <thing>"),
        may_be_late=True,
    ),
    fails(
        "thoughts-alone",
        stream(think("reasoning_content"), finish()),
        "think",
        "reason",
        without=["wick"],
    ),
    fails(
        "thoughts-until-limit",
        stream(think("reasoning"), finish("length")),
        "think",
        "reason",
        "limit",
        without=["wick"],
    ),
    fails(
        "thoughts-unclosed-stop",
        stream(tagged()[:-4], finish()),
        "think",
        "reason",
        without=["wick"],
    ),
)
