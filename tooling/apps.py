from django.apps import AppConfig
from django.conf import settings


class ToolingConfig(AppConfig):
    name = "tooling"
    verbose_name = "Tools"

    def ready(self) -> None:
        # Only now are there models, which tools may use.
        from .loading import load  # noqa: PLC0415

        config = settings.FLEET_FILE
        load(config.tools_path, config.file.apps, config.file.tools)
