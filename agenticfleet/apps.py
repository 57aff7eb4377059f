from django.apps import AppConfig
from django.contrib.admin import apps


class AgenticFleetConfig(AppConfig):
    default = True
    name = "agenticfleet"


class FleetAdminConfig(apps.AdminConfig):
    """Django's admin with the site of this project."""

    default = False
    default_site = "agenticfleet.admin.FleetAdminSite"
