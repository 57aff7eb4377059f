from django.apps import AppConfig
from django.core import checks

from .checks import agents_name_callable_tools, approvals_name_tools, questions_can_be_indexed


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        checks.register(agents_name_callable_tools)
        checks.register(approvals_name_tools)
        checks.register(questions_can_be_indexed)
