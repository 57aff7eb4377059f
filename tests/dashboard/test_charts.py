"""Charts begin at zero, have round scales, and show gaps as gaps."""

from itertools import pairwise

import pytest

from chat.dashboard.charts import HEIGHT, LABEL_HEIGHT, bars_of, labels_of, line_of, scale_of
from chat.dashboard.wording import compact, duration, milliseconds, money, percent


@pytest.mark.parametrize(
    ("values", "top"),
    [([], 1), ([0], 1), ([None], 1), ([7], 8), ([100], 100), ([101], 200), ([0.03], 0.03)],
)
def test_scale_ends_at_a_round_number_above_all_values(
    values: list[float | None], top: float
) -> None:
    scale = scale_of(values, str)
    assert scale.top == pytest.approx(top)
    assert (scale.y(0), scale.y(scale.top)) == (HEIGHT, 0)


def test_line_has_a_gap_where_there_are_no_values() -> None:
    line = line_of("p50", "strong", [1, 2, None, 3, None, 4, 4], scale_of([4], str))
    assert [len(points.split()) for points in line.pieces] == [2, 2]
    assert [dot.percent for dot in line.dots] == ["50.00%"]


def test_bars_stand_on_zero_and_empty_steps_have_none() -> None:
    bars = bars_of([10, 0, 5], [5, 0, 0], scale_of([10], str))
    assert len(bars) == 2
    assert float(bars[0].y) + float(bars[0].height) == HEIGHT
    assert float(bars[0].marked_height) == HEIGHT / 2


def test_labels_never_overlap_and_stay_inside() -> None:
    heights = [
        int(label.y)
        for label in labels_of([("a", "x", 118.0), ("b", "x", 119.0), ("c", "x", 120.0)])
    ]
    assert all(below - above >= LABEL_HEIGHT for above, below in pairwise(heights))
    assert max(heights) <= HEIGHT


def test_numbers_read_well() -> None:
    assert [compact(n) for n in (0, 999, 12_345, 1_234_567)] == ["0", "999", "12.3 k", "1.23 M"]
    assert [duration(ms) for ms in (None, 0.5, 12, 1234, 150_000)] == [
        "–",
        "0.5 ms",
        "12 ms",
        "1.23 s",
        "2.5 min",
    ]
    assert [milliseconds(ms) for ms in (None, 3.14, 3806)] == ["–", "3.1", "3,810"]
    assert [percent(*pair) for pair in ((0, 0), (0, 5), (1, 5000), (1, 3), (4999, 5000))] == [
        "–",
        "0 %",
        "< 0.1 %",
        "33 %",
        "> 99.9 %",
    ]


def test_cost_with_unknown_prices_is_a_minimum() -> None:
    assert [money(2.5, *counts) for counts in ((0, 4), (1, 4), (4, 4))] == ["2.50", "≥ 2.50", "–"]
