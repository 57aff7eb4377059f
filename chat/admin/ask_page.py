"""The page of one ask. Staff with the permission that the ask names decide it there."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html

from chat.asks import Ask
from chat.models import Run
from chat.protocol.errors import ProtocolError
from chat.protocol.requests import holds_nul
from chat.protocol.terms import Reply
from chat.rendering.wording import escaped
from tooling.decoding import UNREADABLE_JSON
from tooling.schema import faults_in

from .content import may_read_content, words
from .readonly import ReadOnly
from .run_steps import json_of
from .shown_asks import ShownAsk

MAX_ID_CHARS = 40  # of an unknown id that the message repeats
MAX_WORDS = 2_000  # characters that a refusal may have
DECISIONS = {
    "approval": {"approve": "Approve", "edit": "Change the arguments", "refuse": "Refuse"},
    "unsure": {"approve": "Do it again", "refuse": "Leave it"},
}


class DecisionForm(forms.Form):
    """What a member of staff decides about one ask."""

    decision = forms.ChoiceField()
    arguments = forms.CharField(required=False, widget=forms.Textarea, strip=False)
    text = forms.CharField(
        required=False, max_length=MAX_WORDS, label="Words for the agent", widget=forms.Textarea
    )

    def __init__(self, ask: Ask, data: Any = None) -> None:
        super().__init__(data, initial={"arguments": escaped(json_of(ask.arguments))})
        self.ask = ask
        decisions = DECISIONS[ask.kind]
        choices = list(decisions.items())
        self.fields["decision"] = forms.ChoiceField(choices=choices, widget=forms.RadioSelect)
        self.fields["arguments"].widget.attrs |= {"rows": 6, "spellcheck": "false", "dir": "auto"}
        self.fields["text"].widget.attrs |= {"rows": 2, "dir": "auto"}
        if "edit" not in decisions:
            del self.fields["arguments"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("decision") != "edit":
            cleaned.pop("arguments", None)
            return cleaned
        try:
            arguments = msgspec.json.decode(cleaned.get("arguments", ""), type=dict[str, Any])
        except UNREADABLE_JSON as exc:
            self.add_error("arguments", f"Arguments are one JSON object: {exc}.")
            return cleaned
        if holds_nul(arguments):
            self.add_error("arguments", "Arguments can't hold NUL characters.")
        for fault in faults_in(arguments, self.ask.schema):
            self.add_error("arguments", fault)
        cleaned["arguments"] = arguments
        return cleaned

    @property
    def label(self) -> str:
        return DECISIONS[self.ask.kind][self.cleaned_data["decision"]]

    @property
    def changed(self) -> str:
        """The arguments of `edit`, as the page that asks to confirm shows them."""
        arguments = self.cleaned_data.get("arguments")
        return escaped(json_of(arguments)) if arguments is not None else ""

    @property
    def given(self) -> list[tuple[str, str]]:
        """The fields as they were sent, for the page that asks to confirm."""
        return [(name, str(self.data.get(name, ""))) for name in self.fields]

    @property
    def reply(self) -> Reply:
        cleaned = self.cleaned_data
        return Reply(
            ask_id=self.ask.pk,
            decision=cleaned["decision"],
            arguments=cleaned.get("arguments"),
            text=cleaned["text"] if cleaned["decision"] == "refuse" else "",
        )


@dataclass(frozen=True, slots=True)
class AskPage:
    """What the page shows. Without a form, `refusal` says why an open ask can't be decided here."""

    shown: ShownAsk
    continued_by: Run | None
    waiting: int  # other open asks of the run
    form: DecisionForm | None
    refusal: str


class AskPageAdmin(ReadOnly):
    """The page of one ask. A row is never changed here: a decision goes through the reply's way."""

    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return True if asks may be deleted together with their run. They never are alone."""
        return request.user.has_perm("chat.delete_run")

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        raise PermissionDenied

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        ask = find_ask(object_id)
        if ask is None:
            shown_id = object_id[:MAX_ID_CHARS]
            messages.warning(request, f"There is no ask with the ID “{shown_id}”. Was it deleted?")
            return HttpResponseRedirect(reverse("admin:chat_ask_changelist"))
        page = page_of(request, ask)
        if request.method == "POST":
            if page.form is None:
                why = page.refusal or "It was decided meanwhile."
                messages.error(request, f"Nothing was changed. {why}")
                return HttpResponseRedirect(address_of(ask))
            if page.form.is_valid():
                if "confirmed" in request.POST:
                    return self.decide(request, page.form)
                return self.render(request, page, template="admin/chat/ask/confirm.html")
        return self.render(request, page, template="admin/chat/ask/change_form.html")

    def decide(self, request: HttpRequest, form: DecisionForm) -> HttpResponse:
        """Store what was decided, and show the result as a message."""
        ask = form.ask
        assert isinstance(request.user, User)  # The admin's pages need one.
        try:
            run = Run.objects.reply_as_staff(request.user, ask.run_id, [form.reply])
        except ProtocolError as exc:
            messages.error(request, f"Nothing was changed. {exc}")
        else:
            if run is None:
                result = "The run goes on once its other asks are decided, too."
            else:
                link = reverse("admin:chat_run_change", args=[run.pk])
                result = format_html('<a href="{}">Run {}</a> goes on.', link, str(run.pk)[:8])
            messages.success(request, format_html("{}: decided. {}", form.label, result))
        return HttpResponseRedirect(address_of(ask))

    def render(self, request: HttpRequest, page: AskPage, *, template: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"Ask {str(page.shown.ask.pk)[:8]}",
            "opts": self.opts,
            "page": page,
            "ask": page.shown.ask,
            "may_read": may_read_content(request),
        }
        return TemplateResponse(request, template, context)


def page_of(request: HttpRequest, ask: Ask) -> AskPage:
    """Return the page of an ask. A viewer who may decide it may also read its words."""
    is_open = ask.state == Ask.State.OPEN
    refusal = why_not(request, ask) if is_open else ""
    may_decide = is_open and not refusal
    data = request.POST if request.method == "POST" else None
    return AskPage(
        ShownAsk(ask, say=str if may_decide else partial(words, request)),
        Run.objects.filter(continues=ask.run_id).only("status").first(),
        Ask.objects.open().filter(run=ask.run_id).exclude(pk=ask.pk).count(),
        DecisionForm(ask, data) if may_decide else None,
        refusal,
    )


def why_not(request: HttpRequest, ask: Ask) -> str:
    """Return why the viewer may not decide an open ask; an empty string if it is allowed."""
    if ask.has_expired:
        return "Its time is over. The person must ask the question again."
    if not ask.permission or ask.kind not in DECISIONS:
        return "Only the person who asked the question can decide this."
    if not request.user.has_perm(ask.permission):
        return f"Deciding this needs the permission {ask.permission}."
    return ""


def find_ask(object_id: str) -> Ask | None:
    asks = Ask.objects.select_related("run").defer(
        "run__steps", "run__text_so_far", "run__summary_so_far"
    )
    try:
        return asks.filter(pk=object_id).first()
    except (ValidationError, ValueError):
        return None


def address_of(ask: Ask) -> str:
    return reverse("admin:chat_ask_change", args=[ask.pk])
