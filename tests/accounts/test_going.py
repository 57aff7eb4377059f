"""Taking everything along, and deleting everything."""

import io
import json
import re
import zipfile
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient, Client

from chat.access.owners import Owner
from chat.access.signins import Session
from chat.access.tokens import Token
from chat.accounts.trying import EXPORTS
from chat.conversations import Conversation
from chat.database import in_database
from chat.export.everything import PIECE, zip_of
from chat.models import Run
from chat.protocol.errors import ProtocolError
from tests.chatting import Chatting, cookie_header
from tests.pages.conversations import conversation_of, owner_of, run_of
from tests.scripted_model import ScriptedModel

from .people import PASSWORD, is_signed_in, owner, signed_in

ORIGIN = "http://testserver"


async def exported(client: Client) -> zipfile.ZipFile:
    browser = AsyncClient()
    browser.cookies = client.cookies
    response = await browser.get("/account/export/")
    assert response.status_code == 200
    assert re.search(
        r'filename="agenticfleet-\d{4}-\d\d-\d\d.zip"', response["Content-Disposition"]
    )
    parts = [part async for part in response.streaming_content]
    return zipfile.ZipFile(io.BytesIO(b"".join(parts)))


def chats_of(who: Owner, *titles: str) -> list[Conversation]:
    chats = [Conversation.objects.create(owner=str(who), title=title) for title in titles]
    for chat in chats:
        run_of(chat, f"Question in {chat.title}")
    return chats


@pytest.mark.django_db(transaction=True)
class TestExport:
    async def test_zip_has_each_chat_for_people_and_for_programs(self) -> None:
        client = await in_database(signed_in)
        who = await in_database(owner)
        first, *_ = await in_database(chats_of, who, "Kafka", "Kafka", "../../etc: Füße / 🦊")
        await in_database(chats_of, Owner("user", "0"), "of somebody else")
        with await exported(client) as file:
            assert file.testzip() is None
            names = file.namelist()
            assert len(names) == len(set(names)) == 6
            assert all(
                re.fullmatch(r"\d{4}-\d\d-\d\d [^/\\:]+ [0-9a-f]{8}\.(md|json)", n) for n in names
            )
            words = {name: file.read(name).decode() for name in names}
        assert sum("Question in Kafka" in text for text in words.values()) == 4
        assert not any("somebody else" in text for text in words.values())
        documents = [json.loads(text) for name, text in words.items() if name.endswith("json")]
        assert {document["chat"]["id"] for document in documents} >= {str(first.pk)}

    async def test_browser_without_an_account_takes_its_chats_along(self, client: Client) -> None:
        await in_database(lambda: run_of(conversation_of(client, "mine")))
        with await exported(client) as file:
            assert len(file.namelist()) == 2

    async def test_empty_zip_can_be_opened(self, client: Client) -> None:
        with await exported(client) as file:
            assert file.namelist() == []

    def test_so_many_exports_an_hour_are_made_and_headers_are_free(self, client: Client) -> None:
        path = "/account/export/"
        for _ in range(EXPORTS.count):
            assert client.head(path).status_code == client.get(path).status_code == 200
        refused = client.get(path)
        assert refused.status_code == 429
        assert 0 < int(refused["Retry-After"]) <= 3600
        assert client.head(path).status_code == 200

    def test_large_zip_is_made_in_pieces(self) -> None:
        who = Owner("browser", "b")
        for number in range(12):
            chat = Conversation.objects.create(owner=str(who), title="long")
            run_of(chat, answer="".join(f"{number} {n * n * 7919} " for n in range(20_000)))
        chat = Conversation.objects.create(owner=str(who), title="of many questions")
        for number in range(200):
            run_of(chat, answer="".join(f"{number} {n * n * 7919} " for n in range(1000)))
        pieces = list(zip_of(who))
        assert len(pieces) > 5
        assert max(map(len, pieces)) < 8 * PIECE
        assert zipfile.ZipFile(io.BytesIO(b"".join(pieces))).testzip() is None


