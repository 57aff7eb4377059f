"""All cases."""

from .case import Case
from .cases import (
    endings,
    errors,
    fields,
    framing,
    lengths,
    passing,
    reasoning,
    refusals,
    statuses,
    tools,
    usage,
)

SECTIONS = (
    framing,
    fields,
    usage,
    endings,
    reasoning,
    errors,
    statuses,
    passing,
    lengths,
    tools,
    refusals,
)
HANDED: tuple[Case, ...] = tuple(case for section in SECTIONS for case in section.HANDED)
FURTHER: tuple[Case, ...] = tuple(case for section in SECTIONS for case in section.FURTHER)
