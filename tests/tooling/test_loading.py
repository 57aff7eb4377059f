"""fleet_tools.py and apps of the owner: what is loaded, and what is refused in one line."""

import inspect
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.configs import Configure
from tests.serving import LOOKS_FOR_FILES, MANAGE, clean_environment
from tooling import known, tool

ROOT = Path(__file__).parent.parent.parent
STOCK = '''
from tooling import tool

@tool
def stock(article: str) -> str:
    """Return the stock of an article."""
    return f"{article}: 7"
'''


def refusal(configure: Configure, toml: str, tools: str = "") -> str:
    with pytest.raises(ImproperlyConfigured) as refused:
        configure(toml, tools)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- fleet_tools.py -------------------------------------------------------------------------------


def test_tools_are_loaded_wherever_they_are_made(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "warehouse.py").write_text(STOCK.replace("stock", "price"))
    configure(
        "",
        STOCK
        + '''
from warehouse import price

def of(number: int) -> str:
    """Return a number."""
    return str(number)

LISTED = [tool(name=f"of_{name}")(of) for name in "ab"]

class Shop:
    @tool
    @staticmethod
    def open(day: str) -> str:
        """Return when it opens."""
        return "9:00"

    @staticmethod
    @tool
    def close(day: str) -> str:
        """Return when it closes."""
        return "18:00"
''',
    )
    own = known.TOOLS.keys() - {tool.name for tool in known.BUILT_IN}
    assert own == {"stock", "price", "of_a", "of_b", "open", "close"}


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ("def stock(:", r"line 1: SyntaxError: invalid syntax"),
        (
            "x = 1\nimport no_such_module",
            r"line 2: ModuleNotFoundError: No module named 'no_such_m",
        ),
        ("\n\n1 / 0", r"line 3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('done')", r"line 2: SystemExit: done"),
        ("raise ValueError('a\\nb')", r"line 1: ValueError: a b$"),
        ("import json\njson.loads('{')", r"line 2: JSONDecodeError: Expecting"),
        (
            "from tooling import tool\n@tool\ndef stock(article: str) -> str:\n    return ''",
            r"line 3: stock has no docstring\. Write what it does",
        ),
        (
            STOCK + STOCK,
            r"line 12: the name stock is taken by that of .*fleet_tools.py, line 5\. Give it",
        ),
        (
            STOCK.replace("stock(", "calculator("),
            r"line 5: the name calculator is taken by a tool of the product\. Give it another one",
        ),
    ],
)
def test_a_mistake_is_refused_in_one_line(
    configure: Configure, tmp_path: Path, tools: str, said: str
) -> None:
    line = refusal(configure, "", tools)
    assert line.startswith(f"{tmp_path}/fleet_tools.py, line ")
    assert re.search(said, line), line


def test_a_mistake_beside_fleet_tools_names_the_file_that_has_it(
    configure: Configure, tmp_path: Path
) -> None:
    (tmp_path / "broken_module.py").write_text("x = 1\n\nundefined_name\n")
    line = refusal(configure, "", "import broken_module")
    assert line.startswith(f"{tmp_path}/broken_module.py, line 3: NameError: name 'undefined_name'")


# --- Limits ---------------------------------------------------------------------------------------


def test_limits_of_the_file_count_for_own_and_for_built_in_tools(configure: Configure) -> None:
    configure(
        """
        [tools.stock]
        approver = "owner"
        timeout = 3
        max_chars = 500
        calls_per_run = 2

        [tools.web_search]
        approver = "perm:chat.export_run"

        [tools.clock]
        enabled = false
        """,
        STOCK,
    )
    stock = known.TOOLS["stock"]
    assert (stock.approver, stock.timeout, stock.max_chars) == ("owner", 3, 500)
    assert stock.calls_per_run == 2
    assert known.TOOLS["web_search"].approver == "perm:chat.export_run"
    assert "clock" not in known.TOOLS


# --- Apps, by real processes ----------------------------------------------------------------------

