"""What is somebody's: one row of every kind, full of words that are found wherever they show."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.utils.http import urlsafe_base64_encode
from redis import Redis

from chat.access.leaving import tag_of_session
from chat.access.owners import Owner
from chat.access.tokens import Service, Token
from chat.config.texts import ConfigText
from chat.conversations import Conversation, Message
from chat.instructions import Instructions
from chat.llm.refusals.changes import Change
from chat.protocol.events import ToolStart, stored
from chat.protocol.payloads import ToolCallData
from chat.search import index_questions
from chat.shares import Share
from routing.models import Comparison
from tests.pages.conversations import asked, decided_for, paused_run_of, run_of, stored_ask
from tests.pages.test_admin_refusals import keep as keep_refusal
from tests.tooling.inspector.entries import keep as keep_result
from tooling.models import PinnedTool

WORDS_IN_REDIS = {"query": "cachedzqquery", "passage": "cachedzqpassage"}


@dataclass(frozen=True, slots=True)
class Things:
    owner: Owner
    ids: Mapping[str, str]  # by what the tables call them
    words: Mapping[str, str]  # by kind
    secrets: frozenset[str]  # that no page shows, not even to their owner
    token: str  # of a program


def things_of(owner: Owner, name: str, redis: Redis) -> Things:
    """Store everything that an owner can have. `name` begins all its words."""
    words: dict[str, str] = {}

    def word(kind: str) -> str:
        return words.setdefault(kind, f"{name}zq{kind}")

    ids = {**store_chats(owner, word), **store_in_redis(redis)}
    words["link"] = ids["share"]
    Instructions.objects.keep(owner, word("instructions"), is_on=True)
    group = Group.objects.create(name=word("group"))
    service = Service.objects.create(slug=word("service"))
    user = User.objects.filter(pk=owner.id).first() if owner.kind == "user" else None
    token = Token.objects.make(user or service, word("token"))
    secrets = {token.text, token.row.digest}
    if user:
        elsewhere = Client()
        elsewhere.force_login(user)
        secrets |= {user.password, *user.sessions.values_list("pk", flat=True)}
        words |= {"name": user.username, "mail": user.email}
        words["sign-in"] = tag_of_session(elsewhere.session.session_key or "")
    user_id = str(user.pk if user else 0)
    text, _ = ConfigText.objects.get_or_create(digest="0123456789ab", text="[agents]")
    pin, _ = PinnedTool.objects.get_or_create(server="shop", tool="read")
    ids |= {
        "chat.token": token.row.pk,
        "chat.configtext": text.pk,
        "tooling.pinnedtool": str(pin.pk),
        "chat.service": str(service.pk),
        "auth.group": str(group.pk),
        "auth.user": user_id,
        "user": urlsafe_base64_encode(user_id.encode()),
        "wrong link": "c0ffee-00000000000000000000000000000000",
        "session": words.get("sign-in", tag_of_session(name)),
    }
    return Things(owner, ids, words | WORDS_IN_REDIS, frozenset(secrets), token.text)


def store_chats(owner: Owner, word: Callable[[str], str]) -> dict[str, str]:
    """Store a chat that is shared, with a run that has ended and one that waits, and a live one."""
    chat = Conversation.objects.create(owner=str(owner), title=word("shared"))
    searched = ToolCallData(tool="web_search", call_id="c1", arguments={"q": word("arguments")})
    run = run_of(
        chat,
        f"What is {word('question')}?",
        f"It is {word('answer')}.",
        steps=[stored(ToolStart(agent_id="researcher", author="Researcher", data=searched))],
    )
    decided_for(run, reasons=word("reasons"))
    Message.objects.filter(pk=run.question_id).update(summary=word("summary"))
    Comparison.objects.record(run.pk, "worse", tokens=9, judging=4, weights="0" * 12)
    share = Share.objects.show(chat)
    chat.rename(word("title"))
    paused = paused_run_of(chat, asked(message=word("ask"), arguments={"query": word("wanted")}))
    refused = stored_ask(
        run,
        message=word("ask"),
        arguments={"order": word("wanted")},
        state="refused",
        reply={"ask_id": str(uuid.uuid4()), "decision": "refuse", "text": word("reply")},
        replied_by=str(owner),
    )
    busy = Conversation.objects.create(owner=str(owner), title=word("title"))
    live = run_of(busy, word("question"), "", ending=None, text_so_far=word("beginning"))
    index_questions([run.question_id, paused.question_id, live.question_id])
    return {
        "chat": str(chat.pk),
        "run": str(run.pk),
        "live": str(live.pk),
        "message": str(run.message_id),
        "paused": str(paused.pk),
        "paused message": str(paused.message_id),
        "open ask": str(paused.asks.get().pk),
        "share": share.token,
        "chat.conversation": str(chat.pk),
        "chat.run": str(run.pk),
        "chat.ask": str(refused.pk),
        "routing.routingdecision": str(run.pk),
        "content type": str(ContentType.objects.get_for_model(Conversation).pk),
    }


def store_in_redis(redis: Redis) -> dict[str, str]:
    """Store a cached result, which quotes a question, and a refused part. Return their ids."""
    key = keep_result(redis, WORDS_IN_REDIS["query"], text=WORDS_IN_REDIS["passage"])
    forget = keep_refusal(redis, Change("tools"))
    return {
        "tooling.cachedresult": key.rpartition(":")[2],
        "chat.refusedpart": forget.split("/")[-3],
    }


def unknown_like(value: str) -> str:
    """Return an id of the same form, of nothing."""
    try:
        uuid.UUID(value)
    except ValueError:
        return "987654" if value.isdecimal() else value[::-1]
    return str(uuid.uuid4())
