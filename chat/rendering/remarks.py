"""What readers should know before they rely on an answer: one line below it."""

from django.utils.translation import gettext, ngettext

from chat.protocol.terms import MissedQuote, QuoteCheck, Summary

from .wording import listed, number, shortened


def remarks_of(summary: Summary) -> tuple[str, ...]:
    """Return what stands below the answer, as sentences."""
    quotes = quotes_of(summary.quotes) if summary.quotes else ()
    return quotes + left_out_of(summary)


def quotes_of(check: QuoteCheck) -> tuple[str, ...]:
    """Return how many quotations are in their sources, and which citations have none."""
    sentences = []
    if check.checked:
        words = ngettext(
            "%(found)s of %(count)s quote found in its source.",
            "%(found)s of %(count)s quotes found in their source.",
            check.checked,
        )
        values = {"found": number(check.found), "count": number(check.checked)}
        sentences.append(words % values)
    if check.unknown:
        words = ngettext(
            "%(citations)s cites nothing.", "%(citations)s cite nothing.", len(check.unknown)
        )
        sentences.append(words % {"citations": cited(check.unknown)})
    return tuple(sentences)


def missed_quotes_of(summary: Summary) -> tuple[str, ...]:
    """Return which quotations are not in the sources that they cite, as sentences."""
    if summary.quotes is None:
        return ()
    missed = summary.quotes.missed
    sentences = [missed_words(each) for each in missed]
    if more := summary.quotes.checked - summary.quotes.found - len(missed):
        words = ngettext("And %(count)s more.", "And %(count)s more.", more)
        sentences.append(words % {"count": number(more)})
    return tuple(sentences)


def missed_words(missed: MissedQuote) -> str:
    values = {"quote": shortened(missed.text), "citations": cited(missed.cites)}
    if missed.found_in is None:
        return gettext("“%(quote)s” is not in %(citations)s.") % values
    words = gettext("“%(quote)s” is not in %(citations)s, but in %(other)s.")
    return words % {**values, "other": cited([missed.found_in])}


def cited(numbers: list[int]) -> str:
    return listed(f"[{each}]" for each in numbers)


def left_out_of(summary: Summary) -> tuple[str, ...]:
    """Return how many of the messages before the question the model did not get as they are."""
    sentences = []
    if count := summary.summarized_messages:
        words = ngettext(
            "A summary stood for %(count)s earlier message.",
            "A summary stood for %(count)s earlier messages.",
            count,
        )
        sentences.append(words % {"count": number(count)})
    if count := summary.unread_messages:
        words = ngettext(
            "%(count)s earlier message was not read.",
            "%(count)s earlier messages were not read.",
            count,
        )
        sentences.append(words % {"count": number(count)})
    return tuple(sentences)
