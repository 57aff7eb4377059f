"""Every wrong fleet.toml is refused in one line: the file, the line, the key, what is expected."""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.config.places import line_of, statements
from chat.config.reading import MAX_BYTES, Config, config_of, files_in, read_config
from chat.config.reading import Files as Read

SECRETS = {"KEY": "k-secret", "TOKEN": "t-secret", "BROKEN": "a\nb-secret"}

VALID = """\
# What this fleet has.
apps = []

[agents.lawyer]
role = "reads contracts"
instructions = \"\"\"
You read contracts. A fee of $PRICE is none of yours.
Never say [agents.judge].
\"\"\"
tools = [
  "clock",   # a comment, with ]
  'web_search',
]
model = "fast"

[agents.researcher]
by_default = "never"

[models.fast]
model = "qwen3:8b"
base_url = "http://127.0.0.1:11434/v1"
api_key = "$KEY"
headers = { Authorization = "Bearer $TOKEN", "X-Team" = "fleet" }
context_tokens = 32_768

[models."gpt 5"]
model = "gpt-5"

[tools.web_search]
approver = "owner"
timeout = 12.5
calls_per_run = 3

[mcp.shop]
command = ["uvx", "shop-mcp@1.4"]
read = ["read"]

[mcp.shop.env]
SHOP_TOKEN = "$TOKEN"

[mcp.far]
url = "https://shop.example/mcp"
headers.Authorization = "Bearer $TOKEN"
enabled = false
"""


def secret(name: str) -> str:
    return SECRETS.get(name, "")


def read(text: str) -> Config:
    return config_of(Read(path="/f/fleet.toml", text=text), secret)


def refusal(text: str) -> str:
    """Return why the text is refused, without the path in front of it."""
    with pytest.raises(ImproperlyConfigured) as refused:
        read(text)
    line = str(refused.value)
    assert line.isprintable(), line
    assert "secret" not in line.replace("takes no secrets", "")
    return line.removeprefix("/f/fleet.toml").removeprefix(", ")


def test_valid_file_is_taken() -> None:
    config = read(VALID)
    assert config.file.agents["lawyer"].tools == ["clock", "web_search"]
    assert config.filled(config.file.models["fast"].headers["Authorization"]) == "Bearer t-secret"
    assert list(config.servers) == ["shop"]
    assert config.servers["shop"].env == {"SHOP_TOKEN": "t-secret"}


def test_file_with_nothing_in_it_changes_nothing() -> None:
    assert read("").file == Config().file
    assert read("# nothing\n[agents]\n").file == Config().file


