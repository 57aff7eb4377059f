from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class ToolingConfig(AppConfig):
    name = "tooling"
    verbose_name = "Tools"

    def ready(self) -> None:
        # Only now are there models, which tools may use.
        from .loading import load  # noqa: PLC0415

        config = settings.FLEET_FILE
        if config.problem:
            raise ImproperlyConfigured(config.problem)
        load(
            config.tools_path, config.file.apps, config.file.tools, source=config.files.tools_source
        )
