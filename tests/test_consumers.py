"""The pause of an html socket after each frame."""

import pytest

from chat.frames import FRAME_TIME, MAX_PAUSE, pause_after


@pytest.mark.parametrize(
    ("cost", "pause"),
    [
        (0, FRAME_TIME),
        (0.001, FRAME_TIME),
        (0.002, 0.02),
        (0.005, 0.05),
        (0.02, 0.2),
        (0.05, MAX_PAUSE),
        (3, MAX_PAUSE),
    ],
)
def test_pause_grows_with_the_cost_of_rendering(cost: float, pause: float) -> None:
    assert pause_after(cost) == pytest.approx(pause)
