"""Runs in the admin: their list, and a page for each."""

from django.contrib import admin

from chat.models import Run

from .run_page import RunPageAdmin
from .runlist import RunList


@admin.register(Run)
class RunAdmin(RunPageAdmin, RunList):
    """The parts are apart because each is long."""
