"""Text, thinking and calls in what a model writes, as a table, however it is cut."""

import random
import time
from collections.abc import Iterator, Sequence

import pytest

from chat.llm.dialects.speech import Speech
from chat.llm.dialects.written import MAX_WRITTEN_CHARS
from chat.llm.messages import Reasoning, Retraction, Text

TOOLS = {"calculator", "clock"}
ARGUMENTS = '{"expression":"6*7"}'
CALL = f'{{"name": "calculator", "arguments": {ARGUMENTS}}}'
LANTERN = Text("Lantern light")
WICK = Reasoning("First the wick…")
CALCULATOR = ("calculator", ARGUMENTS)


def joined(texts: Sequence[str], tools: set[str]) -> list[object]:
    """Return the pieces of a text, those of a kind joined, and then its calls."""
    speech = Speech(tools)
    pieces: list[object] = []
    for piece in [*(told for text in texts for told in speech.add(text)), *speech.finish()]:
        if isinstance(piece, Text) and pieces and isinstance(pieces[-1], Text):
            pieces[-1] = Text(pieces[-1].text + piece.text)
        elif isinstance(piece, Reasoning) and pieces and isinstance(pieces[-1], Reasoning):
            pieces[-1] = Reasoning(pieces[-1].text + piece.text)
        else:
            pieces.append(piece)
    return [*pieces, *((call.name, call.arguments) for call in speech.calls)]


def cuts(text: str) -> Iterator[list[str]]:
    """Yield the text in one piece, cut once at every place, in characters, and cut at random."""
    yield [text]
    for at in range(1, len(text)):
        yield [text[:at], text[at:]]
    yield list(text)
    dice = random.Random(text)
    for _ in range(50):
        places = sorted(dice.sample(range(len(text) + 1), min(len(text), dice.randint(1, 9))))
        parts = zip([0, *places], [*places, len(text)], strict=True)
        yield [text[start:end] for start, end in parts if start < end]


