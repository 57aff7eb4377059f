"""Other users of the machine can't read what the fleet stores."""

import os
import stat
from pathlib import Path

import pytest

from agenticfleet.statefolder import keep_private
from tests.fleet.test_settings import manage
from tests.scripted_model import ScriptedModel
from tests.serving import migrated_database, running

NO_DATABASE = {"ENGINE": "django.db.backends.postgresql", "NAME": "fleet"}
pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


def open_to_others(folder: Path) -> list[str]:
    paths = [folder, *folder.rglob("*")]
    return [str(path) for path in paths if path.lstat().st_mode & 0o077 and not path.is_symlink()]


@pytest.fixture(autouse=True)
def _open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a state folder as an earlier version left it under an open umask."""
    folder = tmp_path / "state"
    folder.mkdir()
    database = folder / "fleet.sqlite3"
    database.write_bytes(migrated_database())
    (folder / "secret_key").write_text("a key that was long enough in an earlier version, too")
    for name in ("lock", "fleet.sqlite3-wal", "fleet.sqlite3-shm"):
        (folder / name).touch()
    (folder / "static").mkdir()
    assert len(open_to_others(folder)) == 7
    return folder


def test_fleet_closes_a_folder_that_was_open_and_makes_only_private_files(
    old: Path, model_server: ScriptedModel
) -> None:
    with running(old.parent, model_server) as fleet, fleet.ask("Hello?") as client:
        for frame in client:
            if '"type":"done"' in str(frame).replace(" ", ""):
                break
        names = {path.name for path in old.iterdir()}
        assert {"fleet.sqlite3", "fleet.sqlite3-wal", "fleet.json", "metrics"} <= names
        assert open_to_others(old) == []
        assert "other users could open" in fleet.complained
        assert fleet.complained.count("other users") == 1


def test_every_command_makes_private_files_whatever_the_umask(tmp_path: Path) -> None:
    state, database = tmp_path / "new/state", tmp_path / "elsewhere.sqlite3"
    for url in ("", f"sqlite:///{database}"):
        ran = manage("migrate", "-v0", FLEET_STATE_DIR=str(state), DATABASE_URL=url)
        assert (ran.returncode, ran.stderr) == (0, "")
    assert open_to_others(state) == []
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_database_in_another_folder_is_closed_and_its_neighbours_are_left(tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    state.mkdir()
    elsewhere.mkdir()
    for name in ("x.sqlite3", "x.sqlite3-wal", "notes"):
        (elsewhere / name).touch()
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(elsewhere / "x.sqlite3")}
    keep_private(state, settings)
    assert open_to_others(elsewhere) == [str(elsewhere), str(elsewhere / "notes")]


def test_owner_keeps_all_access_and_what_links_name_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, shared = tmp_path / "state", tmp_path / "shared"
    state.mkdir()
    shared.mkdir()
    (state / "tool").touch()
    (state / "tool").chmod(0o755)
    (state / "models").symlink_to(shared)
    (state / "gone").symlink_to(tmp_path / "nowhere")
    keep_private(state, NO_DATABASE)
    assert stat.S_IMODE((state / "tool").stat().st_mode) == 0o700
    assert open_to_others(shared) == [str(shared)]
    assert len(caplog.records) == 1
    caplog.clear()
    keep_private(state, NO_DATABASE)
    assert not caplog.records


def test_folder_of_everybody_stays_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    keep_private(tmp_path, NO_DATABASE)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


def test_folder_of_somebody_else_is_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    keep_private(tmp_path, NO_DATABASE)
    [record] = caplog.records
    assert record.getMessage() == f"other users may be able to open {tmp_path}"
