"""A role that cannot be played with this config is refused, by name and with what would be right."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from canary.config import ConfigError, parse
from canary.config.config import check_role
from canary.config.server import Role, ServerSettings

PROVIDERS = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}\n'
STORE = "store: postgresql://u:p@db/canary\n"
SHARED = "shared: redis://cache:6379/0\n"


@pytest.mark.parametrize("role", ["traffic", "admin"])
def test_replicas_with_both_are_let_through(role: Role) -> None:
    check_role(parse(PROVIDERS + STORE + SHARED, "canary.yaml", {}), role)


@pytest.mark.parametrize(
    ("role", "config", "said"),
    [
        (
            "traffic",
            SHARED,
            "role traffic: store: SQLite works on one machine only; replicas need postgresql://",
        ),
        ("admin", SHARED, "role admin: store: SQLite works on one machine only"),
        ("traffic", STORE, "role traffic: shared: replicas need a Redis: redis://HOST:PORT/0"),
        ("all", STORE + SHARED, "role all: shared: only replicas use it; remove it"),
    ],
)
def test_what_does_not_fit_is_named(role: Role, config: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        check_role(parse(PROVIDERS + config, "canary.yaml", {}), role)


def test_all_on_postgresql_needs_nothing_shared() -> None:
    check_role(parse(PROVIDERS + STORE, "canary.yaml", {}), "all")


def test_an_unknown_role_is_refused_by_the_file_and_by_the_flag() -> None:
    with pytest.raises(ConfigError, match="role"):
        parse(PROVIDERS + "role: worker\n", "canary.yaml", {})
    with pytest.raises(ConfigError, match='--role: "worker" is not a role; choose all, traffic, admin'):
        ServerSettings().overridden({}, {"role": "worker"})


def test_the_role_comes_from_the_file_the_variable_or_the_flag() -> None:
    settings = parse(PROVIDERS + "role: admin\n", "canary.yaml", {}).server
    assert settings.role == "admin"
    assert settings.overridden({"CANARY_ROLE": "traffic"}, {}).role == "traffic"
    assert settings.overridden({"CANARY_ROLE": "traffic"}, {"role": "all"}).role == "all"


def test_replicas_without_the_shared_secret_do_not_start(tmp_path: Path) -> None:
    config = tmp_path / "canary.yaml"
    config.write_text(PROVIDERS + STORE + SHARED)
    command = [sys.executable, "-m", "canary", "serve", "--role", "traffic", "--config", str(config)]
    ran = subprocess.run(
        [*command, "--data", str(tmp_path / "data"), "--traffic", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "/usr/bin"},
    )
    assert ran.returncode == 1
    assert "CANARY_SECRET is not set; replicas must share one" in ran.stderr
