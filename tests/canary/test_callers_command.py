"""`canary callers new` prints a key once, and a line that the config takes."""

import json
import re
from hashlib import sha256

import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.config.load import parse

PROVIDER = 'providers:\n  openai: {api: openai, base_url: "https://api.openai.com/v1", api_key: sk-own}\n'


def test_a_new_key_comes_with_the_line_that_lets_it_in() -> None:
    done = CliRunner().invoke(app, ["callers", "new", "web"])
    key, line = done.stdout.splitlines()
    assert re.fullmatch(r"ck_[\w-]{43}", key)
    (caller,) = parse(f"{PROVIDER}callers:\n  {line}\n", "canary.yaml", {}).callers
    assert (caller.name, caller.key_sha256) == ("web", (sha256(key.encode()).hexdigest(),))
    assert key not in done.stderr
    assert key not in line


def test_as_json_it_says_the_same() -> None:
    said = json.loads(CliRunner().invoke(app, ["callers", "new", "web", "-o", "json"]).stdout)
    assert said["key_sha256"] == sha256(said["key"].encode()).hexdigest()
    assert said["line"] == f'- {{name: web, key_sha256: "{said["key_sha256"]}"}}'
    again = json.loads(CliRunner().invoke(app, ["callers", "new", "web", "-o", "json"]).stdout)
    assert again["key"] != said["key"]


@pytest.mark.parametrize("name", ["", "a b", "x, models: [y]", "a" * 64])
def test_a_name_that_the_config_would_refuse_gets_no_key(name: str) -> None:
    done = CliRunner().invoke(app, ["callers", "new", name])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "is not a caller's name" in done.stderr
