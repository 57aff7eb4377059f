"""What an answer says by itself, in the language of its question as far as that is known."""

from collections.abc import Mapping

from tooling.websearch import SEARCH_OFF

type Sentences = Mapping[str, str]  # by language; "en" is for all others

ONLY_ENGLISH: Sentences = {
    "en": "The stand-in model knows only English. With a better model this works.",
    "de": "Das Ersatzmodell kann nur Englisch. Mit einem besseren Modell geht das.",
    "fr": "Le modèle de remplacement ne connaît que l’anglais. Avec un meilleur modèle, cela"
    " fonctionne.",
    "es": "El modelo provisional solo sabe inglés. Con un modelo mejor, esto funciona.",
    "pt": "O modelo provisório só sabe inglês. Com um modelo melhor, isto funciona.",
    "it": "Il modello provvisorio conosce solo l’inglese. Con un modello migliore funziona.",
    "nl": "Het tijdelijke model kent alleen Engels. Met een beter model lukt dit.",
}
TOO_LONG: Sentences = {
    "en": "This is too long for the stand-in model. With a better model this works.",
    "de": "Das ist zu lang für das Ersatzmodell. Mit einem besseren Modell geht das.",
    "fr": "C’est trop long pour le modèle de remplacement. Avec un meilleur modèle, cela"
    " fonctionne.",
    "es": "Es demasiado largo para el modelo provisional. Con un modelo mejor, esto funciona.",
    "pt": "É longo demais para o modelo provisório. Com um modelo melhor, isto funciona.",
    "it": "È troppo lungo per il modello provvisorio. Con un modello migliore funziona.",
    "nl": "Dit is te lang voor het tijdelijke model. Met een beter model lukt dit.",
}
NO_SEARCH: Sentences = {
    "en": SEARCH_OFF,
    "de": "Die Websuche ist ausgeschaltet.",
    "fr": "La recherche sur le web est désactivée.",
    "es": "La búsqueda en la web está desactivada.",
    "pt": "A pesquisa na web está desligada.",
    "it": "La ricerca sul web è disattivata.",
    "nl": "Zoeken op het web staat uit.",
}


def said_in(language: str, sentences: Sentences) -> str:
    return sentences.get(language) or sentences["en"]


def reason_in(language: str, reason: str) -> str:
    """Return why a tool is off, in this language if the reason has a sentence there."""
    return said_in(language, NO_SEARCH) if reason == SEARCH_OFF else reason