THINKING = {
    "plain": ("Lantern light", [LANTERN]),
    "space before it": (" \n Lantern light", [Text(" \n Lantern light")]),
    "tags": ("<think>\nFirst the wick…\n</think>\n\nLantern light", [WICK, LANTERN]),
    "space before the tags": ("\n <think>First the wick…</think> Lantern light", [WICK, LANTERN]),
    "tags with nothing in them": ("<think>\n\n</think>\n\nLantern light", [LANTERN]),
    "tags in capitals": ("<THINK>First the wick…</Think>Lantern light", [WICK, LANTERN]),
    "longer names": ("<thinking>First the wick…</thinking>Lantern light", [WICK, LANTERN]),
    "thought": ("<thought>First the wick…</thought>\nLantern light", [WICK, LANTERN]),
    "reasoning": ("<reasoning>First the wick…</reasoning>\nLantern light", [WICK, LANTERN]),
    "brackets": ("[THINK]First the wick…[/THINK]Lantern light", [WICK, LANTERN]),
    "triangles": ("◁think▷First the wick…◁/think▷Lantern light", [WICK, LANTERN]),
    "a name space": ("<seed:think>First the wick…</seed:think>Lantern light", [WICK, LANTERN]),
    "attributes": ('<think mode="a" b>First the wick…</think>\nLantern light', [WICK, LANTERN]),
    "words for tags": (
        "<|begin_of_thought|>First the wick…<|end_of_thought|>Lantern light",
        [WICK, LANTERN],
    ),
    "command": ("<|START_THINKING|>First the wick…<|END_THINKING|>Lantern light", [WICK, LANTERN]),
    "gemma": ("<|channel>thought\nFirst the wick…\n<channel|>Lantern light", [WICK, LANTERN]),
    "other tags in it": (
        "<think>a < b, </b> and </thin</think>Lantern light",
        [Reasoning("a < b, </b> and </thin"), LANTERN],
    ),
    "no end": ("<think>First the wick…\n", [WICK]),
    "half an end": ("<think>First the wick…\n</thi", [Reasoning("First the wick…\n</thi")]),
    "several blocks": (
        "<think>First the wick…</think>\n<think>\n</think><thought>Oil</thought>\nLantern light",
        [Reasoning("First the wick…\n\nOil"), LANTERN],
    ),
    "channels": (
        "<|channel|>analysis<|message|>First the wick…<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Lantern light<|return|>",
        [WICK, LANTERN],
    ),
    "channels with a cut end": (
        "<|start|>assistant<|channel|>analysis<|message|>First the wick…<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Lantern light",
        [WICK, LANTERN],
    ),
    "a token at the end": ("Lantern light<|im_end|>\n", [LANTERN]),
    "an answer in tags": (
        "<|START_THINKING|>First the wick…<|END_THINKING|>"
        "<|START_RESPONSE|>Lantern light<|END_RESPONSE|>",
        [WICK, LANTERN],
    ),
    "an end at the head": ("</think>\n\nLantern light", [LANTERN]),
    "no beginning": (
        "First the wick…\n</think>\n\nLantern light",
        [Text("First the wick…\n"), Retraction(), LANTERN],
    ),
    "no beginning, the tag at the end of a line": (
        "First the wick…</think>\n\nLantern light",
        [Text("First the wick…"), Retraction(), LANTERN],
    ),
    "no beginning, the tag at the start of a line": (
        "First the wick…\n</think>Lantern light",
        [Text("First the wick…\n"), Retraction(), LANTERN],
    ),
    "no beginning, and code in the thought": (
        "First `x`\n```\ny\n```\n</think>\n\nLantern light",
        [Text("First `x`\n```\ny\n```\n"), Retraction(), LANTERN],
    ),
    "no beginning, and the tag in a code span": (
        "First `</think>`\nFirst the wick…\n</think>\n\nLantern light",
        [Text("First `</think>`\nFirst the wick…\n"), Retraction(), LANTERN],
    ),
    "no beginning and no answer": (
        "First the wick…\n</think>",
        [Text("First the wick…\n"), Retraction()],
    ),
}
SPOKEN_OF = {
    "in the middle of a line": "The tag </think> ends it.\nThat is all.",
    "in a code span": "It ends with `</think>`\nand goes on.",
    "in a fence": "So:\n```xml\n<a>\n</think>\n```\nThat is all.",
    "in a tilde fence": "So:\n~~~\n</think>\n~~~\nThat is all.",
    "opened before": "Write `<think>` before it\n</think>\nand this behind it.",
    "the second of its kind": "A </think> here\nand there\n</think>\nagain.",
    "other markup": "<div class='think'>a</div> <p>\n</p> a < b [1] [/x] ◁ `",
    "a beginning": "<thin",
    "a channel at the head": "<|channel|> begins a channel.",
    "the end of a text": "Then <|im_end|> ends it, or `</s>`",
    "an opening in the text": "Then <think>so</think> it is.",
    "a tag at the end": "The end is </think>",
}


@pytest.mark.parametrize("tools", [set(), TOOLS], ids=["no tools", "tools"])
@pytest.mark.parametrize(("text", "pieces"), THINKING.values(), ids=THINKING)
def test_thinking_in_tags_is_no_text(text: str, pieces: list[object], tools: set[str]) -> None:
    for parts in cuts(text):
        assert joined(parts, tools) == pieces, parts


@pytest.mark.parametrize("tools", [set(), TOOLS], ids=["no tools", "tools"])
@pytest.mark.parametrize("text", SPOKEN_OF.values(), ids=SPOKEN_OF)
def test_answer_that_speaks_of_tags_keeps_them(text: str, tools: set[str]) -> None:
    for parts in cuts(text):
        assert joined(parts, tools) == [Text(text)], parts


def test_thinking_that_has_a_field_of_its_own_is_not_told_twice() -> None:
    speech = Speech()
    speech.hush()
    assert [*speech.add("<think>First the wick…</think>Lantern light")] == [LANTERN]


