"""Programs of a storm that ask at the doors and read the answer. Each kind is a row of DOORS.

Rules of all kinds: no response has two ends, and one that ends clean has one. In the end each
program has got the ending that the row has, and the text that the row has.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, Literal

import aiohttp

from chat.doors.responses.rendering import BEHIND_GAP
from tests.chatting import AS_SCRIPT
from tests.doors.agui_client import Client
from tests.doors.responses.rendered import Reader

from .doors import NO_TIMEOUT, messages_of
from .journal import Journal
from .plans import RunPlan
from .rows import Row

AGAIN = ("shutting_down", "storage_unavailable")  # codes of errors that are not of the run
MODELS = {"light": "fleet-light", "full": "fleet-full", "auto": "fleet"}
LOST = ("cut", "left", "silent", "unreachable")  # ends of streams that aren't whole
LEAVES = [1, 5, 40]  # messages after which a program leaves

type End = Literal["clean", "cut", "left", "silent", "unreachable", "refused", "over", "broken"]
type Body = dict[str, Any]


@dataclass(slots=True)
class Got:
    """What one request of a caller got, and how it ended."""

    end: End = "cut"
    status: int = 0
    code: str = ""  # of the error that a status or the stream had
    count: int = 0  # of messages
    finishes: int = 0  # messages that say how the answer, or this response, has ended
    is_closed: bool = False  # as its protocol has it
    broken: str = ""  # why a client would throw
    opened: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. Without a body it reads what was asked before."""

    path: str
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Caller:
    """A program that asks, and asks again if it is cut, until no request can change the ending."""

    name: ClassVar[str]

    def __init__(
        self,
        run: RunPlan,
        address: Callable[[], str],
        journal: Journal,
        rng: Random,
        *,
        is_late: bool = False,
    ) -> None:
        self.responses: list[Got] = []
        self.text = ""  # the answer that it has
        self.ending = ""  # the status that this answer ended with
        self.code = ""  # of the error that it ended with
        self._run = run
        self._address = address
        self._journal = journal
        self._rng = rng
        self._pause = 0 if is_late else rng.choice([0, 0.3, 2]) * rng.random()
        # After so many messages it leaves, and comes back.
        leaves = 0 if is_late else rng.choice([0, 0, 1, 3])
        self._leaves = [rng.choice(LEAVES) for _ in range(leaves)]

    @staticmethod
    def key_of(run: RunPlan) -> str:
        """Return the key by which all requests of this run are the same one."""
        return f"run {run.number} of the storm"

    def asked(self) -> Asked:
        """Return the next request, and forget what it will tell again."""
        raise NotImplementedError

    def take(self, at: str, data: bytes, got: Got) -> None:
        """Take a message with its id. Raise AssertionError if a client would throw."""
        raise NotImplementedError

    def text_breaks(self, row: Row, *, was_begun_again: bool) -> Iterator[str]:
        """Yield how the text differs from the row's."""
        if self.text != row.text:
            yield different(self.text, row)

    def is_over(self, got: Got) -> bool:
        """Return True if no further request is needed."""
        # A clean end without an ending breaks a rule already.
        has_no_end = got.end == "clean" and not got.finishes
        return bool(self.ending) or has_no_end or got.end in ("over", "broken")

    def end(self, got: Got, ending: str, code: str = "") -> None:
        """Note the ending, unless only this response has ended."""
        got.finishes += 1
        got.code = code
        if code not in AGAIN:
            self.ending, self.code = ending, code

    async def follow(self) -> None:
        """Ask until there is an end that no request can change."""
        await asyncio.sleep(self._pause)
        while True:
            got = Got()
            self.responses.append(got)
            await self._call(got, self._leaves.pop(0) if self._leaves else None)
            if self.is_over(got):
                return
            await asyncio.sleep(self._rng.uniform(0.1, 0.6))

    async def _call(self, got: Got, most: int | None) -> None:
        asked = self.asked()
        method = "GET" if asked.body is None else "POST"
        url, headers = f"{self._address()}{asked.path}", {**AS_SCRIPT, **asked.headers}
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=NO_TIMEOUT) as session,
                session.request(method, url, json=asked.body) as response,
            ):
                got.status = response.status
                if response.status == 204:
                    got.end = "over"
                elif response.status == 200:
                    await self._read(response.content, got, most)
                else:
                    refusal = (await response.json())["error"]["code"]
                    got.end = "refused"
                    self.end(got, "failed", refusal)
        except TimeoutError:
            got.end = "silent"
            self._journal.count("client: gave up on a silent stream")
        except (aiohttp.ClientError, OSError) as exc:
            got.end = "cut" if got.status else "unreachable"
            got.code = got.code or repr(exc)

    async def _read(self, content: aiohttp.StreamReader, got: Got, most: int | None) -> None:
        async with aclosing(messages_of(content)) as messages:
            async for at, data in messages:
                try:
                    self.take(at, data, got)
                except (AssertionError, LookupError, ValueError) as exc:
                    got.end, got.broken = "broken", repr(exc)[:200]
                    return
                got.count += 1
                if got.count == most:
                    got.end = "left"
                    self._journal.count("client: left a stream")
                    return
        got.end = "clean"