# What is written, and the line in which it is refused.
REFUSED = {
    # Values of another kind
    "[agents.x]\nrole = 3": "line 2: agents.x.role: must be a text, not a number.",
    "agents = 3": "line 1: agents: must be tables such as [agents.NAME], not a number.",
    "\n[[agents]]": "line 2: agents: must be tables such as [agents.NAME], not a list.",
    "[agents]\nrole = 'r'": (
        "line 2: agents.role: must be a table such as [agents.NAME], not a text."
    ),
    "[[agents.x]]\nrole = 'r'": (
        "line 1: agents.x: must be a table such as [agents.NAME], not a list."
    ),
    "[agents.x]\ntools = 'clock'": (
        'line 2: agents.x.tools: must be a list such as ["…"], not a text.'
    ),
    "[agents.x]\ntools = [\n 'clock',\n 3,\n]": (
        "line 2: agents.x.tools, item 2: must be a text, not a number."
    ),
    "[agents.x]\nrole = 'r'\nenabled = 'yes'": (
        "line 3: agents.x.enabled: must be true or false, not a text."
    ),
    "[agents.x]\nrole = 2026-01-01": "line 2: agents.x.role: must be a text, not a date.",
    "[agents.x]\nrole = 10:00:00": "line 2: agents.x.role: must be a text, not a time.",
    "[agents.x]\nrole.short = 'r'": "line 2: agents.x.role: must be a text, not a table.",
    "[models.m]\nmodel = 'm'\ncontext_tokens = 1.5": (
        "line 3: models.m.context_tokens: must be a whole number, without a point."
    ),
    "[models.m]\nmodel = 'm'\ncontext_tokens = 10": (
        "line 3: models.m.context_tokens: must be at least 1,000."
    ),
    "[models.m]\nmodel = 'm'\noutput_tokens = 999999999999999999999999": (
        "line 3: models.m.output_tokens: must be at most 100,000,000."
    ),
    "[models.m]\n\nbase_url = 'http://h'": "line 1: models.m: needs model = …",
    "models.m = {model = 'm', headers = {A = 1}}": (
        "line 1: models.m.headers.A: must be a text, not a number."
    ),
    "[mcp.s]\nurl = 'http://h'\n[mcp.s.headers]\nA = 'a'\nB = true": (
        "line 5: mcp.s.headers.B: must be a text, not true or false."
    ),
    "tools.clock.timeout = nan": "line 1: tools.clock.timeout: must be more than 0.",
    "tools.clock.timeout = inf": "line 1: tools.clock.timeout: must be at most 600.",
    "tools.clock.approver = 'boss'": (
        'line 1: tools.clock.approver: must be "owner", or "perm:app.codename" for staff with a'
        " permission."
    ),
    f"[agents.x]\nrole = '{'r' * 501}'": (
        "line 2: agents.x.role: must have at most 500 characters."
    ),
    "[agents.x]\nrole = ''": "line 2: agents.x.role: must not be empty.",
    "[mcp.s]\ncommand = 'uvx s'": (
        'line 2: mcp.s.command: must be a list such as ["uvx", "mcp-server-time"], not a text.'
    ),
    "[mcp.s]\ncommand = ['uvx s']": (
        'line 2: mcp.s.command, item 1: must be one word, as in ["uvx", "mcp-server-time"]: there'
        ' is no program "uvx s".'
    ),
    "apps = 'acme'": 'line 1: apps: must be a list such as ["…"], not a text.',
    # Unknown names and values
    "[agents.x]\nrolle = 'r'": "line 2: agents.x.rolle: is unknown; did you mean role?",
    "[agents.x]\nprompt = 'p'": (
        "line 2: agents.x.prompt: is unknown; there are role, instructions, name, tools, model,"
        " by_default, phase, enabled."
    ),
    "x = 1\n[agent.x]\nrole = 'r'": (
        "line 1: x: is unknown; there are agents, models, tools, mcp, apps."
    ),
    "[agent.x]\nrole = 'r'": "line 1: agent: is unknown; did you mean agents?",
    '[agents.x]\n"ro\\nle\\u202e" = 1': (
        'line 2: agents.x."ro\\nle\\u202e": is unknown; did you mean role?'
    ),
    "[agents.x]\nphase = 'writting'": (
        "line 2: agents.x.phase: must be one of answer, analysis, research, writing, review, final;"
        ' not "writting".'
    ),
    # Names
    "[agents.Lawyer]": (
        "line 1: agents.Lawyer: must be named with a to z, 0 to 9 and _, and begin with a letter"
        " (at most 31)."
    ),
    '[agents."lawyer\\n"]': (
        'line 1: agents."lawyer\\n": must be named with a to z, 0 to 9 and _, and begin with a'
        " letter (at most 31)."
    ),
    "[mcp.my_shop]\nurl = 'http://h'": (
        "line 1: mcp.my_shop: must be named with a to z, 0 to 9 and -, and begin with a letter (at"
        " most 31)."
    ),
    '[models."-"]\nmodel = "m"': (
        "line 1: models.-: must be named with letters, digits, spaces and . : / _ - (at most 63)."
    ),
    '[agents.x]\ninstructions = "a\\u0000"': (
        "line 2: agents.x.instructions: must be a text without the character NUL."
    ),
    '[agents.x]\nname = "a\\nb"': "line 2: agents.x.name: must be one line that people can read.",
    # Servers
    "[mcp.s]": (
        'line 1: mcp.s: needs one of both: command = ["…"] starts a program, url = "…" asks a'
        " server."
    ),
    "[mcp.s]\ncommand = ['a']\nurl = 'http://h'": (
        'line 1: mcp.s: has both: command = ["…"] starts a program, url = "…" asks a server.'
    ),
    "[mcp.s]\nurl = 'ftp://h'": "line 2: mcp.s.url: must be an address such as https://host.example/path",
    "[mcp.s]\nurl = 'http://'": "line 2: mcp.s.url: must be an address such as https://host.example/path",
    "[models.m]\nmodel = 'm'\nbase_url = 'http://h:99999'": (
        "line 3: models.m.base_url: must be an address such as https://host.example/path"
    ),
    "[models.m]\nmodel = 'm'\nbase_url = 'http://u:p/secret@h/v1'": (
        "line 3: models.m.base_url: must be an address such as https://host.example/path"
    ),
    "[models.m]\nmodel = 'm'\nbase_url = 'http://u:12/secret@h/v1'": (
        "line 3: models.m.base_url: must have special characters of its password quoted as %XX."
    ),
    "[mcp.s]\ncommand = ['']": "line 2: mcp.s.command, item 1: can't be a word of a command.",
    "[mcp.s]\ncommand = ['a']\nenv = {'A=B' = 'c'}": (
        'line 3: mcp.s.env."A=B": can\'t be a variable of the environment.'
    ),
    "[mcp.s]\ncommand = ['a']\nheaders.A = 'a'": (
        "line 3: mcp.s.headers: are for a url; a command gets env."
    ),
    "[mcp.s]\nurl = 'http://h'\nenv.A = 'a'": (
        "line 3: mcp.s.env: is for a command; a server with a url gets headers."
    ),
    "[mcp.s]\nurl = 'http://h'\nheaders.'A B' = 'a'": (
        'line 3: mcp.s.headers."A B": can\'t be the name of a header.'
    ),
    "[mcp.s]\nurl = 'http://h'\nheaders.A = 'ä'": (
        "line 3: mcp.s.headers.A: must be ASCII characters in one line, as headers are."
    ),
    # Secrets
    "[mcp.s]\nurl = 'http://h'\nheaders.A = 'Bearer $NONE'": (
        "line 3: mcp.s.headers.A: the environment has no NONE."
    ),
    "[mcp.s]\nurl = 'http://h'\nheaders.A = '$FLEET_NONE'": (
        "line 3: mcp.s.headers.A: the environment has no FLEET_NONE. Choose another name:"
    ),
    "[mcp.s]\nurl = 'http://h'\nheaders.A = 'Bearer $BROKEN'": (
        "line 3: mcp.s.headers.A: BROKEN must be ASCII characters in one line, as headers are."
    ),
    "[models.m]\nmodel = 'm'\nbase_url = 'http://h'\napi_key = 'sk-secret'": (
        "line 4: models.m.api_key: must name a variable of the environment or of .env, such as"
        ' "$OPENAI_API_KEY": the key itself must not be in this file.'
    ),
    "[models.m]\nmodel = 'm'\napi_key = '$KEY'": (
        "line 1: models.m: needs a base_url, to which api_key and headers are sent."
    ),
    "[mcp.s]\nurl = 'https://h/$KEY'": "line 2: mcp.s.url: takes no secrets,",
    "[mcp.s]\ncommand = ['a', '--key=$KEY']": "line 2: mcp.s.command, item 2: takes no secrets,",
    "[models.m]\nmodel = '$KEY'": "line 2: models.m.model: takes no secrets,",
    # Apps
    "apps = ['acme.none']": (
        "line 1: apps, item 1: acme.none can't be imported: ModuleNotFoundError: No module named"
        " 'acme'"
    ),
    "apps = ['a b']": 'line 1: apps, item 1: "a b" must be the name of a package, such as',
    "apps = ['json', 'json']": 'line 1: apps, item 2: "json" is there already.',
    "apps = ['this']": "line 1: apps, item 1: this must be a package: a folder with an",
    # No TOML
    "[agents.x]\nrole = reader": 'line 2: a value must be a "text", a number, true, false, or a',
    "[agents.x]\nrole = 'r\ntools = []": "line 2: a text isn't closed: its quotation mark is",
    '[agents.x]\nrole = """r\n\n[agents.y]\n': "line 2: a text isn't closed",
    "[agents.x]\ntools = [\n'a'\nrole = 'r'\n\n[agents.y]\n": "line 2: a list isn't closed",
    "[agents.x]\n\n[agents.x]": "line 3: the table [agents.x] is there already.",
    "[agents.x]\nrole = 'r'\nrole = 's'": "line 3: this name has a value already.",
    "agents.x = {role = 'r', role = 's'}": "line 1: role is there twice.",
    "agents.x = {role = 'r',\n tools = []}": "line 1: a name is missing, or needs quotation marks;",
    "[agents.x\nrole = 'r'": "line 1: the ] after the name of a table is missing, or the name",
    "[agents.x]\nrole": "line 2: must be a table such as [agents.lawyer], or NAME = value.",
    "[agents.x]\nröle = 'r'": "line 2: must be a table such as [agents.lawyer], or NAME = value.",
    '[agents.x]\nrole = "c:\\dir"': "line 2: a \\ in a text must be written",
    '[agents.x]\nrole = "r" "s"': "line 2: something follows the value, or it has no quotes.",
    "[agents.x]\nrole = 'r\0'": "line 2: there is a character that nobody can see.",
    "[agents.x]\rrole = 'r'": "line 1: something follows the value, or it has no quotes.",
    f"[agents.x]\nrole = {'[' * 5000}": "line 2: lists or tables are nested too deeply.",
    f"[agents.x]\n{'.'.join(['a'] * 5000)} = 1": "line 2: agents.x.a: is unknown;",
    f"[agents.x]\nrole = {'9' * 5000}": "line 2: a number has too many digits.",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text)[:60])