CALLS = {
    "tags": (f"<tool_call>\n{CALL}\n</tool_call>", [CALCULATOR]),
    "several": (
        f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{CALL}</tool_call>",
        [CALCULATOR, CALCULATOR],
    ),
    "several in one tag": (f"<tool_call>{CALL}\n{CALL}</tool_call>", [CALCULATOR, CALCULATOR]),
    "no end": (f"<tool_call>\n{CALL}\n", [CALCULATOR]),
    "half an end": (f"<tool_call>\n{CALL}\n</tool", [CALCULATOR]),
    "a missing brace": (f"<tool_call>{CALL[:-1]}</tool_call>", [CALCULATOR]),
    "a brace too many": (f"<tool_call>{CALL}}}</tool_call>", [CALCULATOR]),
    "after a sentence": (
        f"Let me see.\n<tool_call>{CALL}</tool_call>",
        [Text("Let me see.\n"), CALCULATOR],
    ),
    "before a sentence": (f"<tool_call>{CALL}</tool_call>\nSo.", [Text("So."), CALCULATOR]),
    "after thinking": (
        f"<think>First the wick…</think>\n<tool_call>{CALL}</tool_call>",
        [WICK, CALCULATOR],
    ),
    "in thinking that never ends": (
        f"<think>So\n<tool_call>{CALL}</tool_call>",
        [Reasoning(f"So\n<tool_call>{CALL}</tool_call>"), CALCULATOR],
    ),
    "function_call": (f"<function_call>{CALL}</function_call>", [CALCULATOR]),
    "bars": (f"<|tool_call|>[{CALL}]<|/tool_call|>", [CALCULATOR]),
    "mistral": (f"[TOOL_CALLS][{CALL}]", [CALCULATOR]),
    "mistral, spaced": (f"[TOOL_CALLS] [ {CALL}, {CALL} ]", [CALCULATOR, CALCULATOR]),
    "mistral, by name": (f"[TOOL_CALLS]calculator[ARGS]{ARGUMENTS}", [CALCULATOR]),
    "llama": (f"<|python_tag|>{CALL.replace('arguments', 'parameters')}", [CALCULATOR]),
    "function tag": (f"<function=calculator>{ARGUMENTS}</function>", [CALCULATOR]),
    "qwen": (
        "<tool_call>\n<function=calculator>\n<parameter=expression>\n6*7\n</parameter>\n"
        "</function>\n</tool_call>",
        [CALCULATOR],
    ),
    "qwen, without arguments": (
        "<tool_call>\n<function=clock>\n</function>\n</tool_call>",
        [("clock", "{}")],
    ),
    "invoke": (
        '<minimax:tool_call>\n<invoke name="calculator">\n<parameter name="expression">6*7'
        "</parameter>\n</invoke>\n</minimax:tool_call>",
        [CALCULATOR],
    ),
    "glm": (
        "<tool_call>calculator\n<arg_key>expression</arg_key>\n<arg_value>6*7</arg_value>\n"
        "</tool_call>",
        [CALCULATOR],
    ),
    "kimi": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.calculator:0"
        f"<|tool_call_argument_begin|>{ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|>",
        [CALCULATOR],
    ),
    "deepseek": (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>calculator\n"
        f"```json\n{ARGUMENTS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        [CALCULATOR],
    ),
    "channel": (
        "<|channel|>commentary to=functions.calculator <|constrain|>json<|message|>"
        f"{ARGUMENTS}<|call|>",
        [("functions.calculator", ARGUMENTS)],
    ),
    "fence": (f"```json\n{CALL}\n```", [CALCULATOR]),
    "fence after a sentence": (f"So:\n```json\n{CALL}\n```\n", [Text("So:\n"), CALCULATOR]),
    "fence with tags": (f"```xml\n<tool_call>{CALL}</tool_call>\n```", [CALCULATOR]),
    "bare": (f"\n{CALL}\n", [CALCULATOR]),
    "bare, parameters": (CALL.replace("arguments", "parameters"), [CALCULATOR]),
    "bare, arguments first": (
        f'{{"arguments": {ARGUMENTS}, "name": "calculator"}}',
        [CALCULATOR],
    ),
    "bare list": (f"[{CALL}, {CALL}]", [CALCULATOR, CALCULATOR]),
    "bare, one after the other": (f"{CALL}; {CALL}", [CALCULATOR, CALCULATOR]),
    "bare, as the API has it": (
        f'{{"id": "a", "type": "function", "function": {CALL}}}',
        [CALCULATOR],
    ),
    "bare, in a field": (f'{{"tool_calls": [{CALL}]}}', [CALCULATOR]),
    "a closing tag in a string": (
        '<tool_call>{"name": "clock", "arguments": {"zone": "a</tool_call>\\"b"}}</tool_call>',
        [("clock", '{"zone":"a</tool_call>\\"b"}')],
    ),
    "arguments in a string": (
        '<tool_call>{"name": "clock", "arguments": "{}"}</tool_call>',
        [("clock", "{}")],
    ),
    "no arguments": ('<tool_call>{"name": "clock"}</tool_call>', [("clock", "{}")]),
}
NO_CALLS = {
    "JSON": '{"error": {"message": "not really"}}',
    "JSON with a name": '{"name": "Lantern", "light": "café"}',
    "JSON with a tool's name": '{"name": "clock", "price": 3}',
    "JSON with parameters": '{"parameters": {"a": 1}, "b": 2}',
    "JSON with a type": '{"type": "object", "properties": {}}',
    "a list": '[1, {"name": "clock"}]',
    "brackets": "[1] says so, [[2]] too",
    "cut JSON": '{"name": "calculator", "arg',
    "JSON before a sentence": f"{CALL} is how it looks.",
    "JSON after a sentence": f"It looks so: {CALL}",
    "an unknown tool": '<tool_call>{"name": "oven", "arguments": {}}</tool_call>',
    "an unknown function": "<function=oven>{}</function>",
    "a known and an unknown tool": f'<tool_call>[{CALL}, {{"name": "oven"}}]</tool_call>',
    "the tag in a sentence": "The <tool_call> tag wraps <tool_call> a call.",
    "in a code span": f"Write `<tool_call>{CALL}</tool_call>` so.",
    "in a fence of code": f"```python\n<tool_call>{CALL}</tool_call>\n```",
    "fenced JSON": '```json\n{"a": 1}\n```\nThat is all.',
    "fenced code": "So:\n```python\nprint('<tool_call>')\n```\nThat is all.",
    "ticks": "`a` ``b`` ```c``` ````\n`````",
    "no JSON": "<tool_call>{calculator}</tool_call>",
    "more than a call may have": f'<tool_call>{{"name": "clock", "a": "{"x" * 40_000}"}}',
}


