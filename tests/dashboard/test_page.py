"""The admin's first page shows the figures of runs as their rows have them."""

import html
import re
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from chat.dashboard.page import Dashboard, dashboard_of
from chat.dashboard.tables import Row
from chat.database import in_database
from chat.models import Run
from chat.protocol.terms import Ending, Usage, Verdict
from chat.telemetry import rollup
from routing.models import RoutingDecision
from tests.chatting import Chatting, chat_request
from tests.scripted_model import ScriptedModel
from tests.telemetry.ended import failing, stored

HOSTILE = "<script>alert(1)</script> at <img src=x onerror=alert(2)>"


def signed_in(*permissions: str, is_staff: bool = True, is_superuser: bool = False) -> Client:
    user = User.objects.create_user(
        "ada", password="x", is_staff=is_staff, is_superuser=is_superuser
    )
    runs = ContentType.objects.get_for_model(Run)
    for codename in permissions:
        permission, _ = Permission.objects.get_or_create(codename=codename, content_type=runs)
        user.user_permissions.add(permission)
    client = Client()
    client.force_login(user)
    return client


def rows_of(dashboard: Dashboard, title: str) -> dict[str, Row]:
    table = next(table for table in dashboard.tables if table.title.startswith(title))
    return {row.name: row for row in table.rows}


def tile(dashboard: Dashboard, name: str) -> tuple[str, str]:
    return next((tile.value, tile.detail) for tile in dashboard.tiles if tile.name == name)


