from importlib import import_module

from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created

from .checks import (
    TOOLS_TAG,
    agents_name_callable_tools,
    approvals_name_tools,
    questions_can_be_indexed,
    refuse_unknown_names,
)
from .folding import add_folding


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        refuse_unknown_names()
        checks.register(agents_name_callable_tools, TOOLS_TAG)
        checks.register(approvals_name_tools, TOOLS_TAG)
        checks.register(questions_can_be_indexed)
        connection_created.connect(add_folding)
        # Its receivers count for commands, too. Only now are there models.
        import_module("chat.access.leaving")
