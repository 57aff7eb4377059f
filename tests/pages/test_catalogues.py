"""The catalogues of chat/locale: complete, compiled, and collected from all texts of pages."""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import polib
import pytest
from django.conf import settings
from django.core.management import call_command

LOCALE = settings.BASE_DIR / "chat" / "locale"
CATALOGUES = sorted(LOCALE.glob("*/LC_MESSAGES/*.po"))
TEMPLATES = sorted(
    path for path in (settings.BASE_DIR / "templates").rglob("*.html") if "admin" not in path.parts
)
PLACE = re.compile(r"%\(\w+\)s|</?\w+>")
# Words that are the same in all languages.
NAMES = {"AgenticFleet", "JSON", "UTC", "Authorization", "Bearer"}


def by_name(path: Path) -> str:
    return f"{path.parts[-3]} {path.stem}"


def places(text: str) -> list[str]:
    return sorted(PLACE.findall(text))


def test_every_language_but_the_source_has_both_catalogues() -> None:
    translated = [code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE]
    found = [by_name(path) for path in CATALOGUES]
    assert found == sorted(
        f"{code} {domain}" for code in translated for domain in ("django", "djangojs")
    )


@pytest.mark.parametrize("path", CATALOGUES, ids=by_name)
def test_catalogue_is_complete(path: Path) -> None:
    catalogue = polib.pofile(str(path))
    assert [entry.msgid for entry in catalogue if entry.fuzzy or not entry.translated()] == []
    assert catalogue.obsolete_entries() == []


@pytest.mark.parametrize("path", CATALOGUES, ids=by_name)
def test_translations_have_the_places_of_their_texts(path: Path) -> None:
    for entry in polib.pofile(str(path)):
        if not entry.msgid_plural:
            assert places(entry.msgstr) == places(entry.msgid), entry.msgid
            continue
        # A form for one or two may say the number in words.
        assert places(entry.msgstr_plural[max(entry.msgstr_plural)]) == places(entry.msgid_plural)
        for text in entry.msgstr_plural.values():
            assert set(places(text)) <= set(places(entry.msgid_plural)), entry.msgid


@pytest.mark.parametrize("path", CATALOGUES, ids=by_name)
def test_compiled_catalogue_is_current(path: Path) -> None:
    def texts(catalogue: polib.POFile | polib.MOFile) -> dict[object, object]:
        return {
            (entry.msgctxt, entry.msgid): entry.msgstr_plural or entry.msgstr for entry in catalogue
        }

    compiled = polib.mofile(str(path.with_suffix(".mo")))
    assert texts(compiled) == texts(polib.pofile(str(path)))


@pytest.mark.skipif(not shutil.which("xgettext"), reason="needs GNU gettext")
def test_catalogues_have_all_texts(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in LOCALE.rglob("*.?o")}
    try:
        call_command("makemessages", verbosity=0)
        changed = [str(path) for path in before if path.read_bytes() != before[path]]
    finally:
        for path, content in before.items():
            path.write_bytes(content)
    assert changed == [], "run manage.py makemessages and translate what is new"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_no_bare_words(path: Path) -> None:
    html = re.sub(r"{#.*?#}|{% comment.*?endcomment %}", "", path.read_text(), flags=re.DOTALL)
    html = re.sub(r"{% blocktranslate.*?endblocktranslate %}", "", html, flags=re.DOTALL)
    # Attributes that are read or heard.
    said = re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*)"', without_tags(html))
    text = re.sub(r"<[^>]*>|\bdata-[\w-]+", " ", without_tags(html))
    words = set(re.findall(r"[^\W\d_]{2,}", " ".join([*said, text])))
    assert words - NAMES == set()


def without_tags(html: str) -> str:
    return re.sub(r"{%.*?%}|{{.*?}}", "", html, flags=re.DOTALL)


def calls_in_functions(tree: ast.AST) -> Iterator[int]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "sentence":
                    yield node.lineno


def test_sentences_are_known_as_soon_as_their_modules_are() -> None:
    # A worker that hasn't said a sentence itself must recognise it in a row.
    found = [
        f"{path}:{line}"
        for room in ("agenticfleet", "chat", "routing", "tooling")
        for path in (settings.BASE_DIR / room).rglob("*.py")
        for line in calls_in_functions(ast.parse(path.read_text()))
    ]
    assert found == []
