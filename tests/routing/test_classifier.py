"""The router's decision: values in, values out; and the two commands around it."""

import json
import re
import time
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from routing.asks import normalise
from routing.classifier import WEIGHTS, BrokenWeights, Classifier
from routing.examples import Example
from routing.features import LastAnswer
from routing.played_judge import play
from routing.preferences import PREFERENCES
from routing.quality import Decision, share
from routing.regret import weights_digest
from routing.training.costs import threshold_of
from routing.wrappers import unwrap

MOST = 32_000


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


def is_light(classifier: Classifier, text: str, *context: str) -> bool:
    return classifier.judge(text, context).light >= classifier.threshold


@pytest.mark.parametrize("name", ["prompts", "everyday"])
def test_own_questions_are_routed_with_the_promised_accuracy(name: str) -> None:
    out = StringIO()
    path = str(Path(__file__).parent / f"{name}.jsonl")
    call_command("evaluate_routing", path, "--json", stdout=out)
    figures = json.loads(out.getvalue())
    assert figures["accuracy"] >= 0.87
    assert figures["light_precision"] >= 0.90
    assert figures["light_recall"] >= 0.80


@pytest.mark.parametrize(
    ("text", "light"),
    [
        ("Hi, please implement a REST API with authentication for our shop.", False),
        ("how do I deploy kubernetes and set up monitoring", False),
        ("in one word: write me a business plan", False),
        ("what is 12 * 7", True),
        ("What's the capital of Peru?", True),
        ("Stockholm", True),
        ("bitcoin price", True),
        ("Write an essay about rivers... just kidding, what's the chemical symbol for gold?", True),
        ("Wer hat Faust geschrieben?", True),
        ("Schreib mir ein Gedicht über den Herbst.", False),
        ("Compare the economies of Chile and Portugal", False),
        ("thanks!", True),
    ],
)
def test_typical_questions_take_the_right_path(
    classifier: Classifier, text: str, light: bool
) -> None:
    assert is_light(classifier, text) is light


@pytest.mark.parametrize(
    ("text", "context", "light"),
    [
        ("and of Spain?", "What is the capital of France?", True),
        ("and for Spain?", "Draft a plan for entering the French market, with a budget", False),
        ("now make it thread-safe", "Write a cache in Python that forgets the oldest entry", False),
    ],
)
def test_follow_up_is_classified_with_its_context(
    classifier: Classifier, text: str, context: str, light: bool
) -> None:
    assert is_light(classifier, text, context) is light


def test_follow_up_of_a_larger_task_is_less_likely_light(classifier: Classifier) -> None:
    after_fact = classifier.judge("and for Spain?", ["What is the capital of France?"]).light
    after_task = classifier.judge(
        "and for Spain?", ["Draft a plan for entering the French market, with a budget"]
    ).light
    assert after_fact > after_task + 0.2


@pytest.mark.parametrize("text", ["shorter please", "and in French?", "kürzer bitte", "更短一点"])
def test_what_goes_on_with_an_answer_of_the_team_is_less_likely_light(
    classifier: Classifier, text: str
) -> None:
    context = ["Tell me about lighthouses"]
    short = LastAnswer("light", words=30, has_code=False, has_plan=False)
    long = LastAnswer("full", words=900, has_code=False, has_plan=False)
    after_short = classifier.judge(text, context, short).light
    assert after_short > classifier.judge(text, context, long).light + 0.05


def test_thanks_after_a_plan_take_the_light_path(classifier: Classifier) -> None:
    plan = LastAnswer("full", words=900, has_code=False, has_plan=True)
    context = ["Plan a week in Portugal with a budget"]
    assert classifier.judge("thanks!", context, plan).light >= classifier.threshold


def test_economy_takes_the_light_path_before_balanced_and_quality(classifier: Classifier) -> None:
    assert set(classifier.thresholds) == set(PREFERENCES)
    economy, balanced, quality = (classifier.thresholds[name] for name in PREFERENCES)
    assert 0 < economy < balanced < quality < 1
    assert classifier.threshold == balanced


def test_shipped_thresholds_are_those_of_the_costs(classifier: Classifier) -> None:
    assert classifier.thresholds == {name: threshold_of(name) for name in PREFERENCES}
    for name in PREFERENCES:
        # A poor answer that nothing can escalate costs more, so the router must be surer.
        assert threshold_of(name) < threshold_of(name, escalates=False)
    assert threshold_of("balanced", escalates=False) == pytest.approx(42 / (42 + 13), abs=1e-3)


@pytest.mark.parametrize(
    "words", ["कौन सा शहर", "أي مدينة", "哪座城市", "どの都市", "πόλη", "thành phố nào"]
)
def test_letters_of_a_language_alone_decide_nothing(classifier: Classifier, words: str) -> None:
    assert 0.05 < classifier.judge(words).light < 0.97


