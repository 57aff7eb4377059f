"""Styles, scripts and icons at addresses that browsers keep, from their publication to the page."""

import gzip
import http.client
import os
import re
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.templatetags.static import static
from playwright.sync_api import expect
from pytest_django import Settings

from agenticfleet import assets
from agenticfleet.assets import KEPT_VERSIONS, VersionedStorage
from tests.serving import Fleet

from .browsing import MARKS, Open

YEAR = "max-age=31536000, public, immutable"
LINK = re.compile(r'(?:href|src)="(/static/[^"#]+)')
STYLE = "body { color: red }\n" * 20


class Site:
    """A folder of files, and the one that they are published in."""

    def __init__(self, folder: Path) -> None:
        self.files, self.published = folder / "files", folder / "published"
        self.files.mkdir()
        self.style = self.files / "page.css"
        self.style.write_text(STYLE)

    def publish(self) -> str:
        assets.publish()
        return VersionedStorage.version

    def versions(self) -> set[str]:
        return {path.name for path in self.published.iterdir()}


@pytest.fixture
def site(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = Site(tmp_path)
    settings.STATICFILES_DIRS = [site.files]
    settings.STATIC_ROOT = site.published
    monkeypatch.setattr(VersionedStorage, "version", "")
    return site


class TestPublishing:
    def test_addresses_are_plain_before_and_hold_the_version_after(self, site: Site) -> None:
        assert static("page.css") == "/static/page.css"
        version = site.publish()
        assert static("page.css") == f"/static/{version}/page.css"
        published = site.published / version / "page.css"
        assert published.read_text() == STYLE
        assert gzip.decompress((published.parent / "page.css.gz").read_bytes()) == STYLE.encode()
        assert (site.published / version / "admin/css/base.css").exists()

    def test_version_changes_with_a_byte_or_a_name(self, site: Site) -> None:
        first = site.publish()
        os.utime(site.style, (1, 1))
        assert site.publish() == first
        site.style.write_text(STYLE.replace("red", "tan"))
        second = site.publish()
        site.style.rename(site.files / "sheet.css")
        assert len({first, second, site.publish()}) == 3

    def test_newest_versions_are_kept_and_a_return_to_one_counts(self, site: Site) -> None:
        made = []
        for number in range(KEPT_VERSIONS):
            site.style.write_text(f"{STYLE}{number}")
            made.append(site.publish())
            os.utime(site.published / made[-1], (number, number))
        site.style.write_text(f"{STYLE}0")
        assert site.publish() == made[0]
        site.style.write_text(f"{STYLE}new")
        new = site.publish()
        assert site.versions() == {made[0], *made[2:], new}

    @pytest.mark.parametrize("damaged", ["page.css", "page.css.gz"])
    def test_version_with_an_empty_file_is_written_anew(self, site: Site, damaged: str) -> None:
        file = site.published / site.publish() / damaged
        whole = file.read_bytes()
        file.write_bytes(b"")
        site.publish()
        assert file.read_bytes() == whole

    def test_addresses_stay_plain_without_a_folder(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        site.published.write_text("in the way")
        assert site.publish() == ""
        assert static("page.css") == "/static/page.css"
        assert "no static files for browsers to keep" in caplog.text


# --- A fleet


def get(
    fleet: Fleet, path: str, accepted: str = "gzip, br"
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=20)
    connection.request("GET", path, headers={"Accept-Encoding": accepted})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.mark.parametrize("page", ["/", "/login/"])
def test_files_of_a_page_are_compressed_and_kept_for_a_year(fleet: Fleet, page: str) -> None:
    response, body = get(fleet, page)
    assert "no-store" in response.headers["Cache-Control"]
    links = set(LINK.findall(body.decode()))
    assert len(links) > 3
    for link in links:
        assert re.match(r"/static/[0-9a-f]{16}/", link)
        response, body = get(fleet, link)
        assert (response.status, response.headers["Cache-Control"]) == (200, YEAR)
        if not link.endswith(".png"):
            assert response.headers["Vary"] == "Accept-Encoding"
            assert response.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(body) == get(fleet, link, accepted="identity")[1]


def test_plain_addresses_are_served_as_they_are_on_disk(fleet: Fleet) -> None:
    for name in ("chat/icon.svg", "chat/icon-192.png", "chat/chat.css"):
        response, body = get(fleet, f"/static/{name}")
        assert "immutable" not in response.headers["Cache-Control"]
        assert body == (configured.BASE_DIR / "static" / name).read_bytes()
    assert get(fleet, "/favicon.ico")[0].headers["Location"] == "/static/chat/icon.svg"


def test_files_of_other_versions_are_served_while_they_are_kept(fleet: Fleet) -> None:
    published = fleet.folder / "state/static"
    other = published / "0123456789abcdef"
    assert get(fleet, f"/static/{other.name}/chat/old.js")[0].status == 404
    (other / "chat").mkdir(parents=True)
    (other / "chat/old.js").write_text("old")
    response, body = get(fleet, f"/static/{other.name}/chat/old.js")
    assert (response.headers["Cache-Control"], body) == (YEAR, b"old")
    (published / "stray.js").write_text("not published")
    for path in ("stray.js", f"{other.name}/../../secret_key", f"{other.name}/chat", other.name):
        assert get(fleet, f"/static/{path}")[0].status == 404


@pytest.mark.usefixtures("model")
class TestBrowser:
    pytestmark = MARKS

    def test_page_works_and_asks_for_no_file_a_second_time(
        self, fleet: Fleet, open_page: Open
    ) -> None:
        page = open_page(fleet.address)
        expect(page.locator("#composer-text")).to_be_focused()
        page.goto(fleet.address)
        expect(page.locator("#composer-text")).to_be_focused()
        sizes: dict[str, int] = page.evaluate(
            """() => Object.fromEntries(performance.getEntriesByType("resource")
                .filter((entry) => entry.name.includes("/static/"))
                .map((entry) => [entry.name, entry.transferSize]))"""
        )
        assert any("reconnecting-websocket" in name for name in sizes)
        assert all(re.search("/static/[0-9a-f]{16}/", name) for name in sizes)
        assert set(sizes.values()) == {0}
