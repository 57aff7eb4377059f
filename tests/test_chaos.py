"""A short storm over a real fleet; `manage.py chaos` plays longer ones."""

from tests.chaos.driver import Storm, run


def test_every_stream_ends_as_it_must_in_a_storm() -> None:
    report = run(Storm(runs=30, seed=3, concurrency=12, longest_freeze=5), tell=print)
    assert not report.violations, report.text()
