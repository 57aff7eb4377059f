"""Put entries into Redis, and sign in people who may read them."""

from datetime import UTC, datetime

from django.contrib.auth.models import Permission, User
from django.test import Client
from redis import Redis

from tooling.entries import PREFIX, Wanted, about, packed
from tooling.results import Output, Passage

LIST = "/admin/tooling/cachedresult/"


def signed_in(name: str, *permissions: str, superuser: bool = False, staff: bool = True) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=staff, is_superuser=superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=False)
    client.force_login(user)
    return client


def keep(
    redis: Redis,
    query: str = "capital of peru",
    *,
    tool: str = "web_search",
    topic: str = "general",
    age: float = 60,
    soft: float = 3600,
    text: str = "Lima",
    hits: int = 3,
) -> str:
    """Put an entry where the cache would, and return its key."""
    wanted = Wanted(tool, {"query": query, "topic": topic}, "general", query=query, topic=topic)
    output = Output(
        passages=(Passage(f"About {query}", "https://encyclopedia.example/", text, "2026-11-16"),),
        credits=1,
    )
    body = packed(output)
    assert body
    fetched = datetime.now(UTC).timestamp() - age
    fields = {
        "about": about(wanted, output, len(body)),
        "body": body,
        "fetched": fetched,
        "soft": fetched + soft,
        "credits": 1,
        "hits": hits,
    }
    redis.hset(wanted.key, mapping=fields)  # type: ignore[arg-type]
    redis.expire(wanted.key, 20_000)
    return wanted.key


def address(key: str) -> str:
    return f"{LIST}{key.removeprefix(PREFIX).replace(':', '/')}/"
