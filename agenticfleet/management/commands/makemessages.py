"""Collect the texts that pages show into chat/locale: `manage.py makemessages`."""

import re
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandParser
from django.core.management.commands import makemessages

# What has no texts of pages. The admin is English, but for what comes from Django.
IGNORED = [
    *(".venv", "tests/*", "chat/admin/*", "chat/dashboard/*", "templates/admin/*"),
    # Django takes it for a template, and writes a module beside it for a moment.
    "tooling/places.txt",
]
DATE = re.compile(r'^"POT-Creation-Date: .*\n', re.MULTILINE)
DOMAINS = ("django", "djangojs")  # templates and Python; the page's script


class Command(makemessages.Command):
    """Django's, for both catalogues of all languages. It compiles them too."""

    help = "Collect the texts that pages show into the catalogues, and compile these."
    # The texts in calls of `sentence` (tooling/sentences.py) are collected as well.
    xgettext_options = [
        *makemessages.Command.xgettext_options,
        "--keyword=sentence",
    ]

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(
            locale=[code for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE],
            ignore_patterns=IGNORED,
            no_obsolete=True,
            # Lines would change with every edit.
            add_location="file",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for domain in DOMAINS:
            super().handle(*args, **{**options, "domain": domain})
        call_command("compilemessages", ignore_patterns=[".venv"], verbosity=0)

    def write_po_file(self, potfile: str, locale: str) -> None:
        super().write_po_file(potfile, locale)
        # A date of its own would change the catalogue, although its texts are the same.
        file = Path(potfile).parent / locale / "LC_MESSAGES" / f"{self.domain}.po"
        file.write_text(DATE.sub("", file.read_text()))
