"""Load the tools that the owner of a fleet has added: from fleet_tools.py, and from apps."""

import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import module_has_submodule

from .known import BUILT_IN, TOOLS
from .registry import Tool
from .tables import ToolTable

MODULE = "fleet_tools"


def load(path: Path | None, app_names: Collection[str], tables: Mapping[str, ToolTable]) -> None:
    """Fill TOOLS anew. Raise ImproperlyConfigured, in one line, for what can't be a tool.

    `path` is that of fleet_tools.py; `tables` are what fleet.toml says of tools.
    """
    found = {tool.name: tool for tool in BUILT_IN}
    for module in modules(path, app_names):
        for tool in tools_in(module):
            if tool.name in found:
                raise ImproperlyConfigured(
                    f"{module.__file__}: the name {tool.name} is taken; give the tool another one."
                )
            found[tool.name] = tool
    TOOLS.clear()
    TOOLS.update(
        {
            name: limited(tool, tables[name]) if name in tables else tool
            for name, tool in found.items()
            if name not in tables or tables[name].enabled
        }
    )


def modules(path: Path | None, app_names: Collection[str]) -> Iterator[ModuleType]:
    for app in apps.get_app_configs():
        if app.name in app_names and app.module and module_has_submodule(app.module, "tools"):
            yield import_module(f"{app.name}.tools")
    if path:
        spec = spec_from_file_location(MODULE, path)
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
