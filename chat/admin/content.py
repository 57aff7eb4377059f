"""The words of people, models and the web, for operators who may or may not read them."""

from django.http import HttpRequest


def may_read_content(request: HttpRequest) -> bool:
    return request.user.has_perm("chat.read_content")


def words(request: HttpRequest, text: str) -> str:
    """Return `text`, or only its length if the operator may not read content."""
    return text if may_read_content(request) else length(len(text))


def length(characters: int) -> str:
    return f"{characters:,} character{'' if characters == 1 else 's'}"