@pytest.mark.django_db(transaction=True)
async def test_figures_of_real_runs_are_those_of_their_rows(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("break", status=500)
    model.on("wait", hold_after=1)
    for _ in range(3):
        await chat.answer("Hello?")
    await chat.answer(chat_request("Compare two things", mode="full"))
    await chat.answer("break")
    stopped = await chat.ask("wait")
    await stopped.until("response.delta")
    await stopped.send({"type": "cancel"})
    await stopped.rest()
    shown = await in_database(dashboard_of, {"range": "hour"}, may_read=True)
    rows = [run async for run in Run.objects.all()]
    assert len(rows) == 6
    assert tile(shown, "Runs") == ("6", "1 cancelled")
    assert tile(shown, "Failed")[1] == "1 run"
    endings = rows_of(shown, "Endings")
    assert endings["completed"].cells[:4] == ("4", "67 %", "3", "1")
    assert endings["cancelled"].cells[0] == "1"
    [failure] = [run for run in rows if run.status == "failed"]
    assert endings[failure.error_code.replace("_", " ")].cells[0] == "1"
    models = rows_of(shown, "Models")
    assert models["scripted"].cells[0] == f"{sum(run.model_calls for run in rows):,}"
    assert models["scripted"].cells[3] == f"{sum(run.input_tokens for run in rows):,}"
    assert models["scripted"].cells[5] == f"{sum(run.output_tokens for run in rows):,}"
    tokens = sum(run.input_tokens + run.output_tokens for run in rows)
    assert rows_of(shown, "Kinds")["script"].cells[:2] == ("6", f"{tokens:,}")
    light = next(chart for chart in shown.times if chart.title == "First token, light")
    times = [
        run.first_token_ms for run in rows if run.path == "light" and run.first_token_ms is not None
    ]
    drawn = [row for row in light.rows if row[3] != "0"]
    assert sum(int(row[3]) for row in drawn) == len(times)
    judged = [run for run in rows if run.sla_met is not None]
    missed = [run for run in judged if run.sla_met is False]
    assert tile(shown, "Missed a service level")[1] == f"{len(missed)} of {len(judged)} judged"
    phases = {name for run in rows for name in (run.ending or {})["timings"].get("phases", {})}
    assert set(rows_of(shown, "Phases")) == phases
    assert "model unavailable: The model server has a problem. Try again in a moment." in rows_of(
        shown, "Errors"
    )


@pytest.mark.django_db
def test_share_of_cached_input_is_shown_and_drawn() -> None:
    ending = Ending(status="completed", usage=Usage(input_tokens=20, cached_tokens=15))
    stored(ending=msgspec.to_builtins(ending))
    stored(model="other")
    shown = dashboard_of({"range": "hour"}, may_read=True)
    assert tile(shown, "Cached input") == ("38 %", "15 of 40 tokens")
    chart = next(chart for chart in shown.charts if chart.title == "Cached input")
    assert (chart.summary, chart.empty) == ("cached 38 %", "")
    assert chart.head == ["Cached", "Cached (tokens)"]
    assert sum(int(row[2]) for row in chart.rows) == 15
    models = rows_of(shown, "Models")
    assert [models[name].cells[4] for name in ("scripted", "other")] == ["75 %", "0 %"]


@pytest.mark.django_db
def test_cached_input_that_no_server_reports_is_no_share_of_nothing() -> None:
    stored()
    shown = dashboard_of({"range": "hour"}, may_read=True)
    assert tile(shown, "Cached input") == ("–", "no server reports any")
    chart = next(chart for chart in shown.charts if chart.title == "Cached input")
    assert chart.empty == "No model server reported cached tokens in this time."


@pytest.mark.django_db
def test_paused_runs_do_not_count_as_failed() -> None:
    stored()
    stored(**failing("model_error", "no"))
    for _ in range(2):
        stored(status="paused", sla_met=None)
    shown = dashboard_of({}, may_read=False)
    assert tile(shown, "Runs") == ("4", "0 cancelled, 2 paused")
    assert tile(shown, "Failed") == ("50 %", "1 run")
    assert tile(shown, "Light path") == ("100 %", "2 of 2 routed")
    runs = next(chart for chart in shown.charts if chart.title == "Runs")
    columns = dict(zip(runs.head, zip(*(row[1:] for row in runs.rows), strict=True), strict=True))
    assert sum(map(int, columns["Paused"])) == 2
    assert sum(map(int, columns["Failed"])) == 1
    assert rows_of(shown, "Endings")["paused"].url.startswith("/admin/chat/run/?status=paused")


@pytest.mark.django_db
def test_percentiles_are_those_of_the_runs() -> None:
    times = [10.0 * 1.3**n for n in range(20)]
    for ms in times:
        stored(first_token_ms=ms)
    shown = dashboard_of({}, may_read=False)
    chart = next(chart for chart in shown.times if chart.title == "First token, light")
    found = re.match(r"p50 ([\d.]+) ms, p95 ([\d.]+) s;", chart.summary)
    assert found
    # The 10th and the 19th of 20. Texts have three digits, so allow for those.
    assert float(found[1]) == pytest.approx(times[9], rel=0.055)
    assert float(found[2]) * 1000 == pytest.approx(times[18], rel=0.055)


@pytest.mark.django_db
def test_run_that_has_just_ended_is_counted_by_the_view() -> None:
    for _ in range(3):
        stored()
    shown = dashboard_of({}, may_read=False)
    assert tile(shown, "Runs")[0] == "3"
    assert not shown.is_behind


@pytest.mark.django_db
def test_view_counts_a_bounded_number_and_says_that_more_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chat.dashboard.page.count_batch", partial(rollup.count_batch, 2))
    monkeypatch.setattr("chat.dashboard.page.BATCH", 2)
    for _ in range(11):
        stored()
    shown = dashboard_of({}, may_read=False)
    assert tile(shown, "Runs")[0] == "8"
    assert shown.is_behind


@pytest.mark.django_db(transaction=True)
def test_page_shows_what_is_counted_if_the_database_refuses_to_write() -> None:
    stored()
    rollup.count_all()
    stored()

    def refuse_writes(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE")):
            raise OperationalError("database is locked")
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse_writes):
        shown = dashboard_of({}, may_read=False)
    assert tile(shown, "Runs")[0] == "1"
    assert shown.is_behind


@pytest.mark.django_db
@pytest.mark.parametrize("range_", ["hour", "day", "week", "month"])
def test_each_range_shows_its_runs_and_no_others(range_: str) -> None:
    ages = {"hour": 0.3, "day": 20, "week": 150, "month": 600}
    for hours in (*ages.values(), 900):
        stored(ended_at=timezone.now() - timedelta(hours=hours))
    shown = dashboard_of({"range": range_}, may_read=False)
    expected = list(ages).index(range_) + 1
    assert tile(shown, "Runs")[0] == str(expected)
    runs = next(chart for chart in shown.charts if chart.title == "Runs")
    assert sum(int(row[1]) for row in runs.rows) == expected


@pytest.mark.django_db
def test_thumbs_are_counted() -> None:
    for rating in (1, 1, -1, None):
        RoutingDecision.objects.create(
            workflow_id=stored().pk,
            text_hash="0",
            path="light",
            confidence=1,
            mode="auto",
            outcome="completed",
            rating=rating,
        )
    assert tile(dashboard_of({}, may_read=False), "Thumbs up") == ("67 %", "2 up, 1 down")


@pytest.mark.django_db
def test_live_runs_are_listed_by_worker_with_links() -> None:
    client = signed_in("view_run")
    runs = [
        stored(status="running", ended_at=None, worker=f"worker.{name}") for name in ("a", "a", "b")
    ]
    page = client.get("/admin/").text
    assert "worker.a: 2" in page
    assert "worker.b: 1" in page
    assert f"/admin/chat/run/{runs[0].pk}/change/" in page


@pytest.mark.django_db
@pytest.mark.parametrize("range_", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("may_read", [True, False])
def test_links_lead_to_the_runs_that_were_counted(range_: str, may_read: bool) -> None:
    client = signed_in("view_run", *(["read_content"] if may_read else []))
    for path in ("light", "full", ""):
        stored(path=path)
        stored(path=path, status="cancelled")
    for level in ("first_token", "total"):
        late = Ending(status="completed", sla=Verdict(missed={level: 5}))
        stored(path="light", sla_met=False, ending=msgspec.to_builtins(late))
    for message in ("It is busy.", "It is very busy."):
        stored(**failing("rate_limited", message))
    stored(**failing("model_unavailable", "It is away."))
    stored(status="running", ended_at=None)
    # This run belongs to none of the ranges.
    old = stored(ended_at=timezone.now() - timedelta(days=40))
    Run.objects.filter(pk=old.pk).update(created_at=old.ended_at)
    page = client.get(f"/admin/?range={range_}")
    links = {
        row.url: row.cells[0] for table in page.context["dashboard"].tables for row in table.rows
    }
    links["/admin/chat/run/?status=running"] = "1"
    del links[""]
    shown = [address for address in hrefs(page.text) if address.startswith("/admin/chat/run/?")]
    assert set(shown) == set(links)
    assert len(links) == 6
    for address, count in links.items():
        found = client.get(address)
        assert found.status_code == 200, address
        assert not list(found.context["messages"]), address
        assert str(found.context["cl"].result_count) == count, address


def hrefs(page: str) -> list[str]:
    return [html.unescape(address) for address in re.findall('href="([^"]+)"', page)]


@pytest.mark.django_db
def test_hostile_texts_are_escaped() -> None:
    client = signed_in(is_superuser=True)
    stored(
        **failing("model_error", HOSTILE),
        model=HOSTILE,
        owner=f"{HOSTILE[:20]}:",
        worker=HOSTILE,
    )
    stored(status="running", ended_at=None, worker=HOSTILE)
    page = client.get("/admin/").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


@pytest.mark.django_db
@pytest.mark.parametrize("may_read", [True, False])
def test_messages_of_errors_need_the_permission_to_read_content(may_read: bool) -> None:
    client = signed_in("view_run", *(["read_content"] if may_read else []))
    for secret in ("a secret", "another secret"):
        stored(**failing("model_error", f"The model server said {secret}."))
    page = client.get("/admin/").text
    assert ("secret" in page) is may_read
    assert "model error" in page


@pytest.mark.django_db
@pytest.mark.parametrize("is_named", [True, False])
def test_links_lead_to_lists_that_know_their_filters(is_named: bool) -> None:
    yesterday = timezone.now() - timedelta(days=1)
    query = "range=hour" if is_named else f"from={yesterday:%Y-%m-%d}"
    missed = Ending(status="completed", sla=Verdict(missed={"total": 5}))
    stored(sla_met=False, ending=msgspec.to_builtins(missed))
    stored(**failing("model_error", "no"))
    stored(path="", status="cancelled", sla_met=False, ending=msgspec.to_builtins(missed))
    stored(status="running", ended_at=None)
    operator = signed_in("view_run")
    page = operator.get(f"/admin/?{query}").text
    links = set(re.findall(r'href="(/admin/chat/run/\?[^"]+)"', page))
    assert len(links) >= 5
    for link in links:
        # A filter that the list doesn't know is removed by a redirect.
        found = operator.get(html.unescape(link))
        assert found.status_code == 200, link
        assert found.context["cl"].result_count == 1, link


@pytest.mark.django_db
def test_staff_without_permission_gets_djangos_index() -> None:
    stored()
    answer = signed_in().get("/admin/")
    assert answer.status_code == 200
    assert "Site administration" in answer.text
    assert 'class="dash' not in answer.text
    assert Run.objects.uncounted().count() == 1


@pytest.mark.django_db
def test_page_keeps_djangos_list_of_pages() -> None:
    page = signed_in("view_run").get("/admin/").text
    assert 'href="/admin/chat/run/"' in page
    assert "Recent actions" in page


@pytest.mark.django_db
def test_others_are_redirected_to_sign_in() -> None:
    assert Client().get("/admin/").status_code == 302
    assert signed_in("view_run", is_staff=False).get("/admin/").status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query",
    ["range=decade", "from=x", "from=2026-02-30", "from=2026-01-02&to=2026-01-01", "to=%00"],
)
def test_wrong_range_gets_a_message_and_the_last_day(query: str) -> None:
    client = signed_in("view_run")
    answer = client.get(f"/admin/?{query}")
    assert answer.status_code == 200
    assert "errornote" in answer.text
    assert 'href="?range=day" aria-current="true"' in answer.text


@pytest.mark.django_db
def test_empty_page_says_why_it_is_empty() -> None:
    page = signed_in("view_run").get("/admin/").text
    assert "No run ended in" in page
    assert "No answer is being written" in page
    assert "<svg class=" not in page


@pytest.mark.django_db
def test_number_of_queries_does_not_grow(django_assert_num_queries: Any) -> None:
    client = signed_in("view_run")
    addresses = [f"/admin/?range={name}" for name in ("hour", "day", "week", "month")]
    for number in range(40):
        stored(
            ended_at=timezone.now() - timedelta(hours=number * 5),
            model=f"m{number % 7}",
            owner=f"user:{number}",
        )
        stored(status="running", ended_at=None, worker=f"worker.{number}")
    rollup.count_all()
    for address in addresses:
        # Session, user, uncounted runs, periods, live runs twice, thumbs, and Django's own log.
        with django_assert_num_queries(10):
            client.get(address)


@pytest.mark.django_db
def test_page_has_no_inline_style_or_script() -> None:
    client = signed_in("view_run")
    stored()
    page = client.get("/admin/").text
    assert not re.search(r"\sstyle=", page)
    assert not re.search(r"\son\w+=", page)
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)


@pytest.mark.django_db
def test_each_chart_has_a_name_and_a_table_behind_it() -> None:
    client = signed_in("view_run")
    stored()
    page = client.get("/admin/").text
    drawings = page.count('role="img"')
    assert drawings == page.count('role="img" aria-label="') > 4
    assert page.count("<details>") == drawings