def delete(client: Client, **fields: str) -> Any:
    return client.post("/account/delete/", fields)


@pytest.mark.django_db
class TestDeletion:
    def test_account_goes_with_everything_and_leaves_others_alone(self) -> None:
        client, phone, bob = signed_in(), signed_in(), signed_in("bob")
        mine, others = owner(), owner("bob")
        chats_of(mine, "one", "two")
        chats_of(others, "of bob")
        assert "2 chats" in client.get("/account/delete/").content.decode()
        response = delete(client, password=PASSWORD)
        assert "The account is deleted" in response.content.decode()
        assert list(User.objects.values_list("username", flat=True)) == ["bob"]
        assert {chat.owner for chat in Conversation.objects.all()} == {str(others)}
        assert Session.objects.count() == 1
        assert not is_signed_in(phone)
        assert is_signed_in(bob)

    def test_neither_token_nor_password_counts_while_the_account_is_deleted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = signed_in()
        token = Token.objects.make(User.objects.get(), "laptop")
        tried: list[str] = []

        def try_all(who: Owner) -> None:
            with pytest.raises(ProtocolError):
                Token.objects.accept(token.text, scope="ask", address="")
            fields = {"username": "ann", "password": PASSWORD}
            assert Client().post("/login/", fields).status_code == 200
            tried.append(str(who))

        monkeypatch.setattr("chat.accounts.page.delete_all_of", try_all)
        who = owner()
        assert delete(client, password=PASSWORD).status_code == 200
        assert tried == [str(who)]

    def test_wrong_password_deletes_nothing(self) -> None:
        client = signed_in()
        assert delete(client, password="wrong").status_code == 422
        assert delete(client).status_code == 422
        assert delete(client, name="ann").status_code == 422
        assert is_signed_in(client)

    def test_person_without_a_password_confirms_with_the_name(self) -> None:
        user = User.objects.create_user("sso")
        client = Client()
        client.force_login(user)
        assert delete(client, name="other").status_code == 422
        assert delete(client, name="sso").status_code == 200
        assert not User.objects.exists()

    def test_last_superuser_must_stay(self) -> None:
        client = signed_in()
        User.objects.update(is_superuser=True)
        assert "must stay" in client.get("/account/delete/").content.decode()
        assert delete(client, password=PASSWORD).status_code == 422
        assert is_signed_in(client)
        User.objects.create_superuser("root")
        assert delete(client, password=PASSWORD).status_code == 200

    def test_users_whom_an_admin_deletes_take_their_chats_along(self, admin_client: Client) -> None:
        client = signed_in()
        chats_of(owner(), "one")
        user = User.objects.get(username="ann")
        admin_client.post(f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"})
        assert not Conversation.objects.exists()
        assert not is_signed_in(client)

    def test_browser_deletes_its_chats_and_no_others(
        self, client: Client, stranger: Client
    ) -> None:
        run_of(conversation_of(client))
        run_of(conversation_of(stranger))
        assert "1 chat" in client.get("/account/chats/delete/").content.decode()
        assert client.post("/account/chats/delete/").url == "/account/"
        assert [chat.owner for chat in Conversation.objects.all()] == [owner_of(stranger)]


@pytest.fixture
def stranger() -> Client:
    return Client()


@pytest.mark.django_db(transaction=True)
async def test_answer_that_is_being_written_ends_with_the_account(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    client = await in_database(signed_in)
    headers = {"cookie": cookie_header(client), "origin": ORIGIN}
    socket = await chat.ask("hold", headers=headers)
    await socket.until("response.delta")
    await in_database(delete, client, password=PASSWORD)
    assert (await socket.rest())[-1]["type"] in ("done", "error")
    assert await in_database(model.calls[0].ended.wait, 20)
    assert not await Run.objects.aexists()
