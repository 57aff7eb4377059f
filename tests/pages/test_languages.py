"""In which language a page is, and the catalogue of its script."""

import re

from django.test import Client


def test_page_has_the_language_and_the_direction_that_the_browser_prefers(db: None) -> None:
    page = Client().get("/", headers={"Accept-Language": "ar-EG,ar;q=0.9,en;q=0.5"})

    assert '<html lang="ar" dir="rtl"' in page.text
    assert page.headers["Content-Language"] == "ar"


def test_page_is_english_for_a_browser_that_prefers_a_language_without_translation(
    db: None,
) -> None:
    page = Client().get("/", headers={"Accept-Language": "tlh"})

    assert '<html lang="en" dir="ltr"' in page.text


def test_catalogue_of_the_script_is_kept_for_a_year_by_its_version(db: None) -> None:
    page = Client().get("/", headers={"Accept-Language": "de"})
    address = re.search(r'src="(/jsi18n/de/[^"]+)"', page.text)
    assert address is not None

    current = Client().get(address[1])
    old = Client().get("/jsi18n/de/0123456789ab.js")

    assert "immutable" in current.headers["Cache-Control"]
    assert "no-store" in old.headers["Cache-Control"]
    assert current.content == old.content
    assert current.headers["Content-Type"].startswith("text/javascript")


def test_unknown_language_has_no_catalogue(db: None) -> None:
    assert Client().get("/jsi18n/xx/0123456789ab.js").status_code == 404
