"""People who are signed in, for the tests of accounts."""

from django.contrib.auth.models import User
from django.test import Client

from chat.access.owners import Owner

PASSWORD = "a good password"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit Safari/604.1"


def signed_in(name: str = "ann", agent: str = "") -> Client:
    """Return a browser of this user, who is made if there is none."""
    if not User.objects.filter(username=name).exists():
        User.objects.create_user(name, f"{name}@chat.example", PASSWORD)
    client = Client(headers={"User-Agent": agent} if agent else None)
    assert client.post("/login/", {"username": name, "password": PASSWORD}).status_code == 302
    return client


def is_signed_in(client: Client) -> bool:
    return client.get("/account/").context["user"].is_authenticated


def owner(name: str = "ann") -> Owner:
    return Owner("user", str(User.objects.get(username=name).pk))