# --- The kinds


class Completions(Caller):
    """It gets the whole answer from each request. What was said can't be taken back."""

    name = "completions"

    def asked(self) -> Asked:
        self.text = self.ending = self.code = ""
        body: Body = {
            "model": MODELS[self._run.play.mode],
            "messages": [{"role": "user", "content": self._run.question}],
            "stream": True,
            "metadata": {"on_disconnect": "continue"},
        }
        return Asked("v1/chat/completions", body, {"Idempotency-Key": self.key_of(self._run)})

    def take(self, at: str, data: bytes, got: Got) -> None:
        assert not got.is_closed, "nothing follows [DONE]"
        if data == b"[DONE]":
            got.is_closed = True
            return
        chunk = json.loads(data)
        if "error" in chunk:
            self.end(got, "failed", chunk["error"]["code"])
        for choice in chunk.get("choices", ()):
            self.text += choice["delta"].get("content") or ""
            if choice["finish_reason"] is not None:
                self.end(got, chunk["fleet"]["status"])

    def is_over(self, got: Got) -> bool:
        # A stream without [DONE] was cut.
        return super().is_over(got) and (got.is_closed or got.end not in LOST)

    def text_breaks(self, row: Row, *, was_begun_again: bool) -> Iterator[str]:
        if self.ending == "failed":
            return
        # Behind a paused answer it says what a person must decide.
        is_right = self.text == row.text or (
            row.status == "paused" and self.text.startswith(row.text)
        )
        # An answer that was begun again stands behind what was sent, unless it ended as only the
        # beginning of that.
        if was_begun_again:
            is_right |= row.status == "paused" or self.text.endswith(row.text)
            is_right |= row.status == "cancelled" and self.text.startswith(row.text)
        if not is_right:
            yield different(self.text, row)


class Responses(Caller):
    """It gets the events of the response from the first one on, and checks that none is missing."""

    name = "responses"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reader = Reader()
        self._cursor = -1

    def asked(self) -> Asked:
        self.ending = self.code = ""
        self._reader, self._cursor = Reader(), -1
        return self.asking(metadata={"on_disconnect": "continue"})

    def asking(self, **fields: Any) -> Asked:
        play, question = self._run.play, self._run.question
        body = {"model": MODELS[play.mode], "input": question, "stream": True, **fields}
        return Asked("v1/responses", body, {"Idempotency-Key": self.key_of(self._run)})

    def take(self, at: str, data: bytes, got: Got) -> None:
        told = json.loads(data)
        assert not got.finishes, "nothing follows the ending"
        self.place(told, got)
        if told["type"] == "error":
            self.end(got, "failed", told["code"])
        else:
            self._reader.take(told)
            if response := self._reader.response:
                self.text = self._reader.text
                error = response["error"]
                details = response["incomplete_details"]
                ending = details["reason"] if details else response["status"]
                self.end(got, ending, error["code"] if error else "")
        got.is_closed = got.finishes == 1

    def place(self, told: Body, got: Got) -> None:
        """Take the place of an event: the next one, or where another worker or a gap begins."""
        number, last = told["sequence_number"], self._cursor
        is_takeover = number > last and number % BEHIND_GAP == 0
        assert number in (last + 1, last + 1 + BEHIND_GAP) or is_takeover, f"{last}, {number}"
        if told["type"] != "error":
            self._cursor = number

    def text_breaks(self, row: Row, *, was_begun_again: bool) -> Iterator[str]:
        if got_no_response(self):
            return
        # A paused one says, too, what it waits for. One that was begun again and cut keeps what was
        # told as long as the new text may become that.
        may_have_more = row.status == "paused" or (was_begun_again and row.status != "completed")
        if self.text != row.text and not (may_have_more and self.text.startswith(row.text)):
            yield different(self.text, row)


def got_no_response(caller: Responses) -> bool:
    """Return True if it got the failure as an error only."""
    return caller.ending == "failed" and caller._reader.response is None


