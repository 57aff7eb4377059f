"""The fleet notices that its files are others than those that it has read."""

import os
from pathlib import Path

from chat.config.changes import Changes, places_of


def test_each_change_is_found_once(tmp_path: Path) -> None:
    toml, tools = places_of("", [tmp_path, tmp_path])
    toml.write_text("1")
    changes = Changes([toml, tools])
    assert changes.found() == []
    toml.write_text("22")
    tools.write_text("it comes")
    assert changes.found() == [toml, tools]
    assert changes.found() == []
    tools.unlink()
    assert changes.found() == [tools]
    assert changes.found() == []


def test_file_of_the_same_size_and_time_is_another(tmp_path: Path) -> None:
    [toml, _] = places_of("", [tmp_path])
    toml.write_text("1")
    changes, seen = Changes([toml]), toml.stat()
    (tmp_path / "draft").write_text("2")
    (tmp_path / "draft").replace(toml)
    os.utime(toml, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert changes.found() == [toml]


def test_tools_are_beside_a_file_that_is_chosen(tmp_path: Path) -> None:
    chosen = tmp_path / "acme.toml"
    assert places_of(str(chosen), [tmp_path / "state"]) == [chosen, tmp_path / "fleet_tools.py"]
