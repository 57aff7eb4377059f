"""Train the router's weights from labelled questions. The same data give the same bytes."""

from argparse import ArgumentParser
from pathlib import Path
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.classifier import WEIGHTS
from routing.examples import BadLine, Example, read_corrections, read_examples

fit: ModuleType | None
try:
    from routing.training import fit, train
except ModuleNotFoundError:
    # An installation that only serves has no scikit-learn.
    fit = None

OWN = Path(__file__).parents[2] / "training"


class Command(BaseCommand):
    help = (
        "Train the router from labelled questions (with those in routing/training/)"
        " and write its weights."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "data",
            nargs="+",
            type=Path,
            help="files with a JSON object a line: text, label, source;"
            " optionally context, slice, id",
        )
        parser.add_argument(
            "--checked",
            nargs="*",
            type=Path,
            default=[],
            help="files whose labels were checked: they weigh more, and serve to evaluate",
        )
        parser.add_argument("--output", type=Path, default=WEIGHTS, help="default: %(default)s")
        parser.add_argument(
            "--no-own", action="store_true", help="leave out the items of routing/training/"
        )

    def handle(
        self,
        *args: Any,
        data: list[Path],
        checked: list[Path],
        output: Path,
        no_own: bool,
        **options: Any,
    ) -> None:
        if fit is None:
            raise CommandError("Training needs scikit-learn: uv sync --group train")
        try:
            corrections = {} if no_own else read_corrections(OWN / "corrections.jsonl")
            own = [] if no_own else read_examples(OWN / "own_items.jsonl")
            weak = fit.corrected(read_all(data), corrections)
            strong = fit.corrected(read_all(checked), corrections) + own
            if not strong:
                raise CommandError("Nothing to evaluate with: name a file with --checked.")
            samples = fit.samples_of(weak, checked=False) + fit.samples_of(strong, checked=True)
            self.stdout.write(
                f"{len(samples)} examples, {len(strong)} of them checked."
                " Accuracy for each source and author, by a model that has not seen it:"
            )
            text = train.train(samples, self.stdout.write)
            fit.write_whole(output, text)
        except (BadLine, ValueError) as exc:
            raise CommandError(str(exc)) from exc
        except OSError as exc:
            raise CommandError(f"{exc.filename}: {exc.strerror}") from exc
        self.stdout.write(f"{output}: {len(text.encode()) / 1e6:.2f} MB")


def read_all(paths: list[Path]) -> list[Example]:
    return [example for path in paths for example in read_examples(path)]
