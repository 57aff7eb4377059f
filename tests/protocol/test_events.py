"""Every type of event has its hint, its html, and its row in the documentation; what is encoded can be read back."""

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
def test_every_type_has_a_hint(kind: type[StreamEvent]) -> None:
    category, hint = HINTS[kind]
    assert category
    assert hint.component


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=IDS)
def test_every_type_has_a_row_in_the_documentation(kind: type[StreamEvent]) -> None:
    assert re.search(rf"^\| `{re.escape(TYPE_OF[kind])}` \|", WIRE.read_text(), re.MULTILINE)


def test_the_documentation_has_no_row_of_a_type_that_is_gone() -> None:
    section = WIRE.read_text().split("\n## Events")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z.]+)` \|", section, re.MULTILINE)) == set(IDS)


def test_html_joins_the_encoded_event_as_a_field() -> None:
    event = ResponseDelta(delta='"quoted" \u2028')
    stamp(event, seq=3, workflow_id="w")
    payload = with_html(encode(event), '<b id="x">\n</b>')
    assert decode(payload) == event
    assert payload.endswith(b',"html":"<b id=\\"x\\">\\n</b>"}')


def test_log_lines_hold_no_words_of_the_answer() -> None:
    event = ResponseDelta(delta="secret words")
    stamp(event, seq=1, workflow_id="w")
    assert event.log_line == "run=w seq=1 response.delta 12 characters"