@pytest.mark.parametrize(
    "text",
    [
        "Dear all,\n{}\nRegards, Tom\n\nwho wrote this?",
        "who wrote this?\n{}",
        "{}\n\n誰が書きましたか。",
    ],
)
def test_core_of_a_pasted_text_is_what_stands_beside_it(classifier: Classifier, text: str) -> None:
    pasted = "The pool is closed on Monday. Please bring a towel! Can you help us on Friday? " * 4
    assert classifier.judge(text.format(pasted.strip())).core in (
        "who wrote this?",
        "誰が書きましたか。",
    )


@pytest.mark.parametrize(
    ("bare", "wrapped"),
    [
        (
            "what is the capital of Peru",
            "Hi there! Could you please tell me what is the capital of Peru? Thanks a lot!",
        ),
        (
            "how tall is Mount Fuji?",
            "Hello, I hope you are well. Quick question: how tall is Mount Fuji? Thank you in "
            "advance!",
        ),
        (
            "write a short story about a lighthouse",
            "Hey, could you please write a short story about a lighthouse? Thanks!",
        ),
        (
            "write a business plan for a bakery",
            "Just a quick question: write a business plan for a bakery, please.",
        ),
    ],
)
def test_wrappers_do_not_change_the_decision(
    classifier: Classifier, bare: str, wrapped: str
) -> None:
    assert is_light(classifier, bare) == is_light(classifier, wrapped)


