from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin import apps

from .statefolder import keep_private


class AgenticFleetConfig(AppConfig):
    default = True
    name = "agenticfleet"

    def ready(self) -> None:
        keep_private(settings.FLEET_STATE_DIR, settings.DATABASES["default"])


class FleetAdminConfig(apps.AdminConfig):
    """Django's admin with the site of this project."""

    default = False
    default_site = "agenticfleet.admin.FleetAdminSite"
