"""What readers must not see is hidden; words that only look like it stay."""

import time

import pytest

from chat.llm.faults.redaction import HIDDEN, without_keys, without_places


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-4f9aQz81LmN0",
        "sk-ab***********wxyz",
        "gsk_9LmN0pQrS7tUvW",
        "AIzaSyD0abcdefgh1234",
        "eyJhbGciOi.eyJzdWIiOi.c2ln",
        "4f9aQz81LmN04f9aQz81LmN04f9aQz81LmN0",
        "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
    ],
)
def test_keys_are_hidden(key: str) -> None:
    for words in (f"The key {key} is wrong.", f"Wrong: {key}", f'{{"k":"{key}"}}'):
        assert key not in without_keys(words)
        assert key[-8:] not in without_keys(words)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("Incorrect API key provided: x9.", f"Incorrect API key provided: {HIDDEN}"),
        ("Authorization: Bearer abc", f"Authorization: {HIDDEN}"),
        ("sent Bearer abc", f"sent Bearer {HIDDEN}"),
        ("password=hunter2, sorry", f"password={HIDDEN}, sorry"),
        ("the key hoot-hoot", f"the key {HIDDEN}"),
    ],
)
def test_marked_keys_and_those_passed_in_are_hidden(words: str, left: str) -> None:
    assert without_keys(words, ["hoot-hoot", "", "a"]) == left


@pytest.mark.parametrize(
    "place",
    [
        "http://10.0.0.3:8000/v1/chat?k=1",
        "https://user:word@models.example/v1",
        "10.0.0.3",
        "10.0.0.3:8000",
        "[::1]:80",
        "fe80::1",
        "2001:db8:1:2:3:4:5:6",
        "localhost:1234",
        "api.models.example.com",
        "gw.corp:443",
        "vllm-0:8000",
        "vllm-0.ml.svc:8000",
        "vllm:80",
        "models.firma.ch",
        "llm.acme.se:8080",
        "me.you@models.example",
    ],
)
def test_places_are_hidden(place: str) -> None:
    assert without_places(f"asked {place} in vain") == f"asked {HIDDEN} in vain"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("owlbox fell", f"{HIDDEN} fell"),
        ("gw.owl.ch:8000 fell", f"{HIDDEN} fell"),
        ("It was gw.owl.ch:8000.", f"It was {HIDDEN}."),
        ("owlboxes and an owlbox-like thing", "owlboxes and an owlbox-like thing"),
    ],
)
def test_given_places_are_hidden(words: str, left: str) -> None:
    assert without_places(words, ["gw.owl.ch:8000", "owlbox"]) == left


@pytest.mark.parametrize(
    "words",
    [
        "n < 3, limit:6000, at 12:30:45, see std::vector",
        "gpt-4.1 and meta-llama/Llama-3.3-70B-Instruct-Turbo and claude-3-5-sonnet-20241022",
        "litellm.BadRequestError: messages.0.content is 8192 tokens, not max_completion_tokens: 9",
        'model "llama3:8b" not found, try pulling it first',
        "Please try again in 2.6s. Limit 10,000.",
        "It is not supported.Use model.py or message.id, at line:80 of llama3:70b",
    ],
)
def test_other_words_stay(words: str) -> None:
    assert without_places(without_keys(words)) == words


@pytest.mark.parametrize("part", ["a", "a.", "a-", "1.", "a:", ":", "x@", "sk-", "1a", "api key "])
def test_long_words_are_read_in_time(part: str) -> None:
    started = time.perf_counter()
    without_places(without_keys(part * 50_000))
    assert time.perf_counter() - started < 0.5
