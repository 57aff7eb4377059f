"""Exports of the admin's lists, as CSV and JSON lines."""

import csv
import json
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient

from chat.admin import exports
from chat.conversations import Conversation
from chat.database import in_database
from chat.models import Run
from chat.search import index_questions

from .conversations import decided_for, run_of, stored_ask

pytestmark = pytest.mark.django_db(transaction=True)

RUNS = "/admin/chat/run/export"
FIGURES = ("view_run", "view_conversation", "view_routingdecision")
FORMULA = "=HYPERLINK(1)"


def stored(question: str = "What is Kafka?", answer: str = "A log.") -> Run:
    chat = Conversation.objects.create(owner="browser:b", title=question)
    run = run_of(chat, question, answer)
    index_questions([run.question_id])
    decided_for(run, reasons="its question is short")
    return run


def user_with(*permissions: str) -> User:
    user = User.objects.create_user("ada", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


async def client_with(*permissions: str) -> AsyncClient:
    client = AsyncClient()
    await client.aforce_login(await in_database(user_with, *permissions))
    return client


async def exported(client: AsyncClient, address: str) -> str:
    response = await client.get(address)
    assert response.status_code == 200
    return b"".join([part async for part in response.streaming_content]).decode()


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("chat/run", "question"),
        ("chat/conversation", "title"),
        ("routing/routingdecision", "reasons"),
    ],
)
async def test_list_is_exported_as_csv_and_as_json_lines(name: str, column: str) -> None:
    await in_database(stored)
    client = await client_with(*FIGURES, "export_run", "read_content")
    [row] = csv.DictReader(StringIO(await exported(client, f"/admin/{name}/export.csv")))
    [line] = (await exported(client, f"/admin/{name}/export.jsonl")).splitlines()
    assert row.keys() == json.loads(line).keys()
    assert row[column] == json.loads(line)[column] != ""


async def test_export_without_read_content_holds_lengths() -> None:
    await in_database(stored)
    client = await client_with(*FIGURES, "export_run")
    for file_format in ("csv", "jsonl"):
        text = await exported(client, f"{RUNS}.{file_format}")
        assert "Kafka" not in text
        assert "A log." not in text
        assert "14 characters" in text


@pytest.mark.parametrize("may_read", [True, False])
async def test_export_of_asks_has_arguments_before_and_after(may_read: bool) -> None:
    reply = {"decision": "edit", "arguments": {"order": "A-18"}}
    await in_database(stored_ask, state="edited", reply=reply)
    client = await client_with("view_ask", "export_run", *(["read_content"] if may_read else []))
    [line] = (await exported(client, "/admin/chat/ask/export.jsonl")).splitlines()
    [row] = csv.DictReader(StringIO(await exported(client, "/admin/chat/ask/export.csv")))
    found = json.loads(line)
    assert row.keys() == found.keys()
    if may_read:
        assert (found["arguments"]["order"], found["reply"]) == ("A-17", reply)
        assert json.loads(row["reply"]) == reply
    else:
        assert found["arguments"] == row["arguments"] == "28 characters"
        assert "A-1" not in line


async def test_export_needs_its_permission_and_that_of_the_list() -> None:
    for_list = await client_with(*FIGURES, "read_content")
    assert (await for_list.get(f"{RUNS}.csv")).status_code == 403
    await in_database(User.objects.all().delete)
    for_export = await client_with("export_run", "read_content")
    assert (await for_export.get(f"{RUNS}.csv")).status_code == 403


async def test_export_keeps_filters_and_search() -> None:
    wanted = await in_database(stored, "Tell me about zebras")
    await in_database(stored)
    client = await client_with(*FIGURES, "export_run", "read_content")
    for query in ("q=zebras", f"q={wanted.pk}", "q=zebras&status=completed&period=day"):
        [line] = (await exported(client, f"{RUNS}.jsonl?{query}")).splitlines()
        assert json.loads(line)["id"] == str(wanted.pk)
    assert not await exported(client, f"{RUNS}.jsonl?status=failed")


async def test_wrong_filter_exports_nothing() -> None:
    client = await client_with(*FIGURES, "export_run")
    for address in (f"{RUNS}.csv?status=sideways", f"{RUNS}.pdf"):
        response = await client.get(address, follow=True)
        assert "Nothing was exported." in response.text


async def test_csv_cells_are_no_formulas() -> None:
    for start in ("=1+1", "+1", "-1", "@A1", "\tx", "\rx", "a,b\n\"c'"):
        await in_database(stored, start, FORMULA)
    client = await client_with(*FIGURES, "export_run", "read_content")
    rows = list(csv.DictReader(StringIO(await exported(client, f"{RUNS}.csv"), newline="")))
    assert {row["question"] for row in rows} == {
        "'=1+1",
        "'+1",
        "'-1",
        "'@A1",
        "'\tx",
        "'\rx",
        "a,b\n\"c'",
    }
    assert {row["answer"] for row in rows} == {f"'{FORMULA}"}


async def test_export_reads_in_pieces_and_misses_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROWS_AT_ONCE", 2)
    ids = {str((await in_database(stored)).pk) for _ in range(5)}
    # Rows of the same moment, as a bulk import makes them.
    newest = await Run.objects.afirst()
    await Run.objects.aupdate(created_at=newest.created_at)
    client = await client_with(*FIGURES, "export_run")
    for name, key in (("chat/run", "id"), ("routing/routingdecision", "workflow_id")):
        lines = (await exported(client, f"/admin/{name}/export.jsonl")).splitlines()
        assert len(lines) == 5
        assert {json.loads(line)[key] for line in lines} == ids
    assert len((await exported(client, "/admin/chat/conversation/export.csv")).splitlines()) == 6


async def test_nothing_more_is_read_after_the_client_has_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pieces: list[int] = []
    read = exports.Export.piece

    def counted(self: exports.Export, after: exports.Row | None) -> list[exports.Row]:
        rows = read(self, after)
        pieces.append(len(rows))
        return rows

    monkeypatch.setattr(exports, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(exports.Export, "piece", counted)
    for _ in range(5):
        await in_database(stored)
    client = await client_with(*FIGURES, "export_run")
    response = await client.get(f"{RUNS}.jsonl")
    parts = aiter(response.streaming_content)
    await anext(parts)
    await parts.aclose()
    assert pieces == [1]
