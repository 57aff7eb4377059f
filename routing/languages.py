"""The language in which a question is asked, as far as its words show.

Precision first: a question whose language isn't plain counts as English, and so does English about
foreign words ("What does Schadenfreude mean?").
"""

import re
from collections import Counter

from . import patterns

ENGLISH = "en"
OTHER = "other"  # plainly not English; which language isn't known here
MAX_WORDS = 80  # that are read

# Words of grammar and of everyday questions. Those that English shares with others, such as "die",
# "war" or "in", are left out; a word of two other languages counts for both.
_WORDS = {
    ENGLISH: "the is are were be been does did what which who whom whose where when why how of to"
    " at for from with and but not yes it its this that these those there you he she we they my"
    " your his her our their him us them can could would should may might must have has had if than"
    " then about into over after before between please tell"
    " write explain give make show list describe name find help say does mean hello hi hey good"
    " morning thanks thank by up out any some all most more many much best",
    "de": "der das und ist nicht ein eine einen einem einer ich du er sie wir ihr mir dir uns euch"
    " mein meine meinen dein deine sein ihre zu im den dem des auf für mit von bei nach aus über"
    " unter wie wer wo wann warum wieso weshalb welche welcher welches wird werden wurde haben habe"
    " hast kann kannst können könnte soll sollte muss möchte bitte danke auch aber oder wenn dass"
    " weil noch schon nur sehr mehr zum zur vom gibt heißt erkläre erklär schreibe schreib nenne"
    " hallo guten morgen tag abend geht's sind bist seid viele viel zwischen unterschied",
    "fr": "le la les un une des du est sont et ou où qui que quoi quel quelle quels quelles comment"
    " pourquoi quand combien je tu il elle nous vous ils elles mon ma mes ton ta tes ses notre"
    " votre leur ce cet cette ces dans avec sans sur pour par mais ne pas plus très aussi être"
    " avoir"
    " peux peut pouvez fait faire écris écrire explique expliquer donne bonjour bonsoir salut merci"
    " s'il c'est qu'est-ce est-ce d'un d'une l'eau j'ai quelqu'un au aux entre différence",
    "es": "el la los las un una unos unas es son está están y o qué cuál cuáles quién dónde cuándo"
    " cómo cuánto cuánta cuántos cuántas yo tú él ella nosotros ellos mi mis tu tus su sus este"
    " esta"
    " estos del al en con sin para por pero muy más también ser estar hay hacer puede puedes puedo"
    " escribe escribir explica explicar dame dime hola buenos buenas días tardes gracias favor que"
    " porque como entre diferencia de",
    "pt": "o os as um uma uns umas é são está estão e ou que qual quais quem onde quando como"
    " quanto"
    " quanta quantos quantas eu você ele ela nós vocês eles meu minha seu sua este esta isso do da"
    " dos das no na nos nas em com sem para por mas não muito mais também ser estar há fazer pode"
    " posso escreva escrever explique explicar diga olá bom boa dia tarde noite obrigado obrigada"
    " porque entre diferença de",
    "it": "il lo la i gli le un uno una è sono e o che chi cosa quale quali dove quando come perché"
    " quanto quanta quanti quante io lui lei noi voi loro mio mia tuo tua suo sua questo questa"
    " del della dei delle nel nella con senza per ma non molto più anche essere avere puoi può"
    " posso"
    " scrivi scrivere spiega spiegare dammi dimmi ciao buongiorno buonasera grazie di tra"
    " differenza",
    "nl": "de het een en is niet ik jij je hij zij wij jullie mijn jouw zijn haar ons onze van op"
    " met voor naar uit bij hoe wat wie waar wanneer waarom welke kan kunt kunnen zal zou moet mag"
    " heb heeft hebben wordt worden ook maar of als dat dit deze hallo goedemorgen dank schrijf leg"
    " uit geef tussen verschil",
    OTHER: "och är inte jag du han hon vi ni det den en ett på med för från hur vad vem var när"
    " varför vilken kan skriv förklara hej tack og ikke jeg hvad hvem hvor hvornår hvorfor er på"
    " til fra w na i nie jest jak co kto gdzie kiedy dlaczego który czy napisz wyjaśnij cześć"
    " proszę je se na jak co kdo kde kdy proč který napiš vysvětli ahoj děkuji"
    " ve bir bu ne nedir nasıl kim nerede neden hangi mı mi için ile yaz açıkla merhaba teşekkürler"
    " ja on ei mikä mitä kuka missä milloin miksi miten kirjoita selitä hei kiitos"
    " az egy és nem hogyan mi ki hol mikor miért melyik írj magyarázd szia"
    " yang dan di ke dari apa siapa mana kapan mengapa bagaimana tolong jelaskan tulis adalah",
}
_LANGUAGES_OF: dict[str, list[str]] = {}
for _language, _listed in _WORDS.items():
    for _word in dict.fromkeys(_listed.split()):
        _LANGUAGES_OF.setdefault(_word, []).append(_language)

