"""The image, built without a container engine: its steps in a folder, and its command there.

The base image isn't here: Python and its libraries are those of this machine.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.utils import exclude_paths
from websockets.sync.client import connect

from agenticfleet.embedded import free_port
from tests.chaos.streams import kind_of
from tests.chatting import chat_request
from tests.fleet.test_fleet import read_to_end
from tests.scripted_model import ScriptedModel
from tests.serving import START, Fleet, clean_environment, end, until

from .composition import (
    IGNORED,
    ROOT,
    image_command,
    image_environment,
    image_health_check,
    instructions,
)

# Without an entry in /etc/passwd, and not in root's group.
USER, GROUP = 12345, 12345
SECRET = "a-secret-of-the-person-who-builds"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user"),
    pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed"),
]


def moved(text: str, root: Path) -> str:
    """Return a text of the Dockerfile with the folders of the image below `root`."""
    for name in ("app", "state", "code"):
        text = text.replace(f"/{name}", f"{root}/{name}")
    return text


def libraries(root: Path) -> dict[str, str]:
    """Return what leads a Python with a shared library to the one in its own folder."""
    return {"LD_LIBRARY_PATH": str(root / "python/lib")}


def copy_context(place: Path, names: list[str]) -> None:
    """Copy what .dockerignore doesn't exclude, as it is in the repository, with a secret beside."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    context = place.with_name("context")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, context / name)
    (context / ".env").write_text(f"DJANGO_SECRET_KEY={SECRET}\n")
    for name in exclude_paths(str(context), IGNORED.read_text().splitlines()):
        source = context / name
        if source.is_file() and (names == ["."] or name in names):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place / name)
    shutil.rmtree(context)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with what the image has in /app, closed to writing, and an open /state."""
    root = tmp_path_factory.mktemp("image")
    umask = os.umask(0o022)  # As a builder of images has it; a fleet's closes all to others.
    (root / "app").mkdir()
    steps = instructions()
    building = steps[: max(place for place, (name, _) in enumerate(steps) if name == "FROM")]
    # The base image: what others may not read, in root's home perhaps, wouldn't be there.
    unneeded = shutil.ignore_patterns("test", "site-packages", "idlelib", "__pycache__")
    shutil.copytree(sys.base_prefix, root / "python", symlinks=True, ignore=unneeded)
    python = root / "python/bin" / Path(sys.executable).resolve().name
    environment = {**clean_environment(), "UV_PYTHON": str(python), **libraries(root)}
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    environment.pop("VIRTUAL_ENV", None)
    for name, words in building:
        if name == "ENV":
            environment |= dict(part.split("=", 1) for part in shlex.split(words))
            environment.pop("UV_NO_CACHE", None)  # Only to download less.
        elif name == "COPY":
            *names, target = words.split()
            copy_context(root / ("code" if target == "/code" else "app"), names)
        elif name == "RUN" and not words.startswith("pip install"):
            command = shlex.split(moved(words, root))
            subprocess.run(command, cwd=root / "app", env=environment, check=True)
    shutil.copytree(root / "code", root / "app", dirs_exist_ok=True)
    (root / "state").mkdir()
    (root / "state").chmod(0o1777)
    for folder in root.parents:
        if folder.owner() == "root" and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    root.chmod(0o755)
    os.umask(umask)
    yield root
    shutil.rmtree(root)


def test_image_has_no_secrets_no_tests_and_no_caches(image: Path) -> None:
    found = {path.name for path in (image / "app").iterdir()}
    assert {"manage.py", "agenticfleet", "pyproject.toml", ".venv"} <= found
    assert not found & {".env", ".git", ".fleet", "tests", ".env.example"}
    texts = [path for path in image.rglob("*") if path.is_file() and path.suffix != ".so"]
    assert not [path for path in texts if SECRET.encode() in path.read_bytes()]
    assert list((image / "app/agenticfleet").rglob("*.pyc"))


def test_any_user_can_run_it_without_writing_beside_its_state(image: Path) -> None:
    port, model = free_port(), ScriptedModel()
    environment = {
        "PATH": os.environ["PATH"],
        **libraries(image),
        **{name: moved(value, image) for name, value in image_environment().items()},
        "OPENAI_BASE_URL": model.url,
        "FLEET_MODEL": "scripted",
    }
    before = set((image / "app").rglob("*"))
    command = [moved(part, image) for part in image_command()]

    def as_anybody(arguments: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*command[:2], *arguments],
            cwd=image / "app",
            env=environment,
            user=USER,
            group=GROUP,
            extra_groups=[],
            start_new_session=True,
            **options,
        )

    with (image / "stdout").open("wb") as out, (image / "stderr").open("wb") as err:
        process = as_anybody([*command[2:], f"--port={port}"], stdout=out, stderr=err)
    fleet = Fleet(process, image)
    try:
        fleet.wait_until_ready()
        check = [moved(part, image).replace("8000", str(port)) for part in image_health_check()]
        until(lambda: subprocess.run(check).returncode == 0, START, "it is not healthy")
        token = as_anybody(["token", "create", "--service", "ci"], stdout=subprocess.PIPE)
        said, _ = token.communicate()
        bearer = {"Authorization": f"Bearer {re.findall(rb'fleet_\S+', said)[0].decode()}"}
        address = f"ws://127.0.0.1:{port}/ws/chat/"
        with connect(address, additional_headers=bearer) as client:
            client.send(json.dumps(chat_request()))
            assert kind_of(read_to_end(client)[-1]) == "completed"
        assert fleet.stop() == 0
    finally:
        end(fleet)
        model.stop()
    assert set((image / "app").rglob("*")) == before
    assert (image / "state/fleet.sqlite3").stat().st_uid == USER
    assert not re.search("WARNING|ERROR", fleet.complained), fleet.complained