@pytest.mark.parametrize(("text", "pieces"), CALLS.values(), ids=CALLS)
def test_calls_that_are_written_as_text_are_calls(text: str, pieces: list[object]) -> None:
    for parts in cuts(text):
        found = joined(parts, TOOLS)
        # What stands around a bare call is space.
        assert [piece for piece in found if piece != Text("\n")] == pieces, parts


@pytest.mark.parametrize("text", [text for text, _ in CALLS.values() if "channel" not in text])
def test_without_tools_there_are_no_calls(text: str) -> None:
    assert not any(isinstance(piece, tuple) for piece in joined([text], set()))


@pytest.mark.parametrize("text", NO_CALLS.values(), ids=NO_CALLS)
def test_text_that_is_no_call_stays_as_it_came(text: str) -> None:
    for parts in cuts(text) if len(text) < 1000 else ([text], list(text), [text[:-1], text[-1]]):
        assert joined(parts, TOOLS) == [Text(text)], parts[:5]


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("Plain words, one by one.", 0),
        ('{"error": {"message": "not really", "then": [1, 2, 3]}}', 2),
        ('{"name": "Lantern", "light": "and so on, for long"}', 10),
        ('```json\n{"a": 1, "b": "and so on, for long"}\n```\n', 11),
        ("```python\nprint('and so on')\n```\n", 3),
        ("The <tool_call> tag wraps a call. It is long.", 12),
        ("See [1], a < b, `c` and </div> there.", 2),
        ("<div class='a'>It is long.</div>", 4),
    ],
)
def test_no_more_is_held_back_than_may_become_a_tag(text: str, most: int) -> None:
    speech = Speech(TOOLS)
    told = held = 0
    for at, char in enumerate(text, 1):
        told += sum(len(piece.text) for piece in speech.add(char) if isinstance(piece, Text))
        held = max(held, at - told)
    assert held == most


def test_flood_of_tags_is_read_in_linear_time() -> None:
    text = '<tool_call>{"name": "' * 3000 + "```json\n{" * 3000 + "</think>" * 3000
    assert joined([text[at : at + 7] for at in range(0, len(text), 7)], TOOLS) == [Text(text)]


@pytest.mark.parametrize(
    "head", ["", "a</think>", "<think>a", "a<|im_end|>", '<tool_call>{"name": "clock"}']
)
def test_endless_space_is_read_in_linear_time(head: str) -> None:
    space = "\n" * 60_000
    begin = time.thread_time()
    pieces = joined([head, *space, "b"], TOOLS)
    assert time.thread_time() - begin < 1
    assert pieces == joined([f"{head}{space}b"], TOOLS)


def test_held_text_is_limited() -> None:
    speech = Speech(TOOLS)
    assert not speech.add('<tool_call>{"name": "clock", "arguments": "')
    told = speech.add("x" * MAX_WRITTEN_CHARS)
    assert sum(len(piece.text) for piece in told if isinstance(piece, Text)) > MAX_WRITTEN_CHARS