# They stand in names ("Oscar de la Renta"), so they show a language only beside another word.
_NAME_WORDS = (
    "de la del der van von los las el le les du di da dos das y et und e o il do den het na san"
    " plus per al no"
)
_OF_NAMES = frozenset(_NAME_WORDS.split())
# Signs that only some languages write. One alone may stand in a name: "São Paulo", "Beyoncé".
_SIGNS = (("es", "ñ"), ("de", "ß"), ("pt", "ãõ"))
_SCRIPT = re.compile(
    "[\u0370-\u03ff\u0400-\u052f\u0530-\u058f\u0590-\u05ff\u0600-\u06ff\u0900-\u0dff\u0e00-\u0e7f"
    "\u10a0-\u10ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|„[^“”]*[“”]|«[^»]*»|(?<!\w)'[^'\n]*'(?!\w)|`[^`]*`")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# The first words of an English question or order, whatever it is about.
_FIRST_WORDS = (
    "what who whom whose where when why how which are were does did can could would should please"
    " tell write explain give make show describe find help say translate define compare summarize"
    " summarise"
)
_BEGINNINGS = frozenset(_FIRST_WORDS.split())


def language_of(text: str) -> str:
    """Return the language of a question: "en", "de", "fr", "es", "pt", "it", "nl" or OTHER."""
    bare = _QUOTED.sub(" ", text)
    letters = sum(character.isalpha() for character in bare)
    if not letters:
        return ENGLISH
    if len(_SCRIPT.findall(bare)) > letters / 2:
        return OTHER
    if "¿" in bare:
        return "es"
    words = [word.replace("’", "'") for word in _WORD.findall(bare.lower())[:MAX_WORDS]]
    if not words or words[0].partition("'")[0] in _BEGINNINGS:
        return ENGLISH
    found: Counter[str] = Counter()
    strong: Counter[str] = Counter()
    for word in set(words):
        languages = _LANGUAGES_OF.get(word, ())
        found.update(languages)
        if word not in _OF_NAMES:
            strong.update(languages)
    for language, signs in _SIGNS:
        found[language] += any(sign in bare.lower() for sign in signs)
    english = found.pop(ENGLISH, 0)
    language, hits = max(found.items(), key=lambda item: item[1])
    is_plain = hits >= min(2, len(words)) and hits > 2 * english and strong[language] > 0
    return language if is_plain else ENGLISH


# --- Translations ---------------------------------------------------------------------------------

_TONGUES = (
    "(?:german|french|spanish|portuguese|italian|dutch|swedish|danish|norwegian|finnish|polish"
    "|czech"
    "|russian|ukrainian|greek|turkish|arabic|hebrew|persian|farsi|hindi|urdu|bengali|chinese"
    "|mandarin"
    "|cantonese|japanese|korean|thai|vietnamese|indonesian|latin|hungarian|romanian|swahili)"
)
_TRANSLATIONS = re.compile(
    "|".join(
        (
            rf"\btranslat(?:e|ion)\b.{{0,2000}}\b(?:to|into|in|from) (?:\w+ )?(?:{_TONGUES}"
            rf"|english)\b",
            r"^\W*(?:please |can you |could you |help me )?translate:? ?(?:\"|“|"
            r"(?:this|the following|these)\b)",
            rf"\bhow (?:do|would|can) (?:you|i|we|one) (?:say|write|ask)\b.{{1,200}}\bin"
            rf" {_TONGUES}\b",
            rf"\b(?:write|answer|reply|respond|say|tell me|explain|give|compose|draft)\b.{{0,200}}"
            rf"\bin {_TONGUES}\b(?! class| lesson| history| politics| culture| food| cuisine| art|"
            rf" cinema)",
            rf"^\W*what(?:'s| is)(?: the)?(?: {_TONGUES})?(?: word| term| phrase| translation)?"
            rf"(?: for| of)? (?:[\"“'][^\"”']{{1,60}}[\"”']|(?:[^\W\d_]+ ?){{1,3}}) in"
            rf" {_TONGUES}\W*$",
            rf"\bthe {_TONGUES} (?:word|term|translation|phrase) (?:for|of)\b",
        )
    ),
    re.IGNORECASE | re.DOTALL,
)


def asks_for_translation(text: str) -> bool:
    """Return True if the answer must hold words of another language than English."""
    return bool(_TRANSLATIONS.search(patterns.QUOTED.sub('""', text)))
