"""A new kind of event needs its struct with a hint, and a partial. The rest follows."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from django.conf import settings as django_settings
from django.test import override_settings

from chat.protocol import events
from chat.protocol.events import AnyEvent, StreamEvent, UiHint
from chat.protocol.terms import SUBPROTOCOL_HTML
from chat.workflow.light import Light
from tests.chatting import Chatting, Event, chat_request
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)


class Weather(StreamEvent, tag="weather.changed"):
    """What the weather is."""

    message: str

    def summary(self) -> str:
        return "weather"


PARTIAL = (
    "{% partialdef weather_changed %}"
    '<p id="run-{{ answer.workflow_id }}-weather" hx-swap-oob="true">{{ event.message }}</p>'
    "{% endpartialdef %}"
)


@pytest.fixture
def weather(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the event at its places, and a step that sends it."""
    monkeypatch.setitem(events.HINTS, Weather, ("step", UiHint("timeline")))
    monkeypatch.setitem(events.TYPE_OF, Weather, "weather.changed")
    decoder = msgspec.json.Decoder(AnyEvent | Weather)
    monkeypatch.setattr(events, "_event_decoder", decoder)
    answer = Light.answer

    async def answer_with_weather(light: Light) -> str | None:
        light.work.tell(Weather(message="Rain"))
        return await answer(light)

    monkeypatch.setattr(Light, "answer", answer_with_weather)


@pytest.fixture
def _partial() -> Iterator[None]:
    source = (Path(django_settings.BASE_DIR) / "templates/chat/stream.html").read_text()
    templates = [
        {
            **django_settings.TEMPLATES[0],
            "APP_DIRS": False,
            "OPTIONS": {
                **django_settings.TEMPLATES[0]["OPTIONS"],
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {"chat/stream.html": source + PARTIAL},
                    ),
                    "django.template.loaders.filesystem.Loader",
                    "django.template.loaders.app_directories.Loader",
                ],
            },
        }
    ]
    with override_settings(TEMPLATES=templates):
        yield


def found(received: list[Event]) -> Event:
    [event] = [event for event in received if event["type"] == "weather.changed"]
    return event


@pytest.mark.usefixtures("weather")
async def test_new_event_reaches_json_clients_with_its_envelope(
    chat: Chatting, model: ScriptedModel
) -> None:
    received = await chat.answer(chat_request(mode="light"))
    event = found(received)
    assert (event["message"], event["category"]) == ("Rain", "step")
    assert event["ui_hint"]["component"] == "timeline"
    assert event["workflow_id"] == received[0]["workflow_id"]
    assert [event["seq"] for event in received] == list(range(1, len(received) + 1))


@pytest.mark.usefixtures("weather", "_partial")
async def test_new_event_reaches_pages_through_its_partial(
    chat: Chatting, model: ScriptedModel
) -> None:
    received = await chat.answer(chat_request(mode="light"), subprotocol=SUBPROTOCOL_HTML)
    event = found(received)
    place = f'id="run-{event["workflow_id"]}-weather" hx-swap-oob="true">Rain</p>'
    assert place in event["html"]


@pytest.mark.usefixtures("weather", "_partial")
async def test_new_event_is_replayed_from_the_stored_log(
    chat: Chatting, model: ScriptedModel
) -> None:
    request = chat_request(mode="light")
    first = await chat.answer(request)
    again = await chat.answer({**request, "after": 1})
    assert found(again)["seq"] == found(first)["seq"]
