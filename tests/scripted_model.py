"""A model server on loopback that plays scripts, with the API of OpenAI's chat completions.

A test sets what the server does with a question. Afterwards it can read the requests, and when the
client disconnected.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from chat.llm.messages import BYTES_PER_TOKEN
from tests.loopback import LoopbackServer
from tests.prefix_cache import PrefixCache, rendered, tokens_of

DEFAULT_ANSWER = ["The ", "answer ", "is ", "**42**", "."]


LONG_BYTES = 4000  # of a request's messages


@dataclass
class Script:
    """How the server answers one question. Times are seconds."""

    tokens: list[str] = field(default_factory=lambda: list(DEFAULT_ANSWER))
    first_after: float = 0  # before the first token
    pace: float = 0  # between tokens
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)  # body of an error status
    fail_times: int = 0  # so many calls fail with `status`, later ones don't
    hang_after: int | None = None  # tokens, then silence (0: before the first)
    hold_after: int | None = None  # tokens, then wait for `release`
    cut_after: int | None = None  # tokens, then the connection is dropped
    garbage_after: int | None = None  # tokens, then a line that is not JSON
    error_after: int | None = None  # tokens, then an error in the stream
    at_once: bool = False  # all tokens in one write
    reasoning: list[str] = field(default_factory=list)
    # Tool calls after the tokens, as name and arguments.
    calls: list[tuple[str, str]] = field(default_factory=list)
    call_id: str | None = None  # the same for all calls
    call_index: int | None = None  # the same for all calls, as some servers send it
    call_pace: float = 0  # between the parts of a call
    # So many comments before the tokens, at their pace, as servers send them to queued requests.
    waits: int = 0
    refusal: bool = False  # the tokens come as a refusal
    finish_reason: str = "stop"
    usage: bool = True
    thinking_tokens: int = 0  # reported in its usage, not sent
    # Fields of a request that it rejects, with the message of the error.
    refuses: dict[str, str] = field(default_factory=dict)
    # Reported in its usage. None: all of a long request, and 7 of a short one.
    read_tokens: int | None = None
    finish: bool = True
    trickle: bool = False  # one byte at a time


@dataclass
class Call:
    """One request that the server got."""

    body: dict[str, Any]
    script: Script
    headers: dict[str, str]  # names in lower case
    started: float = field(default_factory=time.monotonic)
    sent: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    ended_at: float | None = None
    hung_up: bool = False

    @property
    def question(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def instructions(self) -> str:
        return str(self.body["messages"][0]["content"])


class ScriptedModel:
    """The server, in a thread with its own event loop. Set OPENAI_BASE_URL to its `url`."""

    def __init__(self, port: int = 0) -> None:
        self.calls: list[Call] = []
        self.default = Script()
        self._scripts: dict[str, Script] = {}
        self._agents: dict[str, list[Script]] = {}
        self._assignments: dict[tuple[str, str], Sequence[Script]] = {}
        # What it replies at other paths, such as /v1/models: JSON, bytes, a status, or a status
        # with JSON. The key of a POST has the name of its model behind the path. At the others
        # it replies with status 404.
        self.replies: dict[str, Any] = {}
        self.asked: list[str] = []  # the keys of the requests for other paths
        # With one, it reports how many tokens it read, and how many of them it knew.
        self.cache: PrefixCache | None = None
        self._server = LoopbackServer(
            "/v1/chat/completions", self._complete, others=self._tell, port=port
        )

    @property
    def url(self) -> str:
        return f"{self._server.address}/v1"

    def reset(self) -> None:
        """Forget scripts and calls, and release requests that still wait."""
        self._server.hold_again()
        self._scripts.clear()
        self._agents.clear()
        self._assignments.clear()
        self.calls.clear()
        self.replies.clear()
        self.asked.clear()
        self.default = Script()
        self.cache = None

    def on(self, question: str, **script: Any) -> Script:
        """Play this script for this question."""
        self._scripts[question] = Script(**script)
        return self._scripts[question]

    def forget(self, question: str) -> list[Call]:
        """Forget a question's scripts, and the calls that were about it; return these."""
        self._scripts.pop(question, None)
        # A copy, because another thread adds questions meanwhile, and the server calls.
        for key in [key for key in list(self._assignments) if key[1] == question]:
            del self._assignments[key]
        about = [n for n, c in enumerate(self.calls) if question in str(c.body["messages"])]
        # From the end, for the same reason.
        return [self.calls.pop(number) for number in reversed(about)][::-1]

    def as_agent(self, instructions: str, *scripts: Script) -> None:
        """Play these scripts in turn for the agent with these instructions; repeat the last one."""
        self._agents[instructions] = list(scripts)

    def as_agent_on(self, instructions: str, question: str, *rounds: Script) -> None:
        """Play these scripts for the agent with these instructions when it works on this question.

        Each is for one round, the calls between an agent's tools; the last one is for later rounds.
        """
        self._assignments[instructions, question] = rounds

    def _script_for(self, body: dict[str, Any]) -> Script:
        messages = body["messages"]
        if script := self._scripts.get(str(messages[-1]["content"])):
            return script
        instructions = str(messages[0]["content"])
        # A round ends with the results of its tools, behind the question.
        asked = max(n for n, each in enumerate(messages) if each["role"] in ("system", "user"))
        question = str(messages[asked]["content"]).partition("\n")[0]
        if rounds := self._assignments.get((instructions, question)):
            done = sum(message["role"] == "assistant" for message in messages[asked:])
            return rounds[min(done, len(rounds) - 1)]
        scripts = self._agents.get(instructions, [])
        return scripts.pop(0) if len(scripts) > 1 else scripts[0] if scripts else self.default

    def release(self) -> None:
        """Let scripts that hold continue."""
        self._server.release()

    def release_once(self) -> None:
        """Let scripts that hold now continue; later ones hold again."""
        self._server.hold_again()

    def stop(self) -> None:
        self._server.stop()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        script = self._script_for(body)
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(body, script, headers)
        self.calls.append(call)
        try:
            if script.status != 200 and (
                not script.fail_times or self._tries(call) <= script.fail_times
            ):
                return web.json_response(
                    {"error": script.error or {"message": "scripted"}},
                    status=script.status,
                    headers=script.headers,
                )
            for part, message in script.refuses.items():
                if part in body:
                    return web.json_response({"error": {"message": message}}, status=400)
            return await self._play(request, call)
        except (asyncio.CancelledError, ConnectionError):
            call.hung_up = True
            raise
        finally:
            call.ended_at = time.monotonic()
            call.ended.set()

    async def _tell(self, request: web.Request) -> web.Response:
        key = request.path
        if request.method == "POST":
            key += f"/{(await request.json())['model']}"
        self.asked.append(key)
        if key not in self.replies:
            return web.Response(status=404)
        reply = self.replies[key]
        match reply:
            case bytes():
                return web.Response(body=reply)
            case int():
                return web.Response(status=reply)
            case (int(status), content):
                return web.json_response(content, status=status)
        return web.json_response(reply)

    def _tries(self, call: Call) -> int:
        return sum(other.question == call.question for other in self.calls)

    async def _play(self, request: web.Request, call: Call) -> web.StreamResponse:
        script = call.script
        text = rendered(call.body) if self.cache else ""
        known = self.cache.known_tokens(text) if self.cache else 0
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if script.at_once:
            await response.write(b"".join(_event({"content": token}) for token in script.tokens))
        else:
            await self._play_tokens(request, response, call)
        for number, (name, arguments) in enumerate(script.calls):
            # Servers send a call in parts.
            call_id = f"call-{number}" if script.call_id is None else script.call_id
            index = number if script.call_index is None else script.call_index
            begun = {
                "index": index,
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": arguments[:5]},
            }
            await response.write(_event({"tool_calls": [begun]}))
            for part in (
                [arguments[at : at + 5] for at in range(5, len(arguments), 5)]
                if script.call_pace
                else [arguments[5:]]
            ):
                await response.write(
                    _event({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
                )
                await asyncio.sleep(script.call_pace)
        if script.finish:
            end = _event({}, finish="tool_calls" if script.calls else script.finish_reason)
            if script.usage:
                usage: dict[str, Any] = {
                    "prompt_tokens": read_tokens_of(call),
                    "completion_tokens": len(script.tokens) + script.thinking_tokens,
                    "completion_tokens_details": {
                        "reasoning_tokens": script.thinking_tokens or None
                    },
                }
                if self.cache:
                    usage["prompt_tokens"] = tokens_of(text)
                    usage["prompt_tokens_details"] = {"cached_tokens": known}
                    said = {"role": "assistant", "content": "".join(script.tokens)}
                    self.cache.add(
                        rendered({**call.body, "messages": [*call.body["messages"], said]})
                    )
                end += b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
            await response.write(end + b"data: [DONE]\n\n")
        return response

    async def _play_tokens(
        self, request: web.Request, response: web.StreamResponse, call: Call
    ) -> None:
        script = call.script
        for thought in script.reasoning:
            await response.write(_event({"reasoning_content": thought}))
        for _ in range(script.waits):
            await response.write(b": waiting\n\n")
            await asyncio.sleep(script.pace)
        await asyncio.sleep(script.first_after)
        for number, token in enumerate(script.tokens):
            await self._pause_before(number, request, response, script)
            data = _event({"refusal" if script.refusal else "content": token})
            for part in [data[i : i + 1] for i in range(len(data))] if script.trickle else [data]:
                await response.write(part)
            call.sent = number + 1
            if script.pace:
                await asyncio.sleep(script.pace)
        await self._pause_before(len(script.tokens), request, response, script)

    async def _pause_before(
        self, number: int, request: web.Request, response: web.StreamResponse, script: Script
    ) -> None:
        if script.hang_after == number:
            await asyncio.Event().wait()
        if script.hold_after == number:
            await self._server.released.wait()
        if script.garbage_after == number:
            await response.write(b"data: {not json\n\n")
        if script.error_after == number:
            await response.write(b'data: {"error": {"message": "scripted", "code": 500}}\n\n')
        if script.cut_after == number:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError


def read_tokens_of(call: Call) -> int:
    """Return how many tokens the server says that it has read."""
    if call.script.read_tokens is not None:
        return call.script.read_tokens
    size = sum(len(str(message["content"]).encode()) for message in call.body["messages"])
    return size // BYTES_PER_TOKEN if size > LONG_BYTES else 7


def _event(delta: dict[str, Any], finish: str | None = None) -> bytes:
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


if __name__ == "__main__":
    # For experiments by hand: stream a paced answer to every question.
    model = ScriptedModel(port=8100)
    model.default = Script(tokens=[f"word{n} " for n in range(200)], first_after=0.3, pace=0.03)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