def test_wrong_file_is_refused_in_one_line(text: str) -> None:
    assert refusal(text).startswith(REFUSED[text])


def test_line_is_that_of_a_long_file() -> None:
    before = VALID + "\n# more\n" * 500
    wrong = before.count("\n") + 2
    assert refusal(f"{before}[agents.late]\n\trole = 3\n") == (
        f"line {wrong}: agents.late.role: must be a text, not a number."
    )


def test_mcp_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.config.checking.find_spec", lambda _name: None)
    assert refusal("[mcp.s]\nurl = 'http://h'") == (
        "line 1: mcp: needs the packages of MCP: uv sync --extra mcp"
    )
    assert read("[mcp.s]\nurl = 'http://h'\nenabled = false").servers == {}


def test_secrets_of_a_server_that_is_off_may_be_missing() -> None:
    off = "[mcp.s]\nurl = 'http://h'\nenabled = false\nheaders.A = '$NONE'"
    assert read(off).secrets == {}


# --- The file -------------------------------------------------------------------------------------


def refusal_of(content: bytes, folder: Path) -> str:
    (folder / "fleet.toml").write_bytes(content)
    with pytest.raises(ImproperlyConfigured) as refused:
        read_config("", [folder], secret)
    return str(refused.value).removeprefix(f"{folder}/fleet.toml")


