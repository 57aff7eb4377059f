"""The languages that are coloured, by the names that models write after a fence."""

import re
from functools import cache

from pygments.lexers import get_all_lexers

NAME = re.compile(r"[\w+#.-]+", re.ASCII)  # also in "rust,ignore", "{python}" and "py:main.py"
MAX_NAME_CHARS = 30

# The lexers that may be used, by their first alias in Pygments. Not all that there are: each takes
# memory for good once it was used. Those of scala and fish take for ever for an open string with
# some pairs of backslashes; those that delegate, such as pycon, read all before their first token,
# so that they can't be stopped.
LEXERS = """
    ada apacheconf awk bash batch c clojure cmake common-lisp console cpp csharp css cuda cypher
    cython d dart delphi diff django docker doscon elixir elm emacs-lisp erb erlang fortran
    fsharp gdscript gherkin gleam glsl go graphql groovy haskell hlsl html http iex ini java
    javascript json json5 jsonnet jsx julia kotlin lean4 less llvm lua make markdown matlab mojo
    mysql nasm nginx nimrod nixos objective-c ocaml octave odin perl php plpgsql postgresql
    powershell prolog promql properties protobuf psql puppet purescript python pytb racket rbcon
    reasonml rego restructuredtext ruby rust sass scheme scss solidity sparql splus sql swift
    systemd systemverilog tcl terraform tex toml tsql tsx typescript typst vala vb.net verilog
    vhdl vim vue wast wgsl xml yaml zig
"""

# Names that those lexers don't have, or that mean another language to a model.
OTHER_NAMES = {
    "ansible": "yaml",
    "arduino": "cpp",
    "assembly": "nasm",
    "astro": "vue",
    "bashrc": "bash",
    "bigquery": "sql",
    "bison": "c",
    "compose": "yaml",
    "cts": "typescript",
    "docker-compose": "yaml",
    "dotenv": "ini",
    "ejs": "html",
    "env": "ini",
    "fish": "bash",
    "gql": "graphql",
    "h": "c",
    "handlebars": "html",
    "hbs": "html",
    "ino": "cpp",
    "ipython": "python",
    "jsonc": "json5",
    "jsonld": "json",
    "kubernetes": "yaml",
    "m": "objective-c",
    "mariadb": "mysql",
    "meson": "python",
    "mssql": "tsql",
    "mts": "typescript",
    "node": "javascript",
    "opencl": "c",
    "oracle": "plpgsql",
    "pgsql": "postgresql",
    "plsql": "plpgsql",
    "proto3": "protobuf",
    "ps": "powershell",
    "pycon": "python",
    "python-repl": "python",
    "sbt": "groovy",
    "scala": "groovy",
    "snowflake": "sql",
    "spark-sql": "sql",
    "sqlite": "sql",
    "sqlite3": "sql",
    "svelte": "vue",
    "terminal": "console",
    "vba": "vb.net",
    "visual-basic": "vb.net",
    "wasm": "wast",
    "zshrc": "bash",
}


def language_of(info: str) -> str:
    """Return the language that a fence names, safe as a class name; "text" if it names none."""
    found = NAME.search(info)
    return found[0][:MAX_NAME_CHARS] if found else "text"


@cache
def known_names() -> dict[str, str]:
    """Return the lexer for each name in lower case, and for each ending of a file's name."""
    lexers = set(LEXERS.split())
    names: dict[str, str] = {}
    endings: dict[str, str] = {}
    for _, aliases, patterns, _ in get_all_lexers(plugins=False):
        if aliases and aliases[0] in lexers:
            names |= {alias.lower(): aliases[0] for alias in aliases}
            for pattern in patterns:
                endings.setdefault(pattern.removeprefix("*.").lower(), aliases[0])
    return endings | names | OTHER_NAMES


def lexer_name(language: str) -> str:
    """Return the lexer for a language as a model names it; empty if there is none."""
    return known_names().get(language.lower().lstrip("."), "")
