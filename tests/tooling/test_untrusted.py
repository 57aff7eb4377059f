"""What is kept of text from outside, and where a browser goes from its addresses."""

import pytest

from tooling.clusters import beginning, shortened
from tooling.untrusted import cut, visible, web_host

FAMILY = "👨\u200d👩\u200d👧\u200d👦"
FLAGS = "🇩🇪🇫🇷"


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",  # Persian, kept apart
        "ක්\u200dෂ",  # Sinhala, joined
        "അവന്\u200d",  # Malayalam, at the end of a word
        "ক\u200c্ষ",
        FAMILY,
        "👩🏽\u200d🚀 ❤\ufe0f\u200d🔥 🏳\ufe0f\u200d🌈",
        "❤\ufe0f ❤\ufe0e 1\ufe0f\u20e3 #\ufe0f\u20e3",
        "葛\U000e0100城",
        "ᠠ\u180b",
        f"e\u0301 {FLAGS} 한",
        "two\nlines",
    ],
)
def test_what_words_and_emoji_need_is_kept(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200db\u200cc", "abc"),  # no Latin word needs one
        ("می\u200c\u200d\u200cخ", "می\u200cخ"),  # nor does any word need a row of them
        ("👨\u200d\u200d👩", "👨👩"),
        ("👨\u200d.", "👨."),
        ("a\ufe0f1\ufe0f", "a1"),
        ("😀" + "".join(map(chr, range(0xE0100, 0xE01EF))), "😀"),
        ("葛" + "".join(map(chr, range(0xE0100, 0xE0110))), "葛\U000e0100"),
        ("".join(chr(0xE0000 + ord(letter)) for letter in "ignore"), ""),
        ("a\u202eb\u2066c\u2069\u200b\u2060\ufeffd\u00ade", "abcde"),
        ("a\r\nb\rc\u2028d\te\u00a0f\u2800g", "a\nb\nc\nd e f g"),
        ("\x00\x1b\ud800\ue000\u3164", ""),
    ],
)
def test_what_people_do_not_see_is_removed(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://EXAMPLE.org:443/x", "example.org"),
        ("https://example.org:8443/", "example.org:8443"),
        ("http://example.org.:80", "example.org."),
        ("https://münchen.example/", "xn--mnchen-3ya.example"),
        ("https://straße.example/", "xn--strae-oqa.example"),  # not strasse.example
        ("https://аpple.example/", "xn--pple-43d.example"),  # begins with a Cyrillic letter
        ("https://ｅxample。org/", "example.org"),
        ("https://ex%61mple.org/", "example.org"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://2130706433:8080/", "127.0.0.1:8080"),
        ("http://[::0:1]/", "[::1]"),
        ("https://example.org/?@other.example", "example.org"),
        ("https://example.org#@other.example", "example.org"),
        ("https://example.org@other.example/", ""),
        ("https://:x@other.example/", ""),
        ("https://%40other.example/", ""),
        ("https:other.example", ""),  # a path on this server, if that has https, too
        ("https:///other.example", ""),
        ("https://other.example:99999/", ""),
        ("https://exa\u200bmple.org/", ""),
        ("wss://example.org/", ""),
    ],
)
def test_host_is_the_one_that_a_browser_opens(address: str, host: str) -> None:
    assert web_host(address) == host


@pytest.mark.parametrize(
    "character",
    [FAMILY, FLAGS[:2], "e\u0301\u0323", "\u1112\u1161\u11ab", "क्षि", "👍🏽", "1\ufe0f\u20e3"],
)
def test_texts_are_cut_between_whole_characters(character: str) -> None:
    for before in range(8):
        text = "x" * before + character * 200
        for size in range(before + len(character), before + 5 * len(character)):
            kept = "x" * before + character * ((size - before) // len(character))
            assert beginning(text, size) == kept
            assert shortened(text, size + 1) == kept + "…"
            assert cut(text, size + len(" […]")) == kept + " […]"


def test_character_without_end_is_cut() -> None:
    assert beginning("e" + "\u0301" * 100, 60) == "e" + "\u0301" * 59
    assert shortened("e" + "\u0301" * 60, 60) == "e" + "\u0301" * 58 + "…"


def test_short_text_stays_as_it_is() -> None:
    assert shortened(f" {FAMILY}\n x ", 60) == f"{FAMILY} x"
    assert beginning(FLAGS, 4) == FLAGS
