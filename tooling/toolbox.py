"""The tools of one run: those on offer, the result of each call, and the sources."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import msgspec

from .cache import Lookup
from .calls import Call, NotMade, Rejection, Source, ToolResult, checked
from .entries import Wanted
from .failures import failure_of, too_late
from .flights import Flights
from .known import tools_of
from .person import PERSON
from .registry import CallKey, Tool
from .results import Given, NeedsInput, Output, Passage, ToolFailure
from .schema import Arguments
from .services import Services
from .shown import shown
from .untrusted import cut, fenced, one_line, visible, web_host
from .urls import addresses_in, page_key

MAX_TITLE_CHARS = 150
MAX_DATE_CHARS = 40
UNTITLED = "Untitled"
MAX_MESSAGE_CHARS = 300  # of a failure, which may quote a model
MAX_CLOSED_SECONDS = 60.0  # for which this process closes a tool; Redis knows the rest
# Times `max_calls`. Wrong and repeated calls count, or a model could send them without end.
ATTEMPTS_PER_CALL = 4


class Toolbox:
    """The tools of one run. It never raises for a mistake of a model or a provider.

    It makes at most `max_calls` different calls. `max_chars` bounds each result, for models with a
    small context. The person must approve calls of the tools in `approve`. `words` are the
    person's own: tools that open addresses may open those in them, and those of results.
    """

    def __init__(
        self,
        services: Services,
        *,
        allowed: frozenset[str],
        max_calls: int,
        fresh: bool = False,
        max_chars: int = 100_000,
        approve: Collection[str] = (),
        tools: Mapping[str, Tool] | None = None,
        words: Collection[str] = (),
    ) -> None:
        self.sources: list[Source] = []  # of all results, by number
        self.calls = 0
        self._services = services
        tools = tools_of(services) if tools is None else tools
        self._tools = {name: tool for name, tool in tools.items() if name in allowed}
        self._known = tools.keys()
        self._max_calls = max_calls
        self._fresh = fresh
        self._max_chars = max_chars
        self._approve = approve
        self._named = {page_key(url) for text in words for url in addresses_in(text)}
        self._attempts = 0
        self._told: set[int] = set()
        self._planned: set[str] = set()
        self._results: dict[str, ToolResult] = {}
        self._made: Counter[str] = Counter()  # calls by tool
        self._flights: Flights[ToolResult] = Flights()
        self._mark = secrets.token_hex(4)

    @property
    def credits(self) -> float:
        """What the results so far have cost at the search provider."""
        return sum(result.credits for result in self._results.values())

    @property
    def names(self) -> frozenset[str]:
        """The tools that can be called now."""
        usable = {name for name, tool in self._tools.items() if not self.why_off(tool)}
        # One that opens addresses is no use before there can be any.
        if not self._named and "web_search" not in usable:
            usable -= {name for name, tool in self._tools.items() if tool.opens}
        return frozenset(usable)

    def offered(self, among: Collection[str] | None = None) -> list[dict[str, Any]]:
        """Return the tools that can be called now, as an OpenAI-compatible server expects them."""
        return [tool.offer for tool in self.usable_tools(among)]

    def usable_tools(self, among: Collection[str] | None = None) -> list[Tool]:
        """Return the tools that can be called now."""
        return [self._tools[name] for name in self.usable(among)]

    def reason_off(self, name: str) -> str:
        """Return why this tool cannot be called now, for a reader; an empty string if it can."""
        return self.why_off(self._tools[name]) if name in self._tools else ""

    def check(
        self,
        name: str,
        arguments: str | dict[str, Any],
        *,
        among: Collection[str] | None = None,
        is_too_late: bool = False,
        by_person: bool = False,
    ) -> Call | Rejection:
        """Count the call and return it, ready to be made, or return why it must not be made.

        `arguments` are what a model sends: JSON text, or an object. `among` limits the call to
        these tools. Set `is_too_late` if the model would not read the result, `by_person` if the
        person wrote the arguments.
        """
        self._attempts += 1
        try:
            call = self._plan(name, arguments, among, is_too_late, by_person=by_person)
        except NotMade as exc:
            return self.rejection(name, arguments, exc)
        # A repeated call is answered from this run's results, so the cap does not apply to it.
        if not call.repeated:
            self.calls += 1
            self._made[name] += 1
            self._planned.add(call.key)
        return call

    def take_back(self, call: Call) -> None:
        """Take back a checked call that is not made after all."""
        if not call.repeated:
            self.calls -= 1
            self._made[call.name] -= 1
            self._planned.discard(call.key)

    def allow_another(self) -> None:
        """Allow one call more, because one that was made doesn't count."""
        self._max_calls += 1

    def approver_of(self, name: str) -> str:
        """Return who must approve a call of this tool: "" for no one, or as in `Tool.approver`."""
        if name == PERSON or name not in self._tools:
            return ""
        return self._tools[name].approver or ("owner" if name in self._approve else "")

    def acts(self, name: str) -> bool:
        """Return True if calls of this tool change something outside."""
        return name in self._tools and self._tools[name].acts

    def digest(self, name: str, arguments: str) -> str:
        """Return what identifies a call together with its tool's definition."""
        offer = self._tools[name].offer if name in self._tools else {}
        return sha256(msgspec.json.encode([name, arguments, offer])).hexdigest()

    def definition(self, name: str) -> str:
        """Return what identifies a tool as it is defined now."""
        return self._tools[name].definition if name in self._tools else ""

    def remember(
        self, name: str, arguments: str, key: str, outcome: ToolResult | Rejection
    ) -> None:
        """Take in a call that an earlier worker made or rejected in this run."""
        self._attempts += 1
        if isinstance(outcome, Rejection):
            self._told.add(hash((name, outcome.reason, arguments)))
            return
        for source in outcome.sources:
            self.remember_source(source)
        if outcome.repeated:
            return
        self.calls += 1
        self._made[name] += 1
        if outcome.failure != "temporary":
            self._planned.add(key)
            self._results[key] = outcome

    def remember_source(self, source: Source) -> None:
        """Take in a source that has its number in this run already."""
        if all(known.number != source.number for known in self.sources):
            self.sources.append(source)

    def texts(self) -> dict[int, str]:
        """Return what this run has read of its sources, by their numbers."""
        read: dict[int, list[str]] = {}
        for result in self._results.values():
            for excerpt in result.excerpts:
                words = result.text[excerpt.start : excerpt.end]
                read.setdefault(excerpt.number, []).append(words)
        return {number: "\n\n".join(words) for number, words in read.items()}

    def has_result(self, call: Call) -> bool:
        """Return True if the same call was made before in this run."""
        return call.key in self._results

    def take_result(self, call: Call, result: ToolResult) -> None:
        """Take in the result of a checked call that was not made here."""
        self._results[call.key] = result

    async def make(self, call: Call, key: str = "", given: Given | None = None) -> ToolResult:
        """Return the result of a checked call. Make the same call only once in a run.

        Raise NeedsInput if the tool can't go on before a person has replied. Then the call is made
        again with what they have `given`. `key` is passed on to the tool: it is the same if the
        call has to be made again.
        """
        started = time.perf_counter()
        result = self._results.get(call.key)
        if result is None:
            result = await self._flights.join(
                call.key, lambda: self.run(call.tool, call.effective, CallKey(key), given)
            )
            if result.failure == "temporary":
                # Not kept, so that the model may try the same call again.
                self._planned.discard(call.key)
            else:
                self._results[call.key] = result
        if call.repeated:
            result = replace(result, repeated=True, credits=0)
        duration_ms = (time.perf_counter() - started) * 1000
        return replace(result, duration_ms=duration_ms, untrusted=call.tool.untrusted)

    def _plan(
        self,
        name: str,
        arguments: str | dict[str, Any],
        among: Collection[str] | None,
        is_too_late: bool,
        *,
        by_person: bool,
    ) -> Call:
        if self._attempts > self._max_calls * ATTEMPTS_PER_CALL:
            raise self.cap_reached()
        tool = self.tool_named(name, among)
        effective = checked(tool, arguments)
        if tool.opens and not by_person:
            self.check_address(str(effective["url"]))
        # Compare what decides the result, so that two spellings of one query count as one call.
        key = self.identity(tool, effective)
        repeated = key in self._planned
        is_spent = self.calls >= self._max_calls or self._made[name] >= tool.calls_per_run
        if is_too_late or (not repeated and is_spent):
            raise self.cap_reached()
        return Call(tool.name, tool.parameters.told(effective), repeated, tool, effective, key)

    def check_address(self, url: str) -> None:
        """Raise NotMade for an address that neither the person nor a result has named.

        A page could else have a model send what it knows, as a part of an address.
        """
        key = page_key(url)
        if key not in self._named and all(page_key(known.url) != key for known in self.sources):
            raise NotMade(
                "not_allowed",
                "Only addresses that the person wrote or that a search found are opened,"
                " exactly as they stand there.",
            )

    def usable(self, among: Collection[str] | None) -> list[str]:
        names = self.names if among is None else self.names & set(among)
        return [name for name in self._tools if name in names]

    def listed(self, among: Collection[str] | None) -> str:
        return ", ".join(self.usable(among)) or "none"

    def tool_named(self, name: str, among: Collection[str] | None) -> Tool:
        if name not in self._known:
            raise NotMade(
                "unknown_tool",
                f"There is no tool named {cut(one_line(name), 60)!r}."
                f" Available: {self.listed(among)}.",
            )
        tool = self._tools.get(name)
        # First, because agents are not offered what is off. A call of it may have been approved.
        if tool and (reason := tool.why_off(self._services)):
            raise NotMade("not_allowed", f"{reason} Answer without {name}.")
        if tool is None or (among is not None and name not in among):
            raise NotMade(
                "not_allowed",
                f"The tool {name} is not available for this answer."
                f" Available: {self.listed(among)}.",
            )
        return tool

    def why_off(self, tool: Tool) -> str:
        return tool.why_off(self._services) or self._services.why_closed(tool.name)

    def identity(self, tool: Tool, arguments: Arguments) -> str:
        effective = tool.cache.parameters(arguments, self._services) if tool.cache else arguments
        if tool.in_parts:
            effective = {**effective, "part": arguments["part"]}
        encoded = msgspec.json.encode(effective, order="deterministic", enc_hook=str)
        return f"{tool.name} {encoded.decode()}"

    def cap_reached(self) -> NotMade:
        return NotMade(
            "cap_reached",
            f"No more tool calls for this answer; {self.calls} were made."
            " Answer with what you have.",
        )

    def rejection(self, name: str, arguments: str | dict[str, Any], why: NotMade) -> Rejection:
        # A model that repeats a rejected call has not understood the explanation: save its tokens.
        told = hash((name, why.reason, str(arguments)))
        text = (
            f"Rejected again ({why.reason}). Do not repeat this call."
            if told in self._told
            else why.text
        )
        self._told.add(told)
        return Rejection(cut(one_line(name), 60), why.reason, text)

    async def run(
        self, tool: Tool, arguments: Arguments, key: CallKey, given: Given | None
    ) -> ToolResult:
        """Call the tool, and turn every failure into a failed result. Raise NeedsInput."""
        try:
            async with asyncio.timeout(tool.timeout) as deadline:
                found = await self.looked_up(tool, arguments, key, given)
            return self.answered(tool, arguments, found)
        except NeedsInput:
            raise
        except ToolFailure as exc:
            failure = exc
        except Exception as exc:  # noqa: BLE001 - the answer can do without this tool
            # The tool's own TimeoutError is not our limit.
            is_late = isinstance(exc, TimeoutError) and deadline.expired()
            failure = too_late(tool) if is_late else failure_of(tool, exc)
        advice = failure.advice or (
            "It may work later." if failure.temporary else "Do not repeat this call."
        )
        said = visible(failure.message)
        # Our own sentences begin with the name.
        begins = "" if said.startswith(f"{tool.name} ") else f"{tool.name} failed: "
        text = f"{begins}{said} {advice}"
        message = failure.message
        if outside := visible(failure.outside[: tool.max_chars * 2]).strip():
            max_chars = min(tool.max_chars, self._max_chars)
            text += "\n" + fenced(cut(outside, max_chars), about=tool.name, mark=self._mark)
            message += " " + one_line(outside)
        return ToolResult(
            tool.name,
            text=text,
            ok=False,
            failure="temporary" if failure.temporary else "permanent",
            message=cut(visible(message), MAX_MESSAGE_CHARS),
        )

    def answered(self, tool: Tool, arguments: Arguments, found: Lookup) -> ToolResult:
        numbered = [(self.source_of(passage), passage) for passage in found.output.passages]
        max_chars = min(tool.max_chars, self._max_chars)
        read = shown(tool, found.output, numbered, arguments, max_chars=max_chars, mark=self._mark)
        return ToolResult(
            tool.name,
            text=read.text,
            cached=found.cached,
            age_s=found.age if found.cached else None,
            stale=found.stale,
            sources=tuple(source for source, _ in numbered),
            excerpts=read.excerpts,
            credits=0 if found.cached else found.output.credits,
        )

    async def looked_up(
        self, tool: Tool, arguments: Arguments, key: CallKey, given: Given | None
    ) -> Lookup:
        """Return the result from the cache or the tool; close the tool if its failure says so."""
        services, rule = self._services, tool.cache

        async def work() -> Output:
            # Checked here, after the cache: a closed tool still returns kept results.
            if why := services.why_closed(tool.name):
                raise ToolFailure(why, stale_will_do=True)
            return await tool.run(arguments, services, key, given)

        try:
            # What follows from a person's reply is theirs, and the cache is everybody's.
            if rule is None or services.cache is None or given is not None:
                return Lookup(await work())
            wanted = Wanted(
                tool.name,
                rule.parameters(arguments, services),
                rule.ttl(arguments),
                query=rule.query(arguments),
                topic=rule.topic(arguments),
                account=rule.account(services),
            )
            return await services.cache.get(wanted, work, fresh=self._fresh)
        except ToolFailure as exc:
            if exc.closed_for:
                # At most a minute: an operator may reopen the tool, which only Redis knows.
                until = services.now() + timedelta(seconds=min(exc.closed_for, MAX_CLOSED_SECONDS))
                services.close_tool(tool.name, until=until, why=exc.message)
            raise

    def source_of(self, passage: Passage) -> Source:
        """Return the source of this passage, with a new number if it is new in this run.

        A passage without an address that browsers can open is known by its title.
        """
        host = web_host(passage.url)
        url = passage.url if host else ""
        title = cut(first_line(passage.title, MAX_TITLE_CHARS), MAX_TITLE_CHARS)
        title = title or host or UNTITLED
        published = first_line(passage.published or "", MAX_DATE_CHARS)[:MAX_DATE_CHARS] or None
        for known in self.sources:
            if known.url == url and (url or known.title == title):
                return known
        number = max((known.number for known in self.sources), default=0) + 1
        source = Source(number, title, url, host, published)
        self.sources.append(source)
        return source


def first_line(text: str, max_chars: int) -> str:
    """Return the text on one line, a little longer than needed. It may have megabytes."""
    return one_line(text[: max_chars * 2])