def test_mark_and_line_ends_of_windows_are_taken(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_bytes(b"\xef\xbb\xbf[agents.x]\r\nrole = '''a\r\nb'''\r\n")
    assert read_config("", [tmp_path], secret).file.agents["x"].role == "a\nb"
    text = b"\xef\xbb\xbf[agents.x]\r\n\r\n\trole = 3\r\n"
    assert refusal_of(text, tmp_path).startswith(", line 3: agents.x.role")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[agents.x]\nrole = '\xe4'", ", line 2: must be in UTF-8."),
        ("[agents.x]".encode("utf-16"), ", line 1: must be in UTF-8."),
        (b"#" * (MAX_BYTES + 1), " has more than 1,000,000 bytes."),
    ],
)
def test_bytes_that_are_no_text_are_refused(content: bytes, expected: str, tmp_path: Path) -> None:
    assert refusal_of(content, tmp_path) == expected


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nothing")
    said = "cannot be read: No such file or directory." if kind == "dangling" else "is not a file."
    with pytest.raises(ImproperlyConfigured, match=re.escape(f"{path} {said}")):
        read_config("", [tmp_path], secret)
    with pytest.raises(ImproperlyConfigured, match=re.escape(f"{path} {said}")):
        read_config(str(path), [], secret)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text("")
    path.chmod(0)
    with pytest.raises(ImproperlyConfigured, match="cannot be read: Permission denied"):
        read_config("", [tmp_path], secret)


