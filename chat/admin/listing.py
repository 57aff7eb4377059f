"""Lists of very many rows: each page takes the same short time with a million of them.

A list counts at most MAX_COUNTED rows. To filter or to sort by figures, it examines at most the
newest MAX_EXAMINED rows of the chosen period, in an index that has all columns it needs.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import F, QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from chat.search import MAX_FOUND, question_ids
from tooling.clusters import shortened

from .content import may_read_content
from .exports import FORMATS, Export
from .filters import ChoiceFilter, PeriodFilter, bound
from .readonly import ReadOnly

MAX_COUNTED = 10_000
MAX_EXAMINED = 50_000
MAX_SEARCH_CHARS = 200


class CappedPaginator(Paginator):
    """Pages of the first MAX_COUNTED rows. Further rows are not even counted."""

    object_list: QuerySet[Any]

    @cached_property
    def counted(self) -> int:
        return self.object_list.order_by().values("pk")[: MAX_COUNTED + 1].count()

    @property
    def is_capped(self) -> bool:
        return self.counted > MAX_COUNTED

    @cached_property
    def count(self) -> int:
        return min(self.counted, MAX_COUNTED)


class Listing(ChangeList):
    """The filtered rows, and those of one page."""

    model_admin: Any  # a ListAdmin
    max_examined = MAX_EXAMINED
    examined_to: datetime | None = None  # the last row examined, if the period has more
    is_newest_first = True

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        time_field = self.model_admin.time_field
        periods = [spec for spec in self.filter_specs if isinstance(spec, PeriodFilter)]
        is_by_time = found.query.order_by[0] in (time_field, f"-{time_field}")
        is_filtered = any(
            spec.value() for spec in self.filter_specs if isinstance(spec, ChoiceFilter)
        )
        # A search finds few rows. In order of time, the first rows are read from the index.
        if self.query or (is_by_time and not is_filtered):
            return found
        rows = self.root_queryset
        for spec in periods:
            rows = spec.queryset(request, rows)
        # With the oldest rows first, those are what an operator wants to see of too many.
        is_newest_first = found.query.order_by[0] != time_field
        rows = rows.order_by(f"-{time_field}" if is_newest_first else time_field)
        edge = rows.values_list(time_field, flat=True)[MAX_EXAMINED : MAX_EXAMINED + 1].first()
        if edge is None:
            return found
        self.examined_to, self.is_newest_first = edge, is_newest_first
        return found.filter(**{f"{time_field}__{'gt' if is_newest_first else 'lt'}": edge})

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the order by one column, then by id in the same direction, as in the indexes."""
        first = str(super().get_ordering(request, queryset)[0])
        if first.lstrip("-") == "pk":
            messages.warning(request, "This list can't be sorted by that column.")
            first = f"-{self.model_admin.time_field}"
        column, is_descending = first.lstrip("-"), first.startswith("-")
        by_id = "-pk" if is_descending else "pk"
        if column == self.model_admin.time_field:
            return [first, by_id]
        if is_descending:
            return [F(column).desc(nulls_last=True), by_id]
        return [F(column).asc(nulls_last=True), by_id]

    def get_results(self, request: HttpRequest) -> None:
        pages = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)
        page = pages.get_page(self.page_num)
        if page.number != self.page_num:
            messages.warning(request, f"There is no page {self.page_num}. This is the nearest.")
        start, end = page.start_index() - 1, page.end_index()
        # Sort and skip ids only: rows are wide, and a join would be made for skipped rows, too.
        ids = list(self.queryset.values_list("pk", flat=True)[max(start, 0) : end])
        rows = self.model_admin.rows(request).filter(pk__in=ids)
        self.result_list = rows.order_by(*self.queryset.query.order_by)
        self.page_num, self.paginator = page.number, pages
        self.result_count = self.full_result_count = pages.count
        self.multi_page = pages.num_pages > 1
        self.show_admin_actions = bool(ids)
        self.show_full_result_count = self.can_show_all = False