APP = {
    "acme/__init__.py": "",
    "acme/fleet/__init__.py": "",
    "acme/fleet/apps.py": """
        from django.apps import AppConfig

        class FleetConfig(AppConfig):
            name = "acme.fleet"
            label = "acme"
            default_auto_field = "django.db.models.BigAutoField"
        """,
    "acme/fleet/models.py": """
        from django.db import models

        class Article(models.Model):
            number = models.CharField(max_length=20, unique=True)
            count = models.IntegerField(default=0)
        """,
    "acme/fleet/admin.py": """
        from django.contrib import admin

        from .models import Article

        admin.site.register(Article)
        """,
    "acme/fleet/migrations/__init__.py": "",
    "acme/fleet/migrations/0001_initial.py": """
        from django.db import migrations, models

        class Migration(migrations.Migration):
            initial = True
            dependencies = []
            operations = [
                migrations.CreateModel(
                    "Article",
                    [
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("number", models.CharField(max_length=20, unique=True)),
                        ("count", models.IntegerField(default=0)),
                    ],
                )
            ]
        """,
    "acme/fleet/tools.py": '''
        from tooling import tool

        from .models import Article

        @tool
        def stock(number: str) -> str:
            """Return how many of an article are in stock."""
            article = Article.objects.filter(number=number).first()
            return f"{article.count} of {number}" if article else "There is no such article."
        ''',
}
# Makes an article, and asks the tool for it through a toolbox.
TRY = """
import asyncio, threading
from acme.fleet.models import Article
from django.contrib import admin
from django.db import connections
from tooling.calls import Call
from tooling.known import TOOLS
from tooling.services import Services
from tooling.toolbox import Toolbox

Article.objects.create(number="A1", count=7)
assert admin.site.is_registered(Article)
box = Toolbox(Services(), allowed=frozenset(TOOLS), max_calls=9)
call = box.check("stock", {"number": "A1"})
print(asyncio.run(box.make(call)).text)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an app and the fleet.toml that names it."""
    for name, text in APP.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(dedent(text))
    (tmp_path / "fleet.toml").write_text('apps = ["acme.fleet"]\n')
    return tmp_path


def manage(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, MANAGE, *arguments],
        cwd=folder,
        env={
            **clean_environment(),
            **LOOKS_FOR_FILES,
            "FLEET_STATE_DIR": str(folder / "state"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.processes
def test_an_app_has_tables_an_admin_and_tools_that_use_them(folder: Path) -> None:
    migrated = manage(folder, "migrate")
    assert "acme.0001_initial... OK" in migrated.stdout, migrated.stderr
    tried = manage(folder, "shell", "--no-imports", "-c", TRY)
    assert (tried.stdout, tried.stderr) == ("7 of A1\n", "")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "fleet/tools.py",
            "import nothing_like_it",
            "line 1: ModuleNotFoundError: No module named",
        ),
        ("fleet/tools.py", STOCK.replace("stock(", "clock("), "line 5: the name clock is taken by"),
        ("fleet/models.py", "def broken(:", "line 1: SyntaxError: invalid syntax"),
        (
            "fleet/apps.py",
            """
            from django.apps import AppConfig

            class FleetConfig(AppConfig):
                name = "acme.fleet"

                def ready(self):
                    raise RuntimeError("the shop is closed")
            """,
            "line 8: RuntimeError: the shop is closed",
        ),
    ],
)
def test_an_app_that_can_not_be_loaded_is_refused_in_one_line(
    folder: Path, file: str, text: str, said: str
) -> None:
    (folder / "acme" / file).write_text(dedent(text))
    refused = manage(folder, "check")
    assert refused.returncode == 1
    [line] = refused.stderr.splitlines()
    assert line.startswith(f"Wrong setting: {folder}/acme/{file}, {said}")


@pytest.mark.processes
def test_the_log_has_the_traceback_at_its_level_debug(folder: Path) -> None:
    (folder / "acme/fleet/tools.py").write_text("1 / 0")
    refused = manage(folder, "check", FLEET_LOG_LEVEL="debug")
    assert "Traceback (most recent call last)" in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("Wrong setting: ")


# --- The reference --------------------------------------------------------------------------------

REFERENCE = (ROOT / "chat/config/README.md").read_text()


def section(title: str) -> str:
    return REFERENCE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    "text", re.findall(r"```python\n(.*?)```", section("Tools of your own"), re.DOTALL)
)
def test_tools_of_the_reference_are_loaded(configure: Configure, text: str) -> None:
    configure("", text)
    assert "stock" in known.TOOLS
    found = known.arguments_for("stock", "What is the stock of A1?")
    assert found == ({"article": "A1"} if "from_question" in text else None)


def test_limits_of_the_reference_are_read(configure: Configure) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", section("Limits and approvals of tools"), re.DOTALL)
    tables = configure(text).file.tools
    assert set(tables) == {"web_search", "refund", "shop__order", "clock"}
    assert "clock" not in known.TOOLS


def test_options_of_the_reference_are_those_of_the_decorator() -> None:
    told = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section("Tools of your own"), re.MULTILINE)
    names = {name for cell in told for name in re.findall(r"\w+", cell)}
    # The cache is for results that all owners may share, which the product's search has.
    assert names == inspect.signature(tool).parameters.keys() - {"function", "cache"}
