"""Who may do what at which address: a row for each, or for a family of them.

A row says what GET and POST answer. HEAD, OPTIONS and the requests of htmx follow from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from .addresses import Address, all_addresses
from .people import ANONYMOUS, OWNERS, STAFF, Person


class Answer(StrEnum):
    DONE = "does it"  # or says why a form doesn't fit
    UNKNOWN = "404"
    REFUSED = "403"
    NO_SUCH_METHOD = "405"
    SIGN_IN = "asks to sign in"
    SIGN_IN_AS_STAFF = "asks to sign in to the admin"


# The answer to a person under a value of FLEET_AUTH.
type Rule = Callable[[Person, str], Answer]


def everybody(person: Person, auth: str) -> Answer:
    return Answer.DONE


def nobody(person: Person, auth: str) -> Answer:
    return Answer.NO_SUCH_METHOD


def readers(person: Person, auth: str) -> Answer:
    """Let everybody in who may have chats."""
    if person in ANONYMOUS and auth != "anonymous":
        return Answer.SIGN_IN
    return Answer.DONE


def owner(person: Person, auth: str) -> Answer:
    """Let the owner in. To other readers, the thing doesn't exist."""
    if person in OWNERS or readers(person, auth) is not Answer.DONE:
        return readers(person, auth)
    return Answer.UNKNOWN


def accounts(person: Person, auth: str) -> Answer:
    """Let everybody in who has signed in."""
    return Answer.SIGN_IN if person in ANONYMOUS else Answer.DONE


def of_staff(*people: Person, otherwise: Answer = Answer.REFUSED) -> Rule:
    """Return the rule of an admin page for these members of staff; the others get `otherwise`."""

    def rule(person: Person, auth: str) -> Answer:
        if person not in STAFF:
            return Answer.SIGN_IN_AS_STAFF
        return Answer.DONE if person in people else otherwise

    return rule


staff = of_staff(*STAFF)
keepers = of_staff("keeper", "superuser")
superusers = of_staff("superuser")
no_staff = of_staff()
by_another_method = of_staff(otherwise=Answer.NO_SUCH_METHOD)
unknown_to_staff = of_staff(otherwise=Answer.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Row:
    get: Rule
    post: Rule
    # The parameters of the address, of the query and of a form, by the things that they name.
    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)  # more of the query
    # The words that everybody sees who is let in. Owners and superusers see all.
    shows: frozenset[str] = frozenset()
    # True if everybody who is let in may learn which things exist, as in the admin.
    tells_what_exists: bool = False


def of_chat(get: Rule, post: Rule = nobody, **fields: str) -> Row:
    return Row(get, post, names={"pk": "chat", **fields})


def of_answer(get: Rule, post: Rule = nobody) -> Row:
    return Row(get, post, names={"pk": "run"})


def in_admin(get: Rule, post: Rule, *shows: str, **fields: Mapping[str, str]) -> Row:
    return Row(get, post, shows=frozenset(shows), tells_what_exists=True, **fields)


CHATS: dict[str, Row] = {
    "new_chat": Row(readers, nobody),
    "conversation": of_chat(owner),
    "turns": of_chat(owner),
    "version": of_chat(nobody, owner, run_id="run"),
    "totals": of_chat(owner),
    "pin": of_chat(nobody, owner),
    "rename": of_chat(nobody, owner),
    "delete": of_chat(nobody, owner),
    "export": of_chat(owner),
    "share": of_chat(owner, owner),
    "revoke_share": of_chat(nobody, owner),
    "answer": of_answer(owner),
    "answer_text": Row(owner, nobody, names={"pk": "live"}),
    "rate": of_answer(nobody, owner),
    "conversations": Row(readers, nobody, query={"opened": "chat"}),
    "current": Row(readers, nobody, query={"conversation": "chat"}),
    "shares": Row(readers, nobody),
    "instructions": Row(readers, readers),
    "prefer": Row(nobody, readers),
    "preview": Row(nobody, owner, form={"conversation": "chat"}),
    "shared": Row(
        everybody,
        nobody,
        names={"token": "share"},
        shows=frozenset({"shared", "question", "answer", "link"}),
        tells_what_exists=True,
    ),
}


def sign_up(person: Person, auth: str) -> Answer:
    return Answer.DONE if auth == "signup" else Answer.UNKNOWN


ACCOUNT: dict[str, Row] = {
    "login": Row(everybody, everybody),
    "logout": Row(nobody, everybody),
    "sign_up": Row(sign_up, sign_up),
    "reset": Row(everybody, everybody),
    "reset_sent": Row(everybody, nobody),
    "reset_done": Row(everybody, nobody),
    # By a link that isn't the one in the e-mail
    "new_password": Row(everybody, everybody, names={"uidb64": "user", "token": "wrong link"}),
    "account": Row(readers, nobody),
    "change_profile": Row(nobody, accounts),
    "change_password": Row(nobody, accounts),
    "end_session": Row(nobody, accounts, names={"tag": "session"}),
    "end_other_sessions": Row(nobody, accounts),
    "export_all": Row(readers, nobody),
    "delete_chats": Row(readers, readers),
    "delete_account": Row(accounts, accounts),
    "tokens": Row(accounts, accounts, form={"revoke": "chat.token"}),
}
PUBLIC: dict[str, Row] = {
    "manifest": Row(everybody, nobody),
    "javascript_catalogue": Row(everybody, nobody),
    "choose_language": Row(nobody, everybody),
    "favicon.ico": Row(everybody, everybody),
    "metrics": Row(
        lambda person, auth: Answer.DONE if person in ("keeper", "superuser") else Answer.REFUSED,
        nobody,
    ),
}


