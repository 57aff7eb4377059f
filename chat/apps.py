from django.apps import AppConfig
from django.core import checks

from .checks import agents_name_callable_tools


class ChatConfig(AppConfig):
    name = "chat"

    def ready(self) -> None:
        checks.register(agents_name_callable_tools)