class Background(Responses):
    """It asks in the background, and goes on behind what it has."""

    name = "background"
    _id = ""

    def asked(self) -> Asked:
        if self._id:
            return Asked(f"v1/responses/{self._id}?stream=true&starting_after={self._cursor}")
        return self.asking(background=True)

    def place(self, told: Body, got: Got) -> None:
        if told["type"] == "response.created":
            self._id = told["response"]["id"]
        is_ending = told["type"] in ("response.completed", "response.failed", "response.incomplete")
        if is_ending and not got.count and self._id and told["sequence_number"] > self._cursor:
            # All that it gets if its place can't be found any more. Counted, because it should be
            # rare.
            self._journal.count("client: got only the ending of a response")
            self._reader.open.clear()
            self._cursor = told["sequence_number"]
        else:
            super().place(told, got)


class Agui(Caller):
    """It goes on behind the last id, and has what @ag-ui/client would have."""

    name = "agui"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sent = [{"id": "question", "role": "user", "content": self._run.question}]
        self._client = Client(self._sent)

    @staticmethod
    def key_of(run: RunPlan) -> str:
        return "\n".join(ids_of(run))

    def asked(self) -> Asked:
        if not self._client.last_id:
            self._client = Client(self._sent)
        thread, run_id = ids_of(self._run)
        body: Body = {
            "threadId": thread,
            "runId": run_id,
            "messages": self._sent,
            "tools": [],
            "context": [],
            "state": {},
            "forwardedProps": {
                "fleet": {"mode": self._run.play.mode, "on_disconnect": "continue"},
            },
        }
        if reply := self._run.reply:
            body["resume"] = [entry_of(each) for each in reply.replies]
        cursor = self._client.last_id
        return Asked("agui", body, {"Last-Event-ID": cursor} if cursor else {})

    def take(self, at: str, data: bytes, got: Got) -> None:
        client, message = self._client, json.loads(data)
        if at:
            assert place_in(at) >= place_in(client.last_id), f"{at[:20]} is behind"
            client.last_id = at
        client.take(message)
        self.text = "".join(client.texts)
        if not client.ended:
            return
        got.is_closed = True
        if client.ended == "RUN_FINISHED":
            kind = client.outcome["type"]
            self.end(got, {"success": "completed", "interrupt": "paused"}.get(kind, kind))
        else:
            self.end(got, "failed", message["code"])
            if not self.ending:
                # Without an id, so it is not of the run: the client runs it again.
                client.last_id = ""

    def is_over(self, got: Got) -> bool:
        # One that was cut behind the ending asks again, and is told that there is nothing more.
        return super().is_over(got) and got.end not in LOST


def ids_of(run: RunPlan) -> tuple[str, str]:
    """Return the ids of the thread and the run, as the client has them."""
    if run.reply:
        # The thread of a run that another door may have begun.
        return run.reply.conversation, f"behind {run.reply.continues}"
    return f"thread {run.number} of the storm", "run"


def entry_of(reply: Mapping[str, Any]) -> Body:
    """Return a reply as AG-UI has it."""
    if reply["decision"] == "withdraw":
        return {"interruptId": reply["ask_id"], "status": "cancelled"}
    payload: Body = {"approved": reply["decision"] != "refuse"}
    if reply["decision"] == "edit":
        payload["editedArgs"] = reply["arguments"]
    return {"interruptId": reply["ask_id"], "status": "resolved", "payload": payload}


def place_in(cursor: str) -> int:
    return int(cursor.partition(" ")[0]) if cursor else 0


def different(text: str, row: Row) -> str:
    return f"its text has {len(text)} characters, the row's {len(row.text)} ({row.kind})"


# Kinds that name a run by the same key are its readers together.
DOORS: tuple[tuple[type[Caller], ...], ...] = ((Completions, Responses, Background), (Agui,))


def kinds_of(seed: int, run: RunPlan) -> tuple[type[Caller], ...]:
    """Return the kinds of programs that ask for this run, or reply to the one before it."""
    if run.reply:
        return (Agui,) if run.reply.conversation else ()
    return Random(f"{seed}/doors/{run.number}").choice(DOORS)


# --- Rules


def caller_breaks(caller: Caller, row: Row, *, was_begun_again: bool) -> Iterator[str]:
    """Yield where a caller got no end, more than one, or another answer than the row has."""
    for number, got in enumerate(caller.responses):
        if got.broken:
            yield f"response {number}: {got.broken}"
        elif got.end == "clean" and (got.finishes != 1 or not got.is_closed):
            yield f"response {number} ended clean with {got.finishes} ends"
        elif got.finishes > 1:
            yield f"response {number} has {got.finishes} ends"
    if not caller.responses or caller.responses[-1].broken:
        return
    if not caller.ending:
        yield f"it got no end: {caller.responses[-1].end}"
    elif caller.ending != row.status:
        yield f"it ended as {caller.ending} {caller.code}, the row is {row.kind}"
    elif row.status == "failed" and caller.code != row.kind:
        yield f"it got {caller.code}, the row has {row.kind}"
    else:
        yield from caller.text_breaks(row, was_begun_again=was_begun_again)
