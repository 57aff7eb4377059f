from django.apps import AppConfig
from django.core import checks

from .checks import weights_can_be_read


class RoutingConfig(AppConfig):
    name = "routing"

    def ready(self) -> None:
        checks.register(weights_can_be_read)