class ListAdmin(ReadOnly):
    """A list that operators filter, search and export. Subclasses name its filters and columns."""

    paginator = CappedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # They would count all rows of each filter.
    change_list_template = "admin/listing.html"
    time_field = "created_at"
    filters: ClassVar[Sequence[type[ChoiceFilter | PeriodFilter]]]
    export_columns: ClassVar[Mapping[str, str]]  # fields by their names in the file
    export_words: ClassVar[frozenset[str]] = frozenset()  # columns that hold words
    export_by_time = True

    class Media:
        css = {"all": ("fleet/admin.css",)}

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return list(self.filters)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by id; by words only for an operator who may read them."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = self.with_id(queryset, term)
        if found is not None:
            return found, False
        if may_read_content(request):
            questions = question_ids(term)
            if len(questions) == MAX_FOUND:
                messages.info(
                    request,
                    f"These words are in many questions. The list looked at the newest"
                    f" {MAX_FOUND:,} of them.",
                )
            return self.about(queryset, questions), False
        messages.warning(
            request,
            "Searching by words needs the permission to read content. Search for the beginning of"
            " an id instead.",
        )
        return queryset.none(), False

    def with_id(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        """Return the rows whose id begins with `term`; None if it can't be part of an id."""
        ids = id_range(term)
        return queryset.filter(pk__range=ids) if ids else None

    def about(self, queryset: QuerySet[Any], questions: list[int]) -> QuerySet[Any]:
        """Return the rows that belong to these questions."""
        raise NotImplementedError

    def rows(self, request: HttpRequest) -> QuerySet[Any]:
        """Return all rows with what the columns show. A page filters them by id."""
        return self.get_queryset(request)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Listing

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        kept, faults = self.checked(request.GET)
        for fault in faults:
            messages.warning(request, fault)
        if kept.dict() != request.GET.dict():
            return HttpResponseRedirect(f"?{kept.urlencode()}")
        context = {"may_export": self.may_export(request), "may_search": may_read_content(request)}
        return super().changelist_view(request, context | (extra_context or {}))

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        view = self.admin_site.admin_view(self.export_view)
        return [path("export.<slug:file_format>", view, name=name), *super().get_urls()]

    def may_export(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chat.export_run")

    def export_view(self, request: HttpRequest, file_format: str) -> HttpResponseBase:
        """Stream all rows of the list with its current filters and search."""
        if not (self.has_view_permission(request) and self.may_export(request)):
            raise PermissionDenied
        kept, faults = self.checked(request.GET)
        if faults or file_format not in FORMATS:
            # An export of other rows than those asked for would go unnoticed.
            messages.error(request, " ".join(("Nothing was exported.", *faults)))
            opts = self.opts
            address = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist")
            return HttpResponseRedirect(f"{address}?{kept.urlencode()}")
        rows = self.get_changelist_instance(request).queryset
        export = Export(
            rows=rows,
            columns=self.export_columns,
            words=self.export_words,
            may_read=may_read_content(request),
            by_time=self.export_by_time,
        )
        name = f"{self.opts.verbose_name_plural}-{timezone.now():%Y-%m-%d}.{file_format}"
        return StreamingHttpResponse(
            export.lines(file_format),
            content_type=FORMATS[file_format],
            headers={"Content-Disposition": f'attachment; filename="{name.replace(" ", "-")}"'},
        )

    def checked(self, given: QueryDict) -> tuple[QueryDict, list[str]]:
        """Return the parameters that the list can use, and a message for each other one."""
        kept, faults = QueryDict(mutable=True), []
        for name in given:
            value = str(given[name])
            if fault := self.fault(name, value):
                faults.append(fault)
            elif value:  # Forms send empty fields, too.
                kept[name] = value
        start = bound(str(kept.get("from", "")))
        end = bound(str(kept.get("to", "")), is_end=True)
        if start and end and start >= end:
            faults.append("The first date must not be after the last.")
            del kept["from"], kept["to"]
        return kept, faults

    def fault(self, name: str, value: str) -> str:
        """Return what is wrong with a parameter; an empty string if the list can use it."""
        if "\0" in value:
            return f"“{name}” must not contain NUL characters."
        match name:
            case "q":
                is_short = len(value) <= MAX_SEARCH_CHARS
                return "" if is_short else f"Search for at most {MAX_SEARCH_CHARS} characters."
            case "p":
                return "" if value.isdecimal() and len(value) < 7 else "There is no such page."
            case "o":
                return ""  # The list itself knows its columns.
        for spec in self.filters:
            if name in spec.names():
                return "" if spec.accepts(name, value) else f"“{spec.title}” has no such value."
        return f"This list has no filter “{shortened(name, 40)}”."


def id_range(text: str) -> tuple[UUID, UUID] | None:
    """Return the first and the last id that begin with `text`; None if no id can.

    A word such as "decade" is no id: it has no digit.
    """
    digits = text.lower().replace("-", "")
    if not re.fullmatch(r"(?=.*\d)[0-9a-f]{4,32}", digits):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
