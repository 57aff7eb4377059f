"""What a paused run asks: its cards, and the answer that goes on in the same article."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chat.protocol.events import (
    AgentStart,
    AnyEvent,
    AskClosed,
    Connected,
    PhaseStart,
    ResponseDelta,
    ResponseSnapshot,
    ending_events,
)
from chat.protocol.payloads import AskClosedData, ConnectedData, SnapshotData
from chat.protocol.terms import AskData, Asked, Ending, Summary, Timings, Usage, paused
from chat.rendering.answer import AnswerView
from chat.rendering.asks import AskView, closed_words
from chat.rendering.earlier import Earlier
from tooling.results import NeedsInput

from .events import (
    ASK,
    CONVERSATION,
    MESSAGE,
    RUN,
    SAMPLES,
    TIMINGS,
    USAGE,
    WHO,
    called,
    completed,
    is_delta,
    numbered,
    searched,
)
from .page import Node, Page, history_page, shown, text_of

NEXT_RUN = "0b5f3c1e-0000-4000-8000-000000000009"
STEPS: list[AnyEvent] = [SAMPLES[PhaseStart], AgentStart(**WHO)]


def ask(**fields: Any) -> AskView:
    """Return the sample with other fields of its data."""
    given = {name: getattr(ASK, name) for name in ASK.__struct_fields__}
    return AskView("Researcher", AskData(**given | fields))


def ending_of(*asks: AskView) -> Ending:
    asked = [Asked(**WHO, name=str(each.data.ask_id), data=each.data) for each in asks]
    return paused(asked).with_figures(Summary(timings=TIMINGS, usage=USAGE))


def paused_page(*asks: AskView, text: str = "") -> Page:
    words = [ResponseDelta(delta=text)] if text else []
    page, _ = shown(*STEPS, *words, *ending_events(ending_of(*asks), text))
    return page


def paused_history(*asks: AskView, text: str = "") -> Page:
    steps = numbered([SAMPLES[Connected], *STEPS])
    return history_page(AnswerView.of_record(RUN, steps, text, ending_of(*asks), asks=asks))


def asks_of(page: Page) -> str:
    return text_of(page.part("asks"))


@pytest.mark.parametrize("text", ["", "So far."])
def test_paused_answer_is_the_same_in_history(text: str) -> None:
    asks = ask(), ask(ask_id=uuid.uuid4(), kind="question", message="Where?", options=["EU", "US"])
    page, history = paused_page(*asks, text=text), paused_history(*asks, text=text)
    for name in ("activity", "body", "asks", "outcome", "end"):
        assert page.part(name) == history.part(name), name
    assert text_of(page.part("outcome")) == ", waiting for you"


def test_steps_at_work_are_shown_as_waiting() -> None:
    assert "waiting" in text_of(paused_page(ask()).part("agent-researcher"))
    assert 'class="step-head waiting"' in paused_page(ask()).part("agent-researcher")


def test_card_of_an_approval_has_its_arguments_and_choices() -> None:
    words = asks_of(paused_page(ask()))
    assert words.startswith(
        "Researcher wants to search the web for “kafka”. Query kafka Approve Change"
    )
    assert "Remember for this chat" in words
    assert "Take the question back" in words
    assert "Ask again" not in text_of(paused_page(ask()).part("end"))


def test_card_of_a_question_has_its_options_and_a_place_for_other_words() -> None:
    page = paused_page(
        ask(kind="question", message="Where?", arguments={}, schema={}, options=["EU"])
    )
    assert asks_of(page).startswith("Researcher asks Where? EU Or in your words Answer Leave it")


def test_card_of_an_unsure_act_cannot_be_remembered() -> None:
    words = asks_of(paused_page(ask(kind="unsure", message="It may have been done.")))
    assert "Do it again Leave it" in words
    assert "Remember" not in words
    assert "Change" not in words


FORM = NeedsInput(
    "**For** how many?",
    {
        "properties": {
            "name": {"type": "string", "title": "Name"},
            "at": {"type": "string", "format": "date-time", "default": "2026-12-24T18:00:00Z"},
            "people": {"type": "integer", "minimum": 1, "description": "At most 9", "default": 2},
            "room": {"type": "string", "oneOf": [{"const": "in", "title": "Inside"}]},
            "extras": {"type": "array", "items": {"enum": ["wine"]}, "default": ["wine"]},
        },
        "required": ["name"],
    },
).form


def form(**fields: Any) -> AskView:
    given = {"message": FORM.message, "schema": FORM.schema, "arguments": FORM.defaults}
    return ask(**{"kind": "form", "tool": "shop__book", **given} | fields)


def test_card_of_a_form_says_whose_words_it_has_and_which_fields() -> None:
    words = asks_of(paused_page(form()))
    assert words.startswith(
        "shop asks **For** how many? Name (required) At People At most 9 Room Inside Extras wine"
        " Answer Refuse"
    )
    name, at, people, room, extras = form().form_fields
    assert (name.kind, name.is_required, people.is_required) == ("lines", True, False)
    assert (people.value, people.bounds) == ("2", {"min": "1", "step": "1"})
    assert (at.type, at.value) == ("datetime-local", "")
    assert [option.is_chosen for option in [*room.options, *extras.options]] == [False, True]


def test_card_of_a_call_names_the_server_of_its_tool() -> None:
    words = asks_of(
        paused_page(ask(tool="shop__send_mail", arguments={"to": [{"a": 1}]}, schema={}))
    )
    assert words.startswith("Researcher wants to use Send mail (shop). To")


def test_page_that_a_tool_asks_to_open_is_a_link_only_if_it_is_one() -> None:
    page = paused_page(form(schema={}, arguments={}, url="https://pay.example/7"))
    assert "Open pay.example https://pay.example/7 I am done there" in asks_of(page)
    evil = paused_page(form(schema={}, arguments={}, url="javascript:alert(1)"))
    assert "javascript" not in evil.part("asks")


def test_reader_cannot_decide_what_waits_for_somebody_else() -> None:
    other = ask(approver="perm:shop.refund")
    page = paused_page(ask(ask_id=uuid.uuid4()), other)
    words = asks_of(page)
    assert "This waits for somebody else to decide." in words
    assert "Approve" not in words
    assert "Take the question back" in words
    assert text_of(page.part("outcome")) == ", waiting for somebody else"


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (timedelta(days=14), "Expires in 14 days"),
        (timedelta(hours=3), "Expires in 3 h"),
    ],
)
def test_card_says_when_it_expires(after: timedelta, words: str) -> None:
    expires_at = (datetime.now(UTC) + after).isoformat()
    assert words in asks_of(paused_page(ask(expires_at=expires_at)))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("expired", "This has waited too long for a reply. Nothing was done."),
        ("withdrawn", "You took the question back."),
        ("approved", "You approved Web search."),
    ],
)
def test_answer_that_waits_no_longer_says_why(state: Any, words: str) -> None:
    closed = AskView("Researcher", ASK, state)
    page = paused_history(closed)
    assert asks_of(page) == ""
    assert text_of(page.part("end")).startswith(words)
    assert "Ask again" in text_of(page.part("end"))
    assert text_of(page.part("outcome")) == ", no longer waiting"


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("web_search", {"query": "kafka"}, "Researcher wants to search the web for “kafka”."),
        ("web_search", {}, "Researcher wants to use Web search."),
        ("clock", {}, "Researcher wants to use Clock."),
        ("shop__order", {"article": "M4"}, "Researcher wants to use Order (shop)."),
    ],
)
def test_card_says_who_wants_what(tool: str, arguments: dict[str, Any], words: str) -> None:
    assert ask(tool=tool, arguments=arguments).sentence == words


KINDS: list[tuple[object, object, str, str]] = [
    ({"type": "string"}, "kafka", "text", "kafka"),
    ({"type": "string"}, 7, "json", "7"),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, "text", ""),
    ({"type": "integer"}, 7, "number", "7"),
    ({"type": "number"}, 0.5, "number", "0.5"),
    ({"type": "integer"}, True, "json", "true"),
    ({"type": "boolean"}, True, "switch", "true"),
    ({"type": "boolean"}, False, "switch", ""),
    ({"enum": ["a", "b"]}, "a", "choice", "a"),
    ({"enum": ["a", "b"]}, "c", "json", '"c"'),
    ({"type": "array", "items": {"type": "string"}}, ["a", "b"], "lines", "a\nb"),
    ({"type": "array", "items": {"type": "string"}}, ["a\nb"], "json", '[\n  "a\\nb"\n]'),
    ({"type": "object"}, {"a": 1}, "json", '{\n  "a": 1\n}'),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "a", "json", '"a"'),
    ({"type": ["string", "null"]}, "a", "json", '"a"'),
    ({"anyOf": "?"}, None, "json", "null"),
    (True, "a", "json", '"a"'),
    ("nonsense", None, "json", "null"),
]


@pytest.mark.parametrize(("spec", "value", "kind", "text"), KINDS)
def test_field_of_an_argument(spec: object, value: object, kind: str, text: str) -> None:
    (field,) = ask(schema={"properties": {"x": spec}}, arguments={"x": value}).fields
    assert (field.kind, field.value, field.is_set) == (kind, text, True)


def test_fields_are_those_of_the_schema_and_what_the_model_added() -> None:
    schema = {"properties": {"query": {"type": "string"}, "topic": {"type": "string"}}}
    fields = ask(schema=schema, arguments={"more": [1], "query": "kafka"}).fields
    assert [(field.label, field.is_set) for field in fields] == [
        ("Query", True),
        ("Topic", False),
        ("More", True),
    ]
    # As PostgreSQL returns them: in the order of their lengths.
    schema = {"properties": {"to": {}, "query": {}}, "propertyOrder": ["query", "gone", "to"]}
    fields = ask(schema=schema, arguments={"to": 1, "query": "kafka"}).fields
    assert [field.name for field in fields] == ["query", "to"]
    assert [field.name for field in ask(schema={"properties": []}, arguments={"a": 1}).fields] == [
        "a"
    ]


def test_words_of_models_and_servers_are_escaped_in_cards() -> None:
    evil = '"><img src=x onerror=alert(1)></textarea><script>'
    spec: dict[str, Any] = {"type": "string", "description": evil}
    titled = {"type": "string", "title": evil, "description": evil, "enum": [evil]}
    assert not tags_of(
        paused_page(form(message=evil, tool=evil, schema={"properties": {evil: titled}})).root
    ) & {"img", "script"}
    for kind in ("approval", "question", "unsure"):
        asked = ask(
            kind=kind,
            message=evil,
            tool=evil,
            options=[evil],
            arguments={evil: evil, "choice": evil, "json": {evil: evil}},
            schema={"properties": {evil: spec, "choice": {"enum": [evil]}}},
        )
        assert not tags_of(paused_page(asked).root) & {"img", "script"}


def tags_of(node: Node) -> set[str]:
    inside = [tags_of(child) for child in node.children if isinstance(child, Node)]
    return {node.tag}.union(*inside)


@pytest.mark.parametrize(
    ("kind", "decision", "fields", "words"),
    [
        ("approval", "approve", {}, "You approved Web search."),
        ("approval", "edit", {"edited": True}, "You approved Web search, with changes."),
        ("approval", "refuse", {}, "You refused Web search."),
        ("approval", "approve", {"by": "staff"}, "Somebody else approved Web search."),
        ("question", "answer", {}, "You answered."),
        ("question", "refuse", {}, "You left the question open."),
        ("unsure", "approve", {}, "You had Web search done again."),
        ("unsure", "refuse", {}, "You left Web search as it was."),
        ("form", "answer", {}, "You answered."),
        ("form", "refuse", {}, "You left the question open."),
        ("approval", "withdraw", {}, "You took the question back."),
    ],
)
def test_decision_as_a_sentence(
    kind: str, decision: Any, fields: dict[str, Any], words: str
) -> None:
    tool = "" if kind == "question" else "web_search"
    data = AskClosedData(ask_id=ASK.ask_id, decision=decision, **fields)
    assert closed_words(ask(kind=kind, tool=tool), data) == words


def test_decision_quotes_what_the_person_wrote() -> None:
    asked = AskView("Researcher", ask(kind="question", tool="").data, "answered", "European Union")
    data = AskClosedData(ask_id=ASK.ask_id, decision="answer")
    assert closed_words(asked, data) == "You answered: “European Union”"


# --- The run that goes on

EARLIER = Earlier(
    RUN,
    steps=numbered([SAMPLES[Connected], *STEPS])[1:],
    asks=[ask()],
    figures=[Summary(timings=Timings(total_ms=2000), usage=Usage(model_calls=2))],
)
GONE_ON: list[AnyEvent] = [
    Connected(data=ConnectedData(CONVERSATION, MESSAGE, uuid.UUID(RUN))),
    ResponseSnapshot(data=SnapshotData("So far.")),
    AskClosed(data=AskClosedData(ask_id=ASK.ask_id, decision="approve")),
    called(query="kafka"),
    searched(),
    ResponseDelta(delta=" And more."),
]


def test_run_that_goes_on_is_shown_in_the_article_of_the_paused_one() -> None:
    page = paused_page(ask(), text="So far.")
    view = AnswerView(NEXT_RUN, earlier=EARLIER)
    page.show(view.render(GONE_ON[0]))
    assert text_of(page.part("body")) == "So far."
    assert asks_of(page) == ""
    assert text_of(page.part("end")) == ""
    assert text_of(page.part("outcome")) == ""
    assert "Researcher is working" in text_of(page.part("activity"))
    assert 'class="step-head running"' in page.part("agent-researcher")
    for event in GONE_ON[1:]:
        page.show(view.render(event))
    assert text_of(page.part("body")) == "So far. And more."
    assert "You approved Web search." in text_of(page.part("timeline"))
    assert "kafka" in text_of(page.part("agent-researcher"))


def test_answer_that_went_on_is_the_same_in_history() -> None:
    events = [*GONE_ON, *completed("So far. And more.", "full")]
    page = paused_page(ask(), text="So far.")
    view = AnswerView(NEXT_RUN, earlier=EARLIER)
    for event in numbered(events):
        page.show(view.render(event))
    ending = Ending(status="completed", timings=TIMINGS, usage=USAGE, path="full")
    steps = [e for e in events[:-2] if not is_delta(e) and not isinstance(e, ResponseSnapshot)]
    record = AnswerView.of_record(NEXT_RUN, steps, "So far. And more.", ending, earlier=EARLIER)
    history = history_page(record)
    for name in ("activity", "timeline", "body", "asks", "outcome", "end"):
        assert page.part(name) == history.part(name), name


def test_figures_are_those_of_all_runs_together() -> None:
    ending = Ending(status="completed", timings=TIMINGS, usage=USAGE, path="full", cost=0.5)
    whole = EARLIER.with_their_figures(ending)
    assert whole.timings.total_ms == 2000 + 1234
    assert whole.usage.model_calls == 2 + USAGE.model_calls
    assert whole.cost is None  # that of the first run isn't known


def test_answer_says_that_its_question_was_taken_back() -> None:
    events: list[AnyEvent] = [
        GONE_ON[0],
        AskClosed(data=AskClosedData(ask_id=ASK.ask_id, decision="withdraw")),
        *ending_events(Ending(status="cancelled"), ""),
    ]
    page, view = paused_page(ask()), AnswerView(NEXT_RUN, earlier=EARLIER)
    for event in events:
        page.show(view.render(event))
    assert text_of(page.part("end")).startswith("You took the question back.")
    assert text_of(page.part("outcome")) == ", stopped"
