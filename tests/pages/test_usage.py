"""What is used up of each limit, as its owner and operators see it."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.access.limits import Limit
from chat.access.owners import Asker, Owner
from chat.access.spending import DayUse
from chat.access.usage import Used, usage_of
from chat.conversations import Conversation
from chat.models import Run
from chat.prices import Prices
from chat.protocol.terms import Usage
from tests.runs.limiting import ADDRESS, limit

from .conversations import run_of

pytestmark = pytest.mark.django_db

LIST = "/admin/chat/dayuse/"


@pytest.fixture(autouse=True)
def _limits(settings: Settings) -> None:
    settings.FLEET_PRICES = Prices(currency="EUR")
    limit(
        settings,
        runs=Limit(3, 6, 60),
        questions=Limit(20, 40, None),
        tokens=Limit(1_000_000, 2_000_000, 5_000_000),
        money=Limit(5, None, 50),
    )


def asked(owner: Owner, *, age_s: float = 0, is_live: bool = False, address: str = "") -> None:
    """Store a run of this owner, which began so long ago."""
    chat = Conversation.objects.create(owner=str(owner), title="t")
    run = run_of(chat, **({"ending": None} if is_live else {}))
    created_at = timezone.now() - timedelta(seconds=age_s)
    Run.objects.filter(pk=run.pk).update(created_at=created_at, address=address)


def figures(used: list[Used]) -> dict[str, str]:
    return {each.label: each.words for each in used}


def test_owner_sees_what_is_used_up_and_when_it_starts_again() -> None:
    owner = Owner("user", "1")
    asked(owner, is_live=True)
    asked(owner, age_s=120)
    asked(Owner("user", "2"), is_live=True)
    DayUse.objects.add(Asker(owner), Usage(input_tokens=400_000, output_tokens=12_000), 1.5)
    used = usage_of(Asker(owner))
    assert figures(used) == {
        "Answers at once": "1 of 3",
        "Questions in the last minute": "1 of 20",
        "Tokens today": "412,000 of 1,000,000",
        "Money today": "€1.50 of €5.00",
    }
    assert [bool(each.again) for each in used] == [False, True, True, True]
    html = render_to_string("chat/usage.html", {"usage": used})
    assert "412,000 of 1,000,000" in html
    assert "bad-words" not in html


def test_anonymous_asker_sees_the_limits_of_the_address_too(settings: Settings) -> None:
    asker = Asker(Owner("browser", "b"), ADDRESS)
    asked(Owner("browser", "other"), address=ADDRESS, is_live=True)
    shown = figures(usage_of(asker))
    assert shown["Answers at once"] == "0 of 3"
    assert shown["Answers at once, of your network address"] == "1 of 6"


def test_limit_that_is_reached_is_marked_and_none_is_said(settings: Settings) -> None:
    owner = Owner("user", "1")
    DayUse.objects.add(Asker(owner), Usage(input_tokens=1_000_000), None)
    assert "bad-words" in render_to_string("chat/usage.html", {"usage": usage_of(Asker(owner))})
    assert "There are no limits." in render_to_string("chat/usage.html", {"usage": []})


def test_operators_see_the_site_and_who_has_used_most(client: Client) -> None:
    ada = User.objects.create_user("ada")
    for asker, tokens in (
        (Asker(Owner("user", str(ada.pk))), 1_000),
        (Asker(Owner("script"), ADDRESS), 30_000),
    ):
        DayUse.objects.add(asker, Usage(input_tokens=tokens), None)
    staff = User.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    assert client.get(LIST).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_dayuse"))
    page = client.get(LIST).text
    assert "31,000 of 5,000,000" in page
    assert page.index(f"address:{ADDRESS}") < page.index(">ada<")
    assert client.post(LIST).status_code == 405
