"""Which code runs as canary."""

import tomllib
from pathlib import Path

from canary.python_path import ROOMS, environment, program, shadows

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_every_room_that_is_installed_is_known() -> None:
    wheel = tomllib.loads(PROJECT.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert sorted(ROOMS) == sorted(wheel["packages"])


def test_a_program_of_ours_sees_neither_the_working_folder_nor_the_callers_path() -> None:
    assert program("canary", "status")[1:] == ["-P", "-m", "canary", "status"]
    given = environment({"PYTHONPATH": "/theirs", "HOME": "/home/jane"})
    assert given["HOME"] == "/home/jane"
    assert "/theirs" not in given.values()


def test_a_folder_without_code_shadows_no_room(tmp_path: Path) -> None:
    (tmp_path / "verdict").mkdir()
    assert shadows([str(tmp_path)]) == {}
