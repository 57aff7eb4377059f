"""llama.cpp's own server with the weights of the built-in model, which asks for a key.

    python -m tests.compat.llama_server PORT KEY

It serves its model as a file without a name, as `llama-server -m FILE` does.
"""

import signal
import sys

import xllamacpp

from agenticfleet.management.commands.serve_model import params_of_stand_in, with_place


def main(port: str, key: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    params = with_place(params_of_stand_in(), "127.0.0.1", int(port))
    params.model_alias = set()
    params.api_keys = [key]
    params.n_parallel = 1
    params.n_ctx = 2048
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
