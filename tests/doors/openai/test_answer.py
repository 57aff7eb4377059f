"""What readers get from whom nothing can be taken back."""

import random

import pytest

from chat.doors.openai.answer import RULE, Answer, Sent
from chat.protocol.events import (
    AgentComplete,
    AgentOutput,
    AgentStart,
    ReasoningCompleted,
    ReasoningDelta,
    StreamEvent,
    ToolStart,
)
from chat.protocol.payloads import AgentTask, AgentTiming, ToolCallData


def test_answer_that_only_grows_is_sent_piece_by_piece() -> None:
    sent = Sent()
    assert [sent.add("One"), sent.add(" two"), sent.end_with("One two")] == ["One", " two", ""]


def test_answer_that_was_taken_back_is_followed_by_a_rule() -> None:
    sent = Sent()
    pieces = [sent.add("I don't"), sent.become(""), sent.add("It is"), sent.add(" 42.")]
    pieces.append(sent.end_with("It is 42."))
    assert pieces == ["I don't", "", f"{RULE}It is", " 42.", ""]
    assert sent.before == len("I don't" + RULE)


def test_answer_that_is_written_anew_with_the_same_words_is_not_repeated() -> None:
    sent = Sent()
    pieces = [sent.add("It is 4"), sent.become("It"), sent.add(" is"), sent.add(" 42.")]
    assert pieces == ["It is 4", "", "", "2."]
    assert (sent.before, sent.shown) == (0, "It is 42.")


def test_end_that_is_shorter_than_what_was_sent_is_told() -> None:
    sent = Sent()
    assert [sent.add("It is 42."), sent.become("It"), sent.end_with("It")] == [
        "It is 42.",
        "",
        f"{RULE}It",
    ]


@pytest.mark.parametrize("seed", range(50))
def test_readers_have_the_answer_at_the_end_whatever_came_before(seed: int) -> None:
    chance = random.Random(seed)
    sent, received, text = Sent(), "", ""
    for _ in range(chance.randrange(30)):
        if chance.random() < 0.2:
            text = chance.choice(["", text[: len(text) // 2], "ab", text + "ab"])
            received += sent.become(text)
        else:
            delta = chance.choice("ab")
            text += delta
            received += sent.add(delta)
    received += sent.end_with(text)
    assert received[sent.before :] == text
    assert sent.text == text


def thoughts(*events: StreamEvent, with_steps: bool = True) -> str:
    answer = Answer(with_steps=with_steps)
    return "".join(piece.text for event in events for piece in answer.take(event))


def start(agent: str, task: str = "") -> AgentStart:
    return AgentStart(agent_id=agent, author=agent.capitalize(), data=AgentTask(task))


def thinks(agent: str, delta: str) -> ReasoningDelta:
    return ReasoningDelta(delta=delta, agent_id=agent)


def output(agent: str, message: str) -> AgentOutput:
    return AgentOutput(agent_id=agent, author=agent.capitalize(), message=message)


def ends(agent: str) -> AgentComplete:
    return AgentComplete(agent_id=agent, author=agent.capitalize(), data=AgentTiming(1))


def test_agents_that_think_side_by_side_are_read_one_after_the_other() -> None:
    assert (
        thoughts(
            start("researcher", "find it"),
            start("analyst", "count it"),
            thinks("researcher", "One "),
            thinks("analyst", "1 + 1"),
            thinks("researcher", "two"),
            thinks("analyst", " = 2"),
            ReasoningCompleted(agent_id="researcher"),
            output("researcher", "One two"),
            ReasoningCompleted(agent_id="analyst"),
            output("analyst", "1 + 1 = 2"),
        )
        == "Researcher: find it\nAnalyst: count it\nResearcher: One two\nAnalyst: 1 + 1 = 2\n"
    )


def test_output_that_was_not_read_yet_is_a_line() -> None:
    long = "word " * 100
    line = thoughts(start("writer"), output("writer", f"a\n{long}"))
    assert line.startswith("Writer: a word word")
    assert len(line) <= 201


def test_tools_are_lines_with_their_server() -> None:
    for tool, words in (("shop__read_all", "Read all (shop): M4"), ("look_up", "Look up: M4")):
        call = ToolCallData(tool=tool, call_id="1", arguments={"article": "M4"})
        assert thoughts(ToolStart(data=call, agent_id="clerk", author="Clerk")) == f"{words}\n"


def test_agent_that_was_cut_gives_the_floor_back() -> None:
    told = thoughts(
        start("researcher"),
        start("analyst"),
        thinks("researcher", "One"),
        thinks("analyst", "2"),
        ends("researcher"),
    )
    assert told == "Researcher: One\nAnalyst: 2\n"


def test_without_steps_only_the_thinking_is_left() -> None:
    told = thoughts(
        start("assistant", "a task"),
        thinks("assistant", "Hm."),
        output("assistant", "Hm."),
        with_steps=False,
    )
    assert told == "Hm."
