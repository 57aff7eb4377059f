"""Every event has a hint and a row in the documentation; encoded events can be decoded."""

import re
from pathlib import Path

import pytest

from chat.protocol.events import (
    EVENT_TYPES,
    HINTS,
    TYPE_OF,
    ResponseDelta,
    StreamEvent,
    decode,
    encode,
    stamp,
    with_html,
)

WIRE = Path(__file__).parent.parent.parent / "chat/protocol/README.md"
IDS = [TYPE_OF[kind] for kind in EVENT_TYPES]


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=IDS)
def test_every_event_has_a_hint(kind: type[StreamEvent]) -> None:
    category, hint = HINTS[kind]
    assert category
    assert hint.component


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=IDS)
def test_every_event_has_a_row_in_the_documentation(kind: type[StreamEvent]) -> None:
    assert re.search(rf"^\| `{re.escape(TYPE_OF[kind])}` \|", WIRE.read_text(), re.MULTILINE)


def test_documentation_has_no_rows_of_unknown_events() -> None:
    section = WIRE.read_text().split("\n## Events")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z.]+)` \|", section, re.MULTILINE)) == set(IDS)


def test_html_is_added_to_an_encoded_event_as_a_field() -> None:
    event = ResponseDelta(delta='"quoted" \u2028')
    stamp(event, seq=3, workflow_id="w")
    payload = with_html(encode(event), '<b id="x">\n</b>')
    assert decode(payload) == event
    assert payload.endswith(b',"html":"<b id=\\"x\\">\\n</b>"}')


def test_log_line_contains_no_text_of_the_answer() -> None:
    event = ResponseDelta(delta="secret words")
    stamp(event, seq=1, workflow_id="w")
    assert event.log_line == "run=w seq=1 response.delta 12 characters"
