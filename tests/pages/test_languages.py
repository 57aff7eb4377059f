"""In which language a page is, and the catalogue of its script."""

import re

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.test import Client
from django.utils import translation

from chat.protocol.errors import IDLE_TIMEOUT
from chat.protocol.terms import failed
from chat.rendering.gantt import Bar, Gantt, Row, Tick
from chat.rendering.markdown.blocks import render_all

from .conversations import address, conversation_of, run_of

pytestmark = pytest.mark.django_db
BAR = Bar("agent", "done", 12.5, 50, 0, 10, "Analyst")
GANTT = Gantt([Row("agent", "Analyst", [BAR], 14, "0,5 s", "done")], [Tick(0, "0 s")])


def test_page_has_the_language_and_the_direction_that_the_browser_prefers() -> None:
    page = Client().get("/", headers={"Accept-Language": "ar-EG,ar;q=0.9,en;q=0.5"})

    assert '<html lang="ar" dir="rtl"' in page.text
    assert page.headers["Content-Language"] == "ar"


def test_page_is_english_for_a_browser_that_prefers_a_language_without_translation() -> None:
    page = Client().get("/", headers={"Accept-Language": "tlh"})

    assert '<html lang="en" dir="ltr"' in page.text


def test_catalogue_of_the_script_is_kept_for_a_year_by_its_version() -> None:
    page = Client().get("/", headers={"Accept-Language": "de"})
    address = re.search(r'src="(/jsi18n/de/[^"]+)"', page.text)
    assert address is not None

    current = Client().get(address[1])
    old = Client().get("/jsi18n/de/0123456789ab.js")

    assert "immutable" in current.headers["Cache-Control"]
    assert "no-store" in old.headers["Cache-Control"]
    assert current.content == old.content
    assert current.headers["Content-Type"].startswith("text/javascript")


def test_unknown_language_has_no_catalogue() -> None:
    assert Client().get("/jsi18n/xx/0123456789ab.js").status_code == 404


def choose(client: Client, language: str, back: str = "/") -> HttpResponse:
    return client.post("/language/", {"language": language, "next": back})


def test_choice_of_a_language_is_remembered_until_the_browser_decides_again() -> None:
    client = Client(headers={"Accept-Language": "de"})

    choose(client, "ar")
    assert '<html lang="ar" dir="rtl"' in client.get("/").text
    assert 'value="ar" lang="ar" dir="auto"\n    aria-pressed="true"' in client.get("/login/").text

    choose(client, "")
    assert '<html lang="de"' in client.get("/").text


def test_unknown_language_is_not_remembered() -> None:
    client = Client()
    choose(client, "xx")
    assert client.cookies[settings.LANGUAGE_COOKIE_NAME].value == ""


def test_choice_leads_back_to_pages_of_this_server_only() -> None:
    client = Client()
    assert choose(client, "de", "/login/?a=b").url == "/login/?a=b"
    for elsewhere in ("https://evil.example/", "//evil.example", "javascript:alert(1)", ""):
        assert choose(client, "de", elsewhere).url == "/"
    # No view is called so, and one is.
    for name in ("nowhere", "new_chat"):
        assert choose(client, "de", name).url == name


def test_answer_of_an_english_reader_is_german_for_a_german_one(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat, ending=failed(IDLE_TIMEOUT))

    html = client.get(address(chat), headers={"Accept-Language": "de"}).text

    assert "Das Modell hat nicht rechtzeitig geantwortet." in html
    assert "Noch einmal fragen" in html
    assert "did not answer" not in html


@pytest.mark.parametrize("path", ["/nowhere/", "/c/00000000-0000-4000-8000-000000000000/"])
def test_page_of_an_error_has_the_language_of_the_reader(path: str) -> None:
    page = Client().get(path, headers={"Accept-Language": "ar"})
    assert page.status_code == 404
    assert 'dir="rtl"' in page.text
    assert "غير موجود" in page.text


def test_charts_have_the_numbers_of_svg_in_every_language() -> None:
    with translation.override("de"):
        html = render_to_string("chat/gantt.html", {"gantt": GANTT})
    assert 'x="12.5%"' in html
    assert "0,5 s" in html


def test_code_of_two_readers_has_buttons_in_their_languages() -> None:
    for language, words in (("de", ">Kopieren<"), ("en", ">Copy<"), ("ar", ">نسخ<")):
        with translation.override(language):
            assert words in "".join(render_all("```py\nx\n```", "run"))
