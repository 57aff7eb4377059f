"""The thresholds by what a wrong path costs, in tokens of light answers.

A wrong full answer costs the difference of the paths. A wrong light one is noticed and escalated,
which costs the light answer; or it is not, and somebody gets a poor answer, which is as bad as the
price of so many full answers.
"""

from routing.preferences import POOR_ANSWER, Preference

FULL_ANSWER = 14.0  # measured by tests.benchmarks.paths
NOTICED = 0.5  # of the wrong light answers, assumed


def threshold_of(preference: Preference, *, escalates: bool = True) -> float:
    """Return the probability of light from which on the light path is the cheaper choice."""
    wrong_full = FULL_ANSWER - 1
    light = wrong_light(preference, escalates=escalates)
    return round(light / (light + wrong_full), 3)


def wrong_light(preference: Preference, *, escalates: bool) -> float:
    noticed = NOTICED if escalates else 0.0
    return noticed + (1 - noticed) * POOR_ANSWER[preference] * FULL_ANSWER
