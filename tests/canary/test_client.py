"""The commands find the admin token wherever the server may have it from."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from canary.commands.client import AdminClient, NotReached
from tests.serving import ProviderThread, Running

CONFIG = 'providers: {{openai: {{api: openai, base_url: "{url}/v1"}}}}'


def states(running: Running, elsewhere: Path, environment: Mapping[str, str]) -> object:
    """What the server says to a client that does not see its data folder."""
    client = AdminClient(admin=running.admin, data=elsewhere, environment=environment)
    return client.get("/api/status")["canaries"]


def test_the_token_comes_from_the_variable_or_from_the_file_that_it_names(
    tmp_path: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    running = serve(CONFIG.format(url=provider.url), workers=1)
    file = tmp_path / "token"
    file.write_text(running.token + "\n")
    elsewhere = tmp_path / "elsewhere"
    assert states(running, elsewhere, {"CANARY_ADMIN_TOKEN": running.token}) == []
    assert states(running, elsewhere, {"CANARY_ADMIN_TOKEN_FILE": str(file)}) == []
    with pytest.raises(NotReached, match="token"):
        states(running, elsewhere, {})


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(NotReached, match=f"CANARY_ADMIN_TOKEN_FILE: cannot read {missing}"):
        AdminClient(admin="127.0.0.1:9", data=tmp_path, environment={"CANARY_ADMIN_TOKEN_FILE": str(missing)})