def admin_logout(person: Person, auth: str) -> Answer:
    return Answer.NO_SUCH_METHOD if person in STAFF else Answer.DONE


PROGRAMS = ("token", "service", "name")


def admin_login(person: Person, auth: str) -> Answer:
    """Lead to the page on which all sign in, and from there back; others couldn't come back."""
    return Answer.REFUSED if person in ("owner", "other") else Answer.SIGN_IN


ADMIN: dict[str, Row] = {
    "admin:index": in_admin(staff, staff),
    "admin:login": in_admin(admin_login, admin_login),
    "admin:logout": in_admin(admin_logout, everybody),
    "admin:password_change": in_admin(staff, staff),
    "admin:password_change_done": in_admin(staff, by_another_method),
    "admin:jsi18n": in_admin(staff, by_another_method),
    "admin:autocomplete": in_admin(
        superusers,
        by_another_method,
        constants={"app_label": "auth", "model_name": "user", "field_name": "groups", "term": ""},
    ),
    "admin:app_list": in_admin(
        of_staff("keeper", "superuser", otherwise=Answer.UNKNOWN),
        of_staff("keeper", "superuser", otherwise=Answer.UNKNOWN),
    ),
    # No model has an address of its own.
    "admin:view_on_site": in_admin(
        unknown_to_staff,
        unknown_to_staff,
        names={"content_type_id": "content type", "object_id": "chat"},
    ),
    "admin/(?P<url>.*)": in_admin(unknown_to_staff, unknown_to_staff),
    # The addresses of Django 1.8. They lead to the page of the change.
    "admin/*/*/<path:object_id>/": in_admin(staff, staff),
    # People and their permissions
    "admin:auth_*": in_admin(superusers, superusers),
    # Programs. Whose tokens are, and what for, is no secret from those who revoke them.
    "admin:chat_token_delete": in_admin(no_staff, no_staff),
    "admin:chat_token_add": in_admin(keepers, keepers, *PROGRAMS),
    "admin:chat_token_change": in_admin(keepers, no_staff, *PROGRAMS),
    "admin:chat_token_*": in_admin(keepers, keepers, *PROGRAMS),
    "admin:chat_service_change": in_admin(keepers, no_staff, *PROGRAMS),
    "admin:chat_service_*": in_admin(keepers, keepers, *PROGRAMS),
    "admin:routing_comparison_changelist": in_admin(keepers, by_another_method),
    "admin:chat_dayuse_changelist": in_admin(keepers, by_another_method, "name", "service"),
    # What models refuse, and what tools have found: in Redis
    "admin:chat_refusedpart_changelist": in_admin(keepers, by_another_method),
    "admin:chat_refusedpart_forget": in_admin(by_another_method, keepers),
    "admin:tooling_cachedresult_changelist": in_admin(keepers, by_another_method),
    "admin:tooling_cachedresult_entry": in_admin(keepers, by_another_method),
    "admin:tooling_cachedresult_reopen": in_admin(by_another_method, keepers),
    "admin:tooling_cachedresult_delete_*": in_admin(keepers, keepers),
    # Tools of MCP servers, whose definitions staff accept
    "admin:tooling_pinnedtool_change": in_admin(keepers, keepers),
    "admin:tooling_pinnedtool_delete": in_admin(no_staff, no_staff),
    # Rows that only the product writes
    "admin:chat_configtext_delete": in_admin(no_staff, no_staff),
    "admin:chat_run_stream": in_admin(superusers, by_another_method),
    "admin:chat_ask_delete": in_admin(no_staff, no_staff),
    "admin:chat_ask_change": in_admin(keepers, keepers),
    "admin:*_changelist": in_admin(keepers, keepers),
    "admin:*_export": in_admin(keepers, keepers),
    "admin:*_history": in_admin(keepers, keepers),
    "admin:*_delete": in_admin(keepers, keepers),
    "admin:*_change": in_admin(keepers, no_staff),
    "admin:*_add": in_admin(no_staff, no_staff),
}
TABLE: dict[str, Row] = {**CHATS, **ACCOUNT, **PUBLIC, **ADMIN}

# Parameters that name nothing of anybody's.
VALUES = {
    "file_format": "jsonl",
    "app_label": "chat",
    "language": "de",
    "version": "none",
    "url": "nothing/",
    "tool": "web_search",
}
# Parameters of admin pages that name a row of the page's model.
ROW_PARAMETERS = ("object_id", "id", "digest")


def pattern_of(address: Address) -> str | None:
    """Return the row's key for an address: its own, or the first family that it belongs to."""
    if address.key in TABLE:
        return address.key
    return next((each for each in TABLE if fnmatchcase(address.key, each)), None)


def rows() -> list[tuple[Address, Row]]:
    """Return all addresses with their rows, but those that have none: another test fails."""
    found = ((address, pattern_of(address)) for address in all_addresses())
    return [(address, TABLE[pattern]) for address, pattern in found if pattern]


def names_of(address: Address, row: Row) -> dict[str, str]:
    """Return which thing each parameter names; those of VALUES are left out."""
    given = {name: address.model for name in ROW_PARAMETERS if address.model} | row.names
    return {name: given.get(name, "") for name in address.parameters if name not in VALUES}
