"""English sentences of events and rows, in the language of a page."""

from collections.abc import Iterator
from time import thread_time

import pytest
from django.utils import translation

from chat.llm.faults.verdicts import HANDLING, Kind, sentence_of
from chat.protocol import errors
from chat.workflow import light, said, team
from tooling.sentences import localized


@pytest.fixture
def german() -> Iterator[None]:
    with translation.override("de"):
        yield


@pytest.mark.parametrize(
    ("english", "german_text"),
    [
        (errors.IDLE_TIMEOUT.message, "Das Modell hat nicht rechtzeitig geantwortet. Was bisher"),
        # Numbers get the separators of the language.
        (said.CUT_BY_US % {"tokens": "12,000"}, "Die Antwort hat die Grenze von 12.000 Tokens"),
        # A value may be a sentence itself.
        (
            light.REACHED_LIMIT % {"cap": "3 rounds of model calls"},
            "die leichte Antwort erreichte die Grenze: 3 Runden von Modellaufrufen",
        ),
        # The longest template that fits wins.
        (
            team.CAP_IN_RESEARCH % {"cap": "9 seconds", "agents": "writer"},
            "Die Grenze ist erreicht: 9 Sekunden. Nicht erledigt: writer.",
        ),
        (sentence_of(Kind.RATE_LIMITED, None), "Das Modell ist ausgelastet. Versuch es gleich"),
        (sentence_of(Kind.RATE_LIMITED, 20), "ausgelastet. Versuch es in 20 s noch einmal."),
        # Words of a server stay as they are.
        (
            f'{HANDLING[Kind.WRONG_KEY].sentence} The server says: "No. Go away." Unknown words.',
            "den Schlüssel abgelehnt. Der Server sagt: „No. Go away.“ Unknown words.",
        ),
        ("No sentence of ours.", "No sentence of ours."),
        ("", ""),
    ],
)
def test_known_sentences_are_translated(german: None, english: str, german_text: str) -> None:
    assert german_text in localized(english)


@pytest.mark.parametrize("kind", Kind)
def test_what_readers_and_operators_see_of_an_error_is_translated(german: None, kind: Kind) -> None:
    handling = HANDLING[kind]
    advice = handling.advice % {"server": "gpu-7:8000", "model": "qwen"}
    shown = localized(f"{handling.sentence} {advice}")
    assert handling.words not in shown
    assert advice not in shown
    assert "gpu-7:8000" in shown


def test_english_readers_get_the_text_itself() -> None:
    text = errors.UNFIT_ARGUMENTS % {"faults": "no city"}
    assert localized(text) is text


def test_placeholders_in_values_are_not_filled(german: None) -> None:
    assert "%(count)s %s" in localized(errors.UNFIT_ARGUMENTS % {"faults": "%(count)s %s"})


@pytest.mark.parametrize("words", ["a. ", ". ", "Redis answers again. ", "3 could not finish: "])
def test_long_words_of_a_model_are_looked_at_in_little_time(german: None, words: str) -> None:
    text = words * 8000
    began = thread_time()
    assert localized(text).endswith(words * 7000)
    assert thread_time() - began < 1
