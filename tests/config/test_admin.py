"""The admin's pages of configurations, and their links from runs."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from chat.admin.configurations import changes
from chat.config.texts import ConfigText
from tests.telemetry.test_retention import ended_run
from tests.tooling.inspector.entries import signed_in

pytestmark = pytest.mark.django_db

LIST = "/admin/chat/configtext/"
FIRST, SECOND = "0123456789ab", "ba9876543210"
NASTY = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _texts() -> None:
    ConfigText.objects.create(digest=FIRST, text='[agents.editor]\nrole = "brief"\ntools = []\n')
    ConfigText.objects.filter(pk=FIRST).update(first_seen_at=timezone.now() - timedelta(days=1))
    ConfigText.objects.create(
        digest=SECOND, text=f'[agents.editor]\nrole = "{NASTY}"\ntools = []\n'
    )


@pytest.fixture
def admin() -> Client:
    return signed_in("ada", superuser=True)


def test_list_has_the_newest_first(admin: Client) -> None:
    page = admin.get(LIST).text
    assert page.index(SECOND) < page.index(FIRST)
    assert f"?config={SECOND}" in page


def test_page_shows_the_text_and_what_changed(admin: Client) -> None:
    page = admin.get(f"{LIST}{SECOND}/change/").text
    assert NASTY not in page
    assert page.count("&lt;script&gt;") == 2
    assert '<del><span class="sign">− </span>role = &quot;brief&quot;</del>' in page
    assert f"{LIST}{FIRST}/change/" in page
    assert "What changed" not in admin.get(f"{LIST}{FIRST}/change/").text


@pytest.mark.parametrize("digest", ["0" * 12, "nonsense", "%00", "1" * 300])
def test_page_of_one_that_is_gone_says_so(admin: Client, digest: str) -> None:
    response = admin.get(f"{LIST}{digest}/change/", follow=True)
    assert "This configuration is gone" in response.text
    assert admin.get(f"{LIST}{digest}/history/").status_code in (302, 404)


def test_run_leads_to_its_configuration_and_back(admin: Client) -> None:
    run = ended_run(timedelta(hours=1), config=SECOND)
    other = ended_run(timedelta(hours=1), config=FIRST)
    page = admin.get(f"/admin/chat/run/{run.pk}/change/").text
    assert f"{LIST}{SECOND}/change/" in page
    found = admin.get("/admin/chat/run/", {"config": SECOND}).text
    assert str(run.pk)[:8] in found
    assert str(other.pk)[:8] not in found
    assert (
        str(other.pk)[:8] in admin.get("/admin/chat/run/", {"config": "x' OR 1"}, follow=True).text
    )


@pytest.mark.parametrize("page", ["", f"{SECOND}/change/"])
def test_page_needs_its_permission(page: str) -> None:
    assert signed_in("bob", "view_run").get(LIST + page).status_code == 403
    assert signed_in("eve", "view_configtext").get(LIST + page).status_code == 200


def test_run_shows_no_link_to_those_who_may_not_read_it() -> None:
    run = ended_run(timedelta(hours=1), config=SECOND)
    page = signed_in("bob", "view_run").get(f"/admin/chat/run/{run.pk}/change/").text
    assert LIST not in page


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_nothing_changes_it(admin: Client, method: str) -> None:
    assert getattr(admin, method)(f"{LIST}{SECOND}/change/").status_code == 403
    assert admin.post(f"{LIST}{SECOND}/delete/", {"post": "yes"}).status_code == 403
    assert ConfigText.objects.count() == 2


def test_changes_have_the_lines_around_them() -> None:
    before = [f"line {number}" for number in range(30)]
    before[12] = "[agents.editor]"
    after = [*before[:10], "new", *before[10:20], *before[21:]]
    found: list[Any] = changes("\n".join(before), "\n".join(after))
    assert [line.text for line in found if line.kind == "table"] == ["", "[agents.editor]"]
    assert [line.text for line in found if line.kind == "added"] == ["new"]
    assert [line.text for line in found if line.kind == "removed"] == ["line 20"]
    assert changes("a", "a") == []
