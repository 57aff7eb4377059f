"""Load the tools that an operator has added: from fleet_tools.py, and from apps."""

import linecache
import logging
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from sysconfig import get_path
from types import CodeType, ModuleType
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import module_has_submodule

from .functions import NotATool
from .known import BUILT_IN, SWITCHED_OFF, TOOLS
from .registry import MADE, Tool
from .tables import ToolTable

logger = logging.getLogger(__name__)

MODULE = "fleet_tools"
_ROOT = Path(__file__).parent.parent
# Files in these are not the operator's: those of Python, and those of the product.
OTHERS = (
    Path(get_path("stdlib")),
    *(_ROOT / name for name in ("agenticfleet", "chat", "routing", "tooling", "manage.py")),
)


class Loader(SourceFileLoader):
    """Loads fleet_tools.py from its text as it was read.

    The file may have changed since then. Nor does it count what Python has compiled of it, which
    isn't noticed to be old if the file was changed within a second.
    """

    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        # Lines in what is said of a mistake are those of this text.
        lines = self.source.decode(errors="replace").splitlines(keepends=True)
        linecache.cache[self.path] = len(self.source), None, lines, self.path
        code: CodeType = self.source_to_code(self.source, self.path)
        return code


def load(
    path: Path | None,
    app_names: Collection[str],
    tables: Mapping[str, ToolTable],
    *,
    source: bytes | None = None,
) -> None:
    """Fill TOOLS anew. Raise ImproperlyConfigured, in one line, for what can't be a tool.

    `path` is that of fleet_tools.py, and `source` what was in it, if it was read already; `tables`
    are what fleet.toml says of tools.
    """
    found = {tool.name: tool for tool in BUILT_IN}
    for tool in added(path, app_names, source):
        known = found.setdefault(tool.name, tool)
        if known is not tool:
            by = "a tool of the product" if known in BUILT_IN else f"that of {known.place}"
            raise ImproperlyConfigured(
                f"{tool.place}: the name {tool.name} is taken by {by}. Give it another one."
            )
    SWITCHED_OFF.clear()
    SWITCHED_OFF.update(name for name in found if name in tables and not tables[name].enabled)
    TOOLS.clear()
    TOOLS.update(
        {
            name: limited(tool, tables[name]) if name in tables else tool
            for name, tool in found.items()
            if name not in SWITCHED_OFF
        }
    )


def added(path: Path | None, app_names: Collection[str], source: bytes | None) -> Iterator[Tool]:
    for app in apps.get_app_configs():
        if app.name in app_names and app.module and module_has_submodule(app.module, "tools"):
            yield from tools_in(in_one_line(partial(import_module, f"{app.name}.tools")), MADE)
    if path:
        before = len(MADE)
        yield from tools_in(in_one_line(partial(executed, path, source)), MADE[before:])


def executed(path: Path, source: bytes | None) -> ModuleType:
    loader = Loader(MODULE, str(path), path.read_bytes() if source is None else source)
    spec = spec_from_file_location(MODULE, path, loader=loader)
    assert spec is not None, "a path that ends with .py has a loader"
    assert spec.loader is not None, "a path that ends with .py has a loader"
    sys.modules[MODULE] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tools_in(module: ModuleType, made: Collection[Tool]) -> list[Tool]:
    """Return the tools that are made in this module, and those that it has imported."""
    own = [tool for tool in made if tool.place.startswith(f"{module.__file__}, line ")]
    imported = [value for value in vars(module).values() if isinstance(value, Tool)]
    return own + [tool for tool in imported if all(tool is not each for each in own)]


def in_one_line[T](load_module: Callable[[], T]) -> T:
    """Return what is loaded; raise ImproperlyConfigured for whatever it raises."""
    try:
        return load_module()
    except NotATool as exc:
        raise ImproperlyConfigured(str(exc)) from exc
    except (Exception, SystemExit) as exc:
        raise ImproperlyConfigured(complaint_of(exc) or words_of(exc)) from exc


def complaint_of(exc: BaseException) -> str:
    """Return in one line what code of the operator raised while it was loaded: where, and what.

    Return an empty string if no code of theirs was at work. The log has the traceback, at its level
    debug.
    """
    frames = traceback.extract_tb(exc.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames]
    if isinstance(exc, SyntaxError) and exc.filename:
        places.append((exc.filename, exc.lineno))
    place = next((each for each in reversed(places) if is_operators(each[0])), None)
    if place is None:
        return ""
    logger.debug("An app or its tools can't be loaded.", exc_info=exc)
    return f"{place[0]}, line {place[1] or 1}: {words_of(exc)}"


def words_of(exc: BaseException) -> str:
    message = " ".join(str(exc.msg if isinstance(exc, SyntaxError) else exc).split())
    return f"{type(exc).__name__}: {message}" if message else type(exc).__name__


def is_operators(file: str) -> bool:
    """Return True for a file that is neither Python's, nor the product's, nor a library's."""
    path = Path(file)
    return (
        path.is_absolute()
        and "site-packages" not in path.parts
        and not any(path.is_relative_to(other) for other in OTHERS)
    )


def limited(tool: Tool, table: ToolTable) -> Tool:
    """Return the tool within the limits that the operator has set."""
    said: dict[str, Any] = {
        name: value
        for name in ("approver", "timeout", "max_chars", "calls_per_run")
        if (value := getattr(table, name)) is not None
    }
    return replace(tool, **said) if said else tool
