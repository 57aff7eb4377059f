"""The owner of what tests ask as a program."""

from chat.access.credentials import tag_of
from chat.access.owners import Owner
from tests.chatting import OWN_KEY

SCRIPT = Owner("script", tag_of("key", OWN_KEY))
