"""Load the tools that the owner of a fleet has added: from fleet_tools.py, and from apps."""

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import module_has_submodule

from .known import BUILT_IN, OFF, TOOLS
from .registry import Tool
from .tables import ToolTable

MODULE = "fleet_tools"


class Loader(SourceFileLoader):
    """Loads fleet_tools.py from its text as it was read.

    The file may have changed since then. Nor does it count what Python has compiled of it, which
    isn't noticed to be old if the file was changed within a second.
    """

    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
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
    for module in modules(path, app_names, source):
        for tool in tools_in(module):
            if tool.name in found:
                raise ImproperlyConfigured(
                    f"{module.__file__}: the name {tool.name} is taken; give the tool another one."
                )
            found[tool.name] = tool
    OFF.clear()
    OFF.update(name for name in found if name in tables and not tables[name].enabled)
    TOOLS.clear()
    TOOLS.update(
        {
            name: limited(tool, tables[name]) if name in tables else tool
            for name, tool in found.items()
            if name not in OFF
        }
    )


def modules(
    path: Path | None, app_names: Collection[str], source: bytes | None
) -> Iterator[ModuleType]:
    for app in apps.get_app_configs():
        if app.name in app_names and app.module and module_has_submodule(app.module, "tools"):
            yield import_module(f"{app.name}.tools")
    if path:
        loader = Loader(MODULE, str(path), path.read_bytes() if source is None else source)
        spec = spec_from_file_location(MODULE, path, loader=loader)
        assert spec is not None, "a path that ends with .py has a loader"
        assert spec.loader is not None, "a path that ends with .py has a loader"
        sys.modules[MODULE] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def tools_in(module: ModuleType) -> list[Tool]:
    return [value for value in vars(module).values() if isinstance(value, Tool)]


def limited(tool: Tool, table: ToolTable) -> Tool:
    """Return the tool within the limits that its owner has set."""
    said: dict[str, Any] = {
        name: value
        for name in ("approver", "timeout", "max_chars", "calls_per_run")
        if (value := getattr(table, name)) is not None
    }
    return replace(tool, **said) if said else tool
