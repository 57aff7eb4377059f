from django.apps import AppConfig


class AgenticFleetConfig(AppConfig):
    name = "agenticfleet"
