"""One agent's tool calls: checked, approved where a person must, made, told and kept."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from uuid import uuid4

import msgspec
from django.conf import settings
from django.db import Error as DatabaseProblem
from msgspec import structs

from chat.clock import Stopwatch
from chat.llm.messages import WantedCall
from chat.protocol.events import ToolComplete, ToolRejected, ToolStart
from chat.protocol.payloads import SourceData, ToolCallData, ToolRejection, ToolResultData
from chat.protocol.terms import AskData, Asked, AskKind, Reply
from tooling.calls import Call, Rejection, ToolResult
from tooling.failures import MAY_BE_DONE
from tooling.forms import Form
from tooling.person import PERSON
from tooling.results import Given, NeedsInput
from tooling.sentences import sentence

from .agents import Agent
from .steps import Used, encoded
from .work import Work

MAX_FORMS = 5  # that a tool may ask for in one call
NO_WORDS = "They gave no reason."
ASKED_TOO_OFTEN = sentence("%(tool)s asked for more than a person can be asked in one call.")
UNSURE = sentence("%(tool)s may have been called already. Call it again?")


@dataclass(slots=True)
class ToolUse:
    """The tool calls of one agent. `among` are the tools that it may call."""

    agent: Agent
    work: Work
    among: frozenset[str] = field(default_factory=frozenset)

    async def use(self, call: WantedCall, name: str, *, is_too_late: bool) -> Used:
        """Check a tool call and make it if it is right. Return its outcome.

        `name` is that of the step. Raise Paused if a person must reply first.
        """
        checked = self.check(call, is_too_late=is_too_late)
        # A call that can't be made is rejected. No one needs to approve it. One that waits counts,
        # or others would take its place under the caps, and it could not be made when it may.
        if isinstance(checked, Call) and (reply := self.approval_of(call, checked, name)):
            if reply.decision == "refuse":
                self.work.toolbox.take_back(checked)
                return self.rejected(
                    call,
                    f"The person refused this call of {call.name}. {reply.text or NO_WORDS}"
                    " Do not repeat it.",
                )
            if reply.arguments is not None:
                self.work.toolbox.take_back(checked)
                arguments = msgspec.json.encode(reply.arguments).decode()
                call = WantedCall(call.id, call.name, arguments)
                checked = self.check(call, is_too_late=is_too_late, by_person=True)
        if isinstance(checked, Rejection):
            if self.may_be_done(name):
                # Its tool is gone or closed now, perhaps by what has ended the worker in the call.
                checked = replace(checked, text=f"{checked.text} {MAY_BE_DONE}")
            self.tell_rejection(call, checked)
            return Used(call=call, rejection=checked)
        if checked.name == PERSON and not self.work.toolbox.has_result(checked):
            return self.asked_person(call, checked, name)
        return await self.make(call, checked, name)

    def check(
        self, call: WantedCall, *, is_too_late: bool, by_person: bool = False
    ) -> Call | Rejection:
        return self.work.toolbox.check(
            call.name,
            call.arguments,
            among=self.among,
            is_too_late=is_too_late,
            by_person=by_person,
        )

    async def make(self, call: WantedCall, checked: Call, name: str) -> Used:
        """Make a call, again with each reply to a form that its tool asks for.

        An attempt that asked for one has done nothing. What it asked for is kept, so that only the
        attempt that follows the last reply is made when the run goes on.
        """
        given: Given | None = None
        attempt = name
        for number in count(1):
            form = self.work.kept(f"{name}/form-{number}/asked", Form)
            if form is None:
                acts = checked.tool.acts or self.has_begun(attempt)
                if acts and (why := await self.announce_act(call, checked, attempt)):
                    return self.rejected(call, why)
                try:
                    return await self.attempt(
                        call, checked, name, given, may_ask=number <= MAX_FORMS
                    )
                except NeedsInput as exc:
                    form = exc.form
                self.work.keep(f"{name}/form-{number}/asked", form)
            attempt = f"{name}/form-{number}"
            given = self.given_for(form, call, checked, attempt)
        raise AssertionError("count() has no end")

    async def attempt(
        self, call: WantedCall, checked: Call, name: str, given: Given | None, *, may_ask: bool
    ) -> Used:
        """Make a call once, and tell it. Raise NeedsInput if its tool `may_ask`."""
        arguments = msgspec.to_builtins(checked.arguments)
        watch = self.begin(call, checked.name, arguments)
        made: list[ToolResult] = []

        def tell_end(cut: bool) -> None:
            result = made[0] if made else ToolResult(checked.name, "", ok=False, message="stopped")
            self.tell_result(call, result, watch.started_ms, watch.ms, cut=cut)

        with self.work.ending_with(tell_end):
            try:
                result = await self.work.toolbox.make(checked, self.work.key_of(name), given)
            except NeedsInput:
                if may_ask:
                    raise
                message = ASKED_TOO_OFTEN % {"tool": checked.name}
                result = ToolResult(
                    checked.name,
                    f"{message} Do not repeat this call.",
                    ok=False,
                    failure="permanent",
                    message=message,
                )
            made.append(result)
        return Used(
            call=call,
            outcome=made[0],
            arguments=arguments,
            key=checked.key,
            started_ms=watch.started_ms,
            duration_ms=watch.ms,
        )

    # --- Asking

    def approval_of(self, call: WantedCall, checked: Call, name: str) -> Reply | None:
        """Return the reply to a call that a person must approve; None if no one must."""
        if call.name == PERSON:
            return None
        toolbox = self.work.toolbox
        approver = toolbox.approver_of(call.name)
        approved = self.work.question.approved
        if approver == "owner" and approved and toolbox.definition(call.name) in approved:
            approver = ""
        # What was decided about this call counts, even if no one would be asked any more.
        if not approver and not self.work.has_reply(name):
            return None
        return self.work.ask(
            name,
            lambda step: self.asked(step, call, checked, "approval", approver=approver or "owner"),
        )

    def asked(
        self,
        step: str,
        call: WantedCall,
        checked: Call,
        kind: AskKind,
        *,
        approver: str = "owner",
        message: str = "",
        options: list[str] | None = None,
    ) -> Asked:
        """Return the question about a call, for the step of this name."""
        has_call = kind != "question"
        return Asked(
            agent_id=self.agent.id,
            author=self.agent.name,
            name=step,
            digest=self.work.toolbox.digest(call.name, call.arguments),
            definition=self.work.toolbox.definition(call.name),
            data=AskData(
                ask_id=uuid4(),
                kind=kind,
                message=message or f"{self.agent.name} wants to call {call.name}.",
                tool=call.name,
                call_id=call.id,
                arguments=msgspec.to_builtins(checked.arguments) if has_call else {},
                schema=checked.tool.parameters.schema_in_order if has_call else {},
                options=options or [],
                approver=approver,
                expires_at=(datetime.now(UTC) + settings.FLEET_PAUSE_TTL).isoformat(
                    timespec="seconds"
                ),
            ),
        )

    def asked_person(self, call: WantedCall, checked: Call, name: str) -> Used:
        """Ask the person what the agent wants to know. Return the reply as the call's result."""
        arguments = msgspec.to_builtins(checked.arguments)
        reply = self.work.ask(
            name,
            lambda step: self.asked(
                step,
                call,
                checked,
                "question",
                message=checked.effective["question"],
                options=list(checked.effective["options"]),
            ),
        )
        words = reply.text if reply.decision == "answer" else ""
        text = f"The person answered: {words}" if words else "The person did not answer."
        watch = self.begin(call, PERSON, arguments)
        result = ToolResult(PERSON, text)
        self.tell_result(call, result, watch.started_ms, watch.ms)
        self.work.toolbox.take_result(checked, result)
        return Used(call=call, outcome=result, arguments=arguments, key=checked.key)

    def given_for(self, form: Form, call: WantedCall, checked: Call, step: str) -> Given:
        """Ask the person what a tool needs. Return their reply with the state of the tool."""

        def asked(step: str) -> Asked:
            asked = self.asked(step, call, checked, "form", message=form.message)
            data = structs.replace(
                asked.data, arguments=form.defaults, schema=form.schema, url=form.url
            )
            digest = sha256(f"{asked.digest} {encoded(form)}".encode()).hexdigest()
            return structs.replace(asked, data=data, digest=digest)

        reply = self.work.ask(step, asked)
        return Given(reply.arguments if reply.decision == "answer" else None, form.state)

    async def announce_act(self, call: WantedCall, checked: Call, name: str) -> str | None:
        """Keep that a call which acts is about to be made. Return why it must not be, or None.

        If an earlier worker died in such a call, no one knows whether it happened: ask.
        """
        approver = self.work.toolbox.approver_of(call.name) or "owner"
        message = UNSURE % {"tool": checked.name}
        number = 1
        while self.work.has_kept(f"{name}/begun-{number}"):
            reply = self.work.ask(
                f"{name}/unsure-{number}",
                lambda step: self.asked(
                    step, call, checked, "unsure", approver=approver, message=message
                ),
            )
            if reply.decision != "approve":
                return (
                    f"It is not known whether {checked.name} was called. The person decided not to"
                    " call it again."
                )
            number += 1
        self.work.keep(f"{name}/begun-{number}", True)
        try:
            await self.work.journal.flush()
        except DatabaseProblem:
            return f"{checked.name} was not called: the database does not answer. Try again later."
        return None

    def has_begun(self, attempt: str) -> bool:
        """Return True if a call that acts was about to be made in this attempt."""
        return self.work.has_kept(f"{attempt}/begun-1")

    def may_be_done(self, name: str) -> bool:
        """Return True if an earlier worker may have died in a call that acts."""
        attempt = name
        for number in count(1):
            if not self.work.has_kept(f"{name}/form-{number}/asked"):
                break
            attempt = f"{name}/form-{number}"
        return self.has_begun(attempt)

    async def settle(self, used: Used) -> None:
        """Wait until the result of a call that acts is stored, before anything follows from it."""
        if used.outcome and self.work.toolbox.acts(used.call.name):
            # Without a database the run goes on. If its worker dies now, the person is asked.
            with suppress(DatabaseProblem):
                await self.work.journal.flush()

    # --- Telling

    def begin(self, call: WantedCall, tool: str, arguments: dict[str, object]) -> Stopwatch:
        data = ToolCallData(tool=tool, call_id=call.id, arguments=arguments)
        return self.work.begin(ToolStart(agent_id=self.agent.id, author=self.agent.name, data=data))

    def rejected(self, call: WantedCall, text: str) -> Used:
        rejection = Rejection(call.name, "refused", text)
        self.tell_rejection(call, rejection)
        return Used(call=call, rejection=rejection)

    def tell_rejection(self, call: WantedCall, rejection: Rejection) -> None:
        data = ToolRejection(tool=rejection.name, call_id=call.id, reason=rejection.reason)
        self.work.tell(ToolRejected(agent_id=self.agent.id, author=self.agent.name, data=data))

    def tell_result(
        self,
        call: WantedCall,
        result: ToolResult,
        started_ms: float,
        duration_ms: float,
        *,
        cut: bool = False,
    ) -> None:
        data = ToolResultData(
            tool=result.name,
            call_id=call.id,
            ok=result.ok,
            duration_ms=duration_ms,
            cached=result.cached,
            age_s=result.age_s,
            stale=result.stale,
            repeated=result.repeated,
            message=result.message,
            sources=[
                SourceData(source.number, source.title, source.url, source.host, source.published)
                for source in result.sources
            ],
            credits=result.credits,
            started_ms=started_ms,
            cut=cut,
        )
        self.work.tell(ToolComplete(agent_id=self.agent.id, author=self.agent.name, data=data))

    def retell(self, used: Used) -> None:
        """Tell a kept call, for readers who have not seen it."""
        if used.rejection:
            self.tell_rejection(used.call, used.rejection)
        elif used.outcome:
            self.begin(used.call, used.outcome.name, used.arguments)
            self.tell_result(used.call, used.outcome, used.started_ms, used.duration_ms)
