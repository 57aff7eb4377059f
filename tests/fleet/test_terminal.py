"""What a person at a terminal is shown, and how lines become replies."""

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from agenticfleet.terminal import Left, Questioner
from chat.doors.client.protocol import AskData, AskOpened
from chat.protocol.terms import Reply

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Terminal:
    """Lines that a person types, and what was shown meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read, self.write = os.pipe()
        self.stdin = os.fdopen(read, encoding="utf-8")
        monkeypatch.setattr("sys.stdin", self.stdin)
        self.shown: list[str] = []
        self.questioner = Questioner(self.shown.append, self.shown.append)

    async def replies(self, *lines: str | bytes, **ask: Any) -> Reply:
        """Type these lines, and return the reply."""
        typed = [line if isinstance(line, bytes) else line.encode() for line in lines]
        # The next line can be typed only once the one before was read, as at a terminal.
        pending = iter(typed)
        prompt = self.questioner._prompt

        def answer(words: str) -> None:
            prompt(words)
            os.write(self.write, next(pending) + b"\n")

        self.questioner._prompt = answer
        return await self.questioner.reply_to(asked(**ask))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal(monkeypatch)
    yield terminal
    terminal.stdin.close()
    os.close(terminal.write)


def asked(**fields: Any) -> AskOpened:
    given = {
        "ask_id": uuid.uuid4(),
        "kind": "approval",
        "tool": "refund",
        "arguments": {"n": 1},
        "schema": SCHEMA,
        "message": "May I?",
    }
    if fields.get("kind") == "question":
        given |= {"tool": "", "arguments": {}, "options": ["Oslo", "Rome"]}
    return AskOpened(agent_id="clerk", author="Clerk", data=AskData(**given | fields))


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["a"], {"decision": "approve"}),
        (["A"], {"decision": "approve"}),
        (["", "q", "approve"], {"decision": "approve"}),
        (["k"], {"decision": "approve", "remember": True}),
        (["r", ""], {"decision": "refuse"}),
        (["r", " No. "], {"decision": "refuse", "text": "No."}),
        (["w"], {"decision": "withdraw"}),
        (["e", '{"n": 2}'], {"decision": "edit", "arguments": {"n": 2}}),
        (["e", "", "a"], {"decision": "approve"}),
        (["e", "[", "[1]", "{}", '{"n": "x"}', '{"n": 3}'], {"decision": "edit"}),
        (["r", b"caf\xe9"], {"decision": "refuse"}),
        (["r", b"a\0b"], {"decision": "refuse", "text": "ab"}),
    ],
)
async def test_lines_decide_about_a_call(
    terminal: Terminal, lines: list[str | bytes], reply: dict[str, Any]
) -> None:
    found = await terminal.replies(*lines)
    assert {name: getattr(found, name) for name in reply} == reply


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["2"], {"decision": "answer", "text": "Rome"}),
        (["", "3"], {"decision": "answer", "text": "3"}),
        (["Somewhere else"], {"decision": "answer", "text": "Somewhere else"}),
        (["r"], {"decision": "refuse"}),
        (["w"], {"decision": "withdraw"}),
    ],
)
async def test_lines_answer_a_question(
    terminal: Terminal, lines: list[str | bytes], reply: dict[str, Any]
) -> None:
    found = await terminal.replies(*lines, kind="question")
    assert {name: getattr(found, name) for name in reply} == reply
    assert terminal.shown[:3] == ["Clerk asks: May I?", "1. Oslo", "2. Rome"]


async def test_unsure_act_is_done_again_or_left(terminal: Terminal) -> None:
    assert (await terminal.replies("e", "a", kind="unsure")).decision == "approve"
    assert "[e]dit" not in " ".join(terminal.shown)


async def test_faults_of_arguments_are_shown(terminal: Terminal) -> None:
    await terminal.replies("e", '{"n": "x"}', '{"n": "\\u0000"}', "{}", '{"n": 3}')
    shown = "\n".join(terminal.shown)
    for fault in ("`n`: 'x' is not of type 'integer'", "NUL", "'n' is a required property"):
        assert fault in shown


async def test_hidden_characters_of_arguments_are_shown_as_escapes(terminal: Terminal) -> None:
    await terminal.replies("a", arguments={"to": "a\u202e\x1b[31m\u200bb"})
    assert terminal.shown[1] == 'refund {"to":"a\\u202e\\u001b[31m\\u200bb"}'


async def test_call_for_staff_can_only_be_withdrawn_or_left(terminal: Terminal) -> None:
    found = await terminal.replies("a", "w", approver="perm:shop.refund")
    assert found.decision == "withdraw"
    assert "staff with the permission shop.refund" in " ".join(terminal.shown)


async def test_end_of_input_leaves_everything_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch)
    os.close(terminal.write)
    with terminal.stdin, pytest.raises(Left):
        await terminal.questioner.reply_to(asked())


async def test_withdrawal_answers_for_all_asks(terminal: Terminal) -> None:
    os.write(terminal.write, b"w\n")
    asks = [asked(), asked()]
    [reply] = await terminal.questioner.replies_to(asks)
    assert (reply.ask_id, reply.decision) == (asks[0].data.ask_id, "withdraw")


FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Your name", "description": "As in the passport"},
        "people": {"type": "integer", "maximum": 9},
        "window": {"type": "boolean"},
        "room": {"type": "string", "oneOf": [{"const": "in", "title": "Inside"}]},
        "extras": {"type": "array", "items": {"type": "string", "enum": ["wine", "bread"]}},
    },
    "required": ["name", "window"],
    "additionalProperties": False,
    "propertyOrder": ["name", "people", "window", "room", "extras"],
}


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (
            ["f", "", "Ada", "many", "4", "maybe", "no", "2", "inside", "2, wine"],
            {
                "name": "Ada",
                "people": 4,
                "window": False,
                "room": "in",
                "extras": ["bread", "wine"],
            },
        ),
        (["f", "Ada", "", "y", "", ""], {"name": "Ada", "people": 2, "window": True}),
        # What doesn't fit is filled in once more.
        (["f", "A", "99", "y", "", "", *["Ada", "3", "y", "", ""]], {"people": 3}),
    ],
)
async def test_lines_fill_in_a_form(
    terminal: Terminal, lines: list[str | bytes], reply: dict[str, Any]
) -> None:
    fields = {"kind": "form", "tool": "shop__book", "schema": FORM, "arguments": {"people": 2}}
    found = await terminal.replies(*lines, **fields)
    assert found.decision == "answer"
    assert found.arguments
    assert {name: found.arguments[name] for name in reply} == reply
    assert terminal.shown[0] == "shop asks: May I?"
    assert "Your name: As in the passport" in terminal.shown


@pytest.mark.parametrize(
    ("line", "decision", "arguments"),
    [("d", "answer", {}), ("r", "refuse", None), ("w", "withdraw", None)],
)
async def test_page_of_a_form_is_shown_and_never_opened(
    terminal: Terminal, line: str, decision: str, arguments: Any
) -> None:
    schema = {"type": "object", "properties": {}}
    reply = await terminal.replies(
        line, kind="form", tool="pay", schema=schema, arguments={}, url="https://pay.example/7"
    )
    assert (reply.decision, reply.arguments) == (decision, arguments)
    assert "The page to open is https://pay.example/7" in terminal.shown