def test_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^FLEET_CONFIG names .*which isn't there.$"):
        read_config(str(tmp_path / "fleet.toml"), [], secret)


def test_folder_that_is_named_is_refused_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^FLEET_CONFIG: .* is not a file\.$"):
        read_config(str(tmp_path), [], secret)


@pytest.mark.parametrize("name", ["fleet.toml", "fleet_tools.py"])
def test_two_files_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for folder in (tmp_path, tmp_path / "state"):
        (folder / name).write_text("")
    with pytest.raises(ImproperlyConfigured, match=f"There are .*{name} and .*{name}; "):
        files_in("", [tmp_path, tmp_path / "state"])
    chosen = files_in(str(tmp_path / "state" / "fleet.toml"), []) if name == "fleet.toml" else None
    assert chosen is None or chosen.path == str(tmp_path / "state/fleet.toml")


# --- Any file -------------------------------------------------------------------------------------

LINES = VALID.splitlines(keepends=True)
PIECES = [
    *("[", "]", "{", "}", '"', "'", '"""', "'''", "#", "=", ",", ".", "\\", "\n", "\r\n", "\0"),
    *("\t", "\ufeff", "\u2028", "\x0b", "ä", "3", "nan", "true", "1.5", "[[x]]", "[agents.x]"),
    *('"$KEY"', "$", "2026-01-01", "role = 3\n", "x.y.z = {}\n", "[mcp.shop.env]\n"),
]


@st.composite
def changed_files(draw: st.DrawFn) -> str:
    text = VALID
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 30)))
        text = text[:at] + draw(st.sampled_from(["", *PIECES])) + text[end:]
    return text


@settings(max_examples=600, deadline=None)
@given(text=changed_files())
def test_changed_file_is_taken_or_refused_in_one_line(text: str) -> None:
    try:
        config = read(text)
    except ImproperlyConfigured as refused:
        line = str(refused)
        assert line.isprintable()
        assert "-secret" not in line
        assert "`" not in line, "these are words of msgspec"
        assert line.startswith("/f/fleet.toml")
        number = re.match(r"/f/fleet.toml, line (\d+): ", line)
        assert number, line
        assert int(number[1]) in {
            begins for begins, words in statements(text) if words.strip(" \t\n")
        }
    else:
        assert config.problem == ""


def places(value: object, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield (*place, key)
            yield from places(each, (*place, key))


@settings(max_examples=100, deadline=None)
@given(before=st.integers(0, 5), data=st.data())
def test_line_of_a_place_is_that_of_its_statement(before: int, data: st.DataObject) -> None:
    text = "# more\n" * before + VALID
    [*found] = places(tomllib.loads(text))
    place = data.draw(st.sampled_from(found))
    line = line_of(text, place)
    words = next(words for begins, words in statements(text) if begins == line)
    assert place[-1] in words
    if not words.startswith("["):
        # Without its statement, the value is gone.
        rest = text.splitlines()
        del rest[line - 1 : line - 1 + words.count("\n")]
        assert place not in set(places(tomllib.loads("\n".join(rest))))
