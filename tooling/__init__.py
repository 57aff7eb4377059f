"""Tools that models call. `fleet_tools.py` and apps import from here what they need."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .registry import CallKey, tool
    from .results import Given, NeedsInput, Output, Passage, ToolFailure
    from .services import Services

__all__ = [
    "CallKey",
    "Given",
    "NeedsInput",
    "Output",
    "Passage",
    "Services",
    "ToolFailure",
    "tool",
]
_MODULES = {
    "CallKey": "registry",
    "Given": "results",
    "NeedsInput": "results",
    "Output": "results",
    "Passage": "results",
    "Services": "services",
    "ToolFailure": "results",
    "tool": "registry",
}


def __getattr__(name: str) -> Any:
    # Only when one is used: settings import modules of this package, before there are any.
    if name not in _MODULES:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
