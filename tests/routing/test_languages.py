"""The language of a question, and requests for translations."""

import time

import pytest

from routing.languages import asks_for_translation, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Was ist der Unterschied zwischen Wetter und Klima?", "de"),
        ("wie baue ich einen chatbot mit fastapi?", "de"),
        ("Schreibe eine kurze E-Mail an meinen Vermieter.", "de"),
        ("Will ich das wirklich, oder ist es nur ein Name?", "de"),
        ("Guten Morgen", "de"),
        ("¿Dónde murió Abraham Lincoln?", "es"),
        ("Escribe un poema sobre Chicago en otoño", "es"),
        ("hola", "es"),
        ("Qual é a capital do Brasil e quantas pessoas vivem lá?", "pt"),
        ("Explique o efeito estufa em três frases.", "pt"),
        ("Quali sono i pro e i contro della settimana di quattro giorni?", "it"),
        ("Qual è la capitale della Francia?", "it"),
        ("Comment créer un site web avec Go ?", "fr"),
        ("Quel est le sens de la vie ?", "fr"),
        ("Wat is de hoofdstad van Frankrijk?", "nl"),
        ("Hur lagar man köttbullar och vad ska man äta till?", "other"),
        ("Когда Финляндия присоединилась к ЕС?", "other"),
        ("おはようございます", "other"),
        ("كيف حالك؟", "other"),
        # English, also about foreign words and names
        ("What does Schadenfreude mean?", "en"),
        ("What does “wie geht es dir” mean?", "en"),
        ("I read 'Die Verwandlung' by Kafka and did not like it", "en"),
        ("Oscar de la Renta net worth", "en"),
        ("Los del Río and La La Land soundtrack", "en"),
        ("Van Gogh", "en"),
        ("Das Boot", "en"),
        ("El Niño effects", "en"),
        ("crème de la crème", "en"),
        ("tell me about São Paulo", "en"),
        ("photosynthesis", "en"),
        ("lol ok", "en"),
        ("print('hello')", "en"),
        ("12 * 7", "en"),
        ("", "en"),
        ("👍", "en"),
    ],
)
def test_language_of_a_question(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Translate 'good morning' to Swedish", True),
        ("translate this sentence: I am tired", True),
        ("Please translate the following text into English: Es regnet", True),
        ("How do you say thank you in Japanese?", True),
        ("what is thank you in spanish", True),
        ("What is the French word for window?", True),
        ("Write a short poem in German", True),
        ("Translate the description into a spreadsheet formula", False),
        ("What is the longest river in Germany?", False),
        ("How do plants translate light into energy?", False),
        ("What did Luther change in German history?", False),
        ("Who teaches Italian in your town?", False),
        ("Explain how proteins are translated", False),
    ],
)
def test_request_for_a_translation(text: str, asks: bool) -> None:
    assert asks_for_translation(text) is asks


def test_long_text_is_read_quickly() -> None:
    text = "translate write in the 'house ' \" “ of " * 800
    started = time.thread_time()
    language_of(text)
    asks_for_translation(text)
    assert time.thread_time() - started < 0.5