def test_wrapper_alone_is_kept() -> None:
    assert unwrap("please") == ("please", False)
    assert unwrap("Hello, could you please tell me the time? Thanks!") == ("the time?", False)
    assert unwrap("do you know when it opens") == ("when it opens", True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\t ",
        "😀🎉",
        "```\nfor i in range(3):\n    print(i)\n```",
        "\x00\x07\x1b[31m",
        "\u200b\u202e\ufeff",
        "\ud800",
        "Что такое recursion 是什么 क्या है?",
        "a" * MOST,
        "ﷺ" * MOST,
        "which or " * (MOST // 9),
        "'\"“«" * (MOST // 4),
        "\n" * MOST,
        "- what? " * (MOST // 8),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_odd_input_gets_a_probability_and_three_reasons_in_time(
    classifier: Classifier, text: str
) -> None:
    started = time.thread_time()
    judgement = classifier.judge(text, (text, text))
    # Measured: 2 to 6 ms for the worst of these.
    assert time.thread_time() - started < 0.1
    assert 0 <= judgement.light <= 1
    assert len(set(judgement.reasons)) == 3


def test_odd_characters_do_not_change_the_text() -> None:
    assert normalise("ｗｈａｔ\u200b is\u00a0 \x07 this\r\n\r\nnow") == "what is this\nnow"


def test_usual_decision_takes_less_than_a_frame(classifier: Classifier) -> None:
    questions = [
        "What's the capital of Peru?",
        "Compare the economies of Chile and Portugal and recommend one for a small software "
        "company.",
    ] * 50
    started = time.thread_time()
    for question in questions:
        classifier.judge(question)
    assert (time.thread_time() - started) / len(questions) < 0.005


def test_reasons_are_phrases_for_the_decision(classifier: Classifier) -> None:
    full = classifier.judge("Compare the economies of Chile and Portugal").reasons
    assert {"compares things", "asks for an analysis"}.intersection(full)
    light = classifier.judge("What's the capital of Peru?").reasons
    assert "its question is short" in light
    for reason in (*full, *light):
        assert ":" not in reason
        assert "_" not in reason


@pytest.mark.parametrize(
    ("text", "core"),
    [
        ("What is this?\nWrite a report on it.\nWhy does it fail?", "What is this?"),
        ("Some notes of mine.\nWhat is the capital of Peru?", "What is the capital of Peru?"),
        ("Hi! What is 2 + 2? Thanks", "What is 2 + 2?"),
    ],
)
def test_core_has_the_asks_of_the_first_line_if_there_are_any(
    classifier: Classifier, text: str, core: str
) -> None:
    assert classifier.judge(text).core == core


def test_features_are_named_numbers(classifier: Classifier) -> None:
    features = classifier.judge("What's the capital of Peru?").features
    assert features["questions"] == 1
    assert all(isinstance(value, float) for value in features.values())


def broken(content: bytes, *, old: bytes = b"", new: bytes = b"") -> bytes:
    assert old in content
    return content.replace(old, new, 1)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda good: good[: len(good) // 2], "cut off"),
        (lambda good: b"", "version"),
        (lambda good: broken(good, old=b"router-weights 2", new=b"router-weights 9"), "version"),
        (lambda good: broken(good, old=b"constant\tbias\t", new=b"constant\tbias\tnan"), "line 2"),
        (lambda good: broken(good, old=b"constant\tbias\t", new=b"constant\tbias\tx"), "line 2"),
        (lambda good: broken(good, old=b"constant\tbias\t", new=b"constant\tbias "), "line 2"),
        (lambda good: broken(good, old=b"constant\tbias\t", new=b"constant\tmood\t"), "bias"),
        (
            lambda good: broken(good, old=b"threshold.economy", new=b"threshold.thrift"),
            "threshold.economy",
        ),
        (lambda good: broken(good, old=b"constant\tbias\t", new=b"mood\tbias\t"), "unknown kind"),
        (lambda good: broken(good, old=b"named\tsize\t", new=b"named\tgirth\t"), "girth"),
        (lambda good: broken(good, old=b"named\tsize\t", new=b"named\tsize\t1\t"), "line"),
        (lambda good: b"\xff" + good, "UTF-8"),
    ],
)
def test_broken_weights_are_rejected_with_file_and_reason(
    tmp_path: Path, damage, reason: str
) -> None:
    path = tmp_path / "router.tsv"
    path.write_bytes(damage(WEIGHTS.read_bytes()))
    with pytest.raises(BrokenWeights) as refused:
        Classifier.load(path)
    assert str(path) in str(refused.value)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_weights_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(BrokenWeights, match=r"nowhere\.tsv: No such file"):
        Classifier.load(tmp_path / "nowhere.tsv")


def test_digest_is_that_of_the_weights_that_were_read(tmp_path: Path) -> None:
    path = tmp_path / "router.tsv"
    path.write_bytes(WEIGHTS.read_bytes())
    before = Classifier.load(path)
    path.write_bytes(
        re.sub(rb"(?m)^constant\tbias\t.*$", b"constant\tbias\t0.5", path.read_bytes())
    )
    # An update has replaced the file under a process that goes on.
    assert before.digest == Classifier.load().digest == weights_digest()
    assert Classifier.load(path).digest != before.digest


def test_weights_file_is_small_and_sorted() -> None:
    lines = WEIGHTS.read_text().split("\n")
    assert WEIGHTS.stat().st_size < 5_000_000
    grams = [line.split("\t")[1] for line in lines if line.startswith("gram\t")]
    assert grams == sorted(grams)


def lines_of(*items: object) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


def called(*arguments: object) -> str:
    out = StringIO()
    call_command(*map(str, arguments), stdout=out)
    return out.getvalue()


GOOD = (
    {"text": "What's the capital of Peru?", "label": "light", "kind": "factoid", "lang": "en"},
    {
        "text": "and of Spain?",
        "label": "light",
        "context": "What is the capital of France?",
        "slice": "followup",
    },
    {"text": "Compare the economies of Chile and Portugal", "label": "full", "slice": "analysis"},
    {"text": "What's the capital of Chile?", "label": "full", "slice": "wrong"},
)


def test_evaluation_prints_a_row_for_each_slice_and_the_errors(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(lines_of(*GOOD))
    printed = called("evaluate_routing", path, "--errors")
    for name in ("factoid", "followup", "analysis", "wrong", "all", "en", "economy", "quality"):
        assert f"\n{name}" in printed
    for judge in ("right in 85%", "right in 90%"):
        assert judge in printed
    assert printed.count("tokens and") == 2
    assert 'should be full: "What\'s the capital of Chile?"' in printed
    assert "Portugal" not in printed


def test_evaluation_as_json_has_the_documented_keys(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(lines_of(*GOOD))
    found = json.loads(called("evaluate_routing", path, "--json"))
    assert found["accuracy"] == 0.75
    assert found["light_precision"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["light_recall"] == 1
    assert found["light_f1"] == 0.8
    assert found["p50_ms"] <= found["p99_ms"]
    assert set(found["slices"]) == {"factoid", "followup", "analysis", "wrong"}
    assert set(found["languages"]) == {"en", "(none)"}
    assert [judge["right"] for judge in found["judges"]] == [0.85, 0.9]
    low, high = found["accuracy_interval"]
    assert low < found["accuracy"] < high


def test_interval_of_a_share_is_wilsons() -> None:
    assert share(0, 0) is None
    assert share(81, 100) == pytest.approx((0.81, 0.7222, 0.8749), abs=1e-4)
    assert share(5, 5) == pytest.approx((1, 0.5655, 1), abs=1e-4)


def test_played_judge_decides_the_grey_zone_alone_and_is_as_often_right_as_said() -> None:
    examples = [
        Example(f"Question {number}?", "light" if number % 2 else "full") for number in range(2000)
    ]
    decisions = [
        Decision(example, 0.5 if number < 1000 else 0.9, number >= 1000, 0.1, ())
        for number, example in enumerate(examples)
    ]
    played = play(decisions, 0.85, (0.4, 0.7))
    assert played.asked == 0.5
    assert played.quality.accuracy is not None
    # Of the grey half 85 %, of the other half 50 %, as all of it was sent light.
    assert played.quality.accuracy[0] == pytest.approx(0.675, abs=0.015)
    assert 80 < played.tokens < 90
    assert play(decisions, 1.0, (0, 1)).quality.accuracy == pytest.approx((1, 0.998, 1), abs=1e-3)


BAD_LINES = [
    ("{nonsense", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "not a JSON object"),
    ('{"label": "light"}', "`text`"),
    ('{"text": 3, "label": "light"}', "`text`"),
    ('{"text": "a", "label": "maybe"}', "`label`"),
    ('{"text": "a"}', "`label`"),
    ('{"text": "a", "label": "light", "context": 3}', "`context`"),
    ('{"text": "a", "label": "light", "context": [3]}', "`context`"),
    ('{"text": "a", "label": "light", "slice": 3}', "`slice`"),
    ('{"text": "a", "label": "light", "lang": 3}', "`language`"),
    ('{"text": "a", "label": "light", "pair": "x"}', "`pair`"),
    ('{"text": "a", "label": "light", "answer": {"path": "light"}}', "`answer`"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
@pytest.mark.parametrize("command", ["evaluate_routing", "train_router"])
def test_training_names_a_bad_line_and_writes_nothing(
    tmp_path: Path, command: str, line: str, reason: str
) -> None:
    if command == "train_router":
        pytest.importorskip("sklearn")
    path, output = tmp_path / "items.jsonl", tmp_path / "router.tsv"
    path.write_text(lines_of(GOOD[0]) + line + "\n")
    with pytest.raises(CommandError, match=r"items\.jsonl:2: ") as refused:
        called(
            command, path, *(["--output", output, "--no-own"] if command == "train_router" else [])
        )
    assert reason in str(refused.value)
    assert list(tmp_path.iterdir()) == [path]


def test_missing_or_empty_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        called("evaluate_routing", tmp_path / "nowhere.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(CommandError, match="no questions"):
        called("evaluate_routing", empty)


def small_data(folder: Path) -> tuple[Path, Path]:
    """Two files, of two sources each."""
    places = ("Peru", "Chile", "Spain", "Norway", "Kenya", "Japan", "Cuba", "Nepal")
    light = [{"text": f"What is the capital of {place}?", "label": "light"} for place in places]
    full = [
        {
            "text": f"Write a detailed travel plan for {place} and compare two routes.",
            "label": "full",
        }
        for place in places
    ]
    items = [
        item | {"source": f"{'north' if number % 2 else 'south'}-1", "id": str(number)}
        for number, item in enumerate((*light, *full))
    ]
    data, checked = folder / "data.jsonl", folder / "checked.jsonl"
    data.write_text(lines_of(*items[::3], *items[1::3]))
    checked.write_text(lines_of(*items[2::3]))
    return data, checked


def test_training_twice_writes_the_same_usable_weights(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data, checked = small_data(tmp_path)
    outputs = [tmp_path / "first.tsv", tmp_path / "second.tsv"]
    for output in outputs:
        report = called("train_router", data, "--checked", checked, "--output", output, "--no-own")
    assert "north" in report
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    trained = Classifier.load(outputs[0])
    assert (
        trained.judge("What is the capital of Ghana?").light
        > trained.judge("Write a detailed travel plan for Ghana.").light
    )


def test_training_leaves_each_author_out_to_judge_the_author(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data, checked = small_data(tmp_path)
    pairs = [
        {"text": text, "label": label, "author": author, "pair": number}
        for author in ("x", "y")
        for number, place in enumerate(("Oslo", "Lima", "Riga"), start=1)
        for text, label in (
            (f"Is {place} a capital, {author}?", "light"),
            (f"Is {place} older than Rome, {author}?", "full"),
        )
    ]
    checked.write_text(checked.read_text() + lines_of(*pairs))
    report = called(
        "train_router", data, "--checked", checked, "--output", tmp_path / "w.tsv", "--no-own"
    )
    assert "author x" in report
    assert "author y" in report
    assert "authors: 12" in report
    assert "without escalation" in report


def test_training_without_checked_examples_keeps_the_old_weights(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data, _ = small_data(tmp_path)
    output = tmp_path / "router.tsv"
    output.write_text("as it was")
    with pytest.raises(CommandError, match="Nothing to evaluate with"):
        called("train_router", data, "--output", output, "--no-own")
    assert output.read_text() == "as it was"
