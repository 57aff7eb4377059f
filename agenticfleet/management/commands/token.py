"""Make, list and revoke tokens, by which programs say who they are."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from agenticfleet.columns import aligned
from agenticfleet.startup import migrate
from chat.access.issuing import issue, revoke
from chat.access.tokens import LIMITS, SCOPES, TERM, Service, Token, limit_of, origin_of

MAX_DAYS = 36_500
HEADINGS = ("id", "owner", "name", "scopes", "last used", "expires")


class Command(BaseCommand):
    help = "Make, list and revoke tokens, by which programs say who they are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make a token, and print it: it is shown only once")
        owner = create.add_mutually_exclusive_group(required=True)
        owner.add_argument("--user", metavar="NAME", help="it reaches the chats of this account")
        owner.add_argument(
            "--service", metavar="NAME", help="it has chats of its own; a new name makes a service"
        )
        create.add_argument("--name", default="", help="what the program is for")
        create.add_argument(
            "--scope", action="append", choices=SCOPES, help="repeat it for several; default: all"
        )
        create.add_argument(
            "--days",
            type=read_by(term_of),
            default=TERM,
            metavar="N|never",
            help=f"until it expires; default: {TERM.days}",
        )
        create.add_argument(
            "--model", action="append", help="that it may choose; repeat it for several"
        )
        create.add_argument(
            "--origin",
            action="append",
            type=read_by(origin_of),
            help="of another site whose pages may use it, such as https://shop.example",
        )
        create.add_argument(
            "--limit",
            action="append",
            type=read_by(limit_of),
            metavar="NAME=NUMBER",
            help=f"of its own, such as runs=2; there are: {', '.join(LIMITS)}",
        )
        acts.add_parser("list", help="list the tokens that are not revoked")
        acts.add_parser("revoke", help="let a token count no more").add_argument("id")

    def handle(self, *args: Any, act: str, **options: Any) -> None:
        migrate(self.stderr.write)  # A fleet that is being set up may not have been started yet.
        match act:
            case "create":
                self.create(options)
            case "list":
                self.list_all()
            case "revoke":
                self.revoke(options["id"])

    def create(self, options: dict[str, Any]) -> None:
        owner = user_named(options["user"]) if options["user"] else service_of(options["service"])
        new = issue(
            owner,
            options["name"][: Token.MAX_NAME] or str(owner),
            by=None,
            scopes=options["scope"] or SCOPES,
            term=options["days"],
            model_ids=options["model"] or [],
            origins=options["origin"] or [],
            limits=dict(options["limit"] or ()),
        )
        until = new.row.expires_at
        expires = f"until {until:%Y-%m-%d}" if until else "until it is revoked"
        self.stderr.write(f"Token {new.row.pk} of {owner}, {expires}. It is shown only now:")
        # Alone, so that a script can take it.
        self.stdout.write(new.text)

    def list_all(self) -> None:
        tokens = Token.objects.filter(revoked_at=None).select_related("user", "service")
        rows = [HEADINGS, *(row_of(token) for token in tokens.order_by("created_at"))]
        for line in aligned(rows):
            self.stdout.write(line)

    def revoke(self, token_id: str) -> None:
        token = Token.objects.filter(pk=token_id).first()
        if token is None:
            raise CommandError(f"There is no token {token_id!r}. `token list` shows their ids.")
        revoke(token, by=None)
        self.stderr.write(f"Token {token.pk} counts no more.")


def term_of(text: str) -> timedelta | None:
    if text == "never":
        return None
    if text.isdecimal() and 0 < int(text[:9]) <= MAX_DAYS:
        return timedelta(days=int(text))
    raise ValueError(f"{text!r} is neither a number of days nor never")


def read_by[V](read: Callable[[str], V]) -> Callable[[str], V]:
    """Return a type of argparse that says what is wrong with a value."""

    def value_of(text: str) -> V:
        try:
            return read(text)
        except ValueError as exc:
            raise ArgumentTypeError(str(exc)) from exc

    return value_of


def user_named(name: str) -> User:
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}.")
    return user


def service_of(slug: str) -> Service:
    try:
        Service(slug=slug).clean_fields(exclude={"created_at"})
    except ValidationError as exc:
        raise CommandError(f"--service {slug!r}: {' '.join(exc.messages)}") from exc
    return Service.objects.get_or_create(slug=slug)[0]


def row_of(token: Token) -> tuple[str, ...]:
    expires = f"{token.expires_at:%Y-%m-%d}" if token.expires_at else "never"
    if token.expires_at and token.expires_at <= timezone.now():
        expires = f"expired {expires}"
    return (
        token.pk,
        str(token.user or f"service {token.service}"),
        token.name,
        ",".join(token.scopes),
        f"{token.used_at:%Y-%m-%d}" if token.used_at else "never",
        expires,
    )
