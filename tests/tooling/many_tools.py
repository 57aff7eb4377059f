"""A hundred tools as fleets have them, and questions that one or two of them answer.

The questions were written before anything was measured with them.
"""

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tooling.registry import Tool, tool


def made(name: str, description: str, parameters: Sequence[str]) -> Tool:
    """Return a tool that takes texts of these names and says its own name."""

    async def answer(**_: str) -> str:
        """Say the name of the tool."""
        return name

    function: Any = answer
    function.__annotations__ = {**dict.fromkeys(parameters, str), "return": str}
    function.__signature__ = inspect.Signature(
        [
            inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, annotation=str)
            for each in parameters
        ]
    )
    function.__name__ = "made"
    # With the name and the description that a tool of an MCP server may have.
    return replace(tool(timeout=5)(function), name=name, description=description)


# One a line: name, parameters, description.
_LINES = Path(__file__).with_name("many_tools.txt").read_text(encoding="utf-8").splitlines()
TOOLS = [
    made(name.strip(), description.strip(), parameters.split())
    for name, parameters, description in (line.split("|") for line in _LINES)
]

# A question, and the tools of which any would do.
QUESTIONS: list[tuple[str, tuple[str, ...]]] = [
    ("What's the phone number of Anna Schmidt at Contoso?", ("crm__find_contact",)),
    ("Please add Bob Miller, bob@example.org, to our customers", ("crm__create_contact",)),
    ("Which deals are still open, and how much are they worth?", ("crm__list_deals",)),
    ("These two entries for Contoso are duplicates, merge them", ("crm__merge_contacts",)),
    ("Do we have a red kettle below 40 euros?", ("shop__search_products",)),
    ("How many of article 4711 are left in Hamburg?", ("shop__get_stock", "lager__bestand")),
    ("What did customer 88 order last month?", ("shop__list_orders",)),
    ("Customer wants order 1234 cancelled before shipping", ("shop__cancel_order",)),
    ("The vase arrived broken, give her the money back", ("shop__refund_payment",)),
    ("Where's my parcel 00340434?", ("shop__track_parcel",)),
    ("Make a 15 % discount code for Black Friday", ("shop__create_voucher",)),
    ("What do we need to reorder this week?", ("shop__low_stock_report",)),
    ("Write Contoso an invoice for three days of consulting", ("billing__create_invoice",)),
    ("Which invoices are overdue by more than 30 days?", ("billing__list_unpaid",)),
    ("What's VAT on books in Poland?", ("billing__vat_rate",)),
    ("How many dollars is one euro today?", ("billing__exchange_rate",)),
    ("Set up a meeting with Li and Omar tomorrow at ten", ("calendar__create_event",)),
    ("When are Li, Omar and I all free for an hour?", ("calendar__find_free_slot",)),
    ("Reserve the big meeting room for Friday afternoon", ("calendar__book_room",)),
    ("Is the third of October a holiday in Germany?", ("calendar__public_holidays",)),
    ("Any unread mails from the landlord?", ("mail__search",)),
    ("Answer her e-mail politely but don't send it yet", ("mail__draft_reply",)),
    ("Stop that newsletter from Acme", ("mail__unsubscribe",)),
    ("What is in /projects/2024?", ("files__list_directory",)),
    ("Turn the offer into a PDF", ("files__convert_pdf",)),
    ("What changed between v1.2 and v1.3?", ("git__diff",)),
    ("Who wrote line 40 of parser.py?", ("git__blame",)),
    ("Which tickets labelled bug are assigned to me?", ("issues__list",)),
    ("File a bug: the login button does nothing", ("issues__create",)),
    ("Why did the build of main fail?", ("ci__build_status",)),
    ("Deploy 2.4.1 of checkout to staging", ("ci__deploy",)),
    ("Production is broken since the release, go back to the version before", ("ci__rollback",)),
    ("Find timeouts in the logs of the payment service", ("ops__query_logs",)),
    ("How was the latency of search over the last day?", ("ops__metrics",)),
    ("Who's on call this weekend?", ("ops__on_call",)),
    ("This SQL is slow, why?", ("db__explain",)),
    ("How many vacation days do I have left?", ("hr__vacation_balance",)),
    ("I'm ill, please enter sick leave until Thursday", ("hr__request_leave",)),
    ("Flights from Berlin to Lisbon on 3 May", ("travel__search_flights",)),
    ("Do Indians need a visa for Japan?", ("travel__visa_rules",)),
    ("Will it rain in Oslo tomorrow?", ("weather__forecast",)),
    ("How long is it to the station by bicycle?", ("maps__directions",)),
    ("Is there a pharmacy near the office?", ("maps__nearby",)),
    ("Write down what is said in this recording", ("media__transcribe",)),
    ("What does our handbook say about home office?", ("docs__search_handbook",)),
    ("Which clauses differ between the two contracts?", ("docs__compare_versions",)),
    # In other languages, about tools that are described in them.
    ("Wie viele Schrauben haben wir noch auf Lager?", ("lager__bestand",)),
    ("Bestelle 200 Schrauben beim Lieferanten Müller", ("lager__bestellung_anlegen",)),
    ("Wann können wir den Mietvertrag kündigen?", ("vertrag__fristen", "vertrag__entwurf")),
    ("Setze bitte einen Arbeitsvertrag für Frau Li auf", ("vertrag__entwurf",)),
    ("北京明天天气怎么样?", ("cn__tianqi",)),
    ("我的订单到哪里了?", ("cn__dingdan",)),
    ("كيف الطقس في دمشق غدا؟", ("ar__taqs",)),
    ("هل لديه فاتورة غير مدفوعة؟", ("ar__fawatir",)),
]
