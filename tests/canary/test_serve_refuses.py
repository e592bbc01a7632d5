"""What `canary serve` does not begin with: it ends at once, and says what is wrong and where."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from canary.secrets import OPTIONAL
from tests.certificates import TLS, write_pair
from tests.effort import in_more

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}}'


def serve(
    folder: Path, *options: str, config: str = CONFIG, **environment: str
) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what it says of logging is for the whole of one."""
    (folder / "canary.yaml").write_text(config)
    command = [sys.executable, "-m", "canary", "serve", "--config", str(folder / "canary.yaml")]
    command += ["--admin", "127.0.0.1:0", *options]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)


@pytest.mark.parametrize("name", [OPTIONAL[0], *map(in_more, OPTIONAL[1:])])
def test_a_secret_s_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    done = serve(tmp_path, "--data", str(tmp_path / "data"), **{f"{name}_FILE": str(tmp_path / "none")})
    assert (done.returncode, f"{name}_FILE: cannot read {tmp_path / 'none'}" in done.stderr) == (1, True)


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        traffic = f"127.0.0.1:{other.getsockname()[1]}"
        done = serve(tmp_path, "--data", str(tmp_path / "data"), "--traffic", traffic)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot listen at {traffic}: Address already in use by ")


def test_a_data_folder_that_cannot_be_one(tmp_path: Path) -> None:
    done = serve(tmp_path, "--data", str(tmp_path / "canary.yaml"))
    assert (done.returncode, "cannot be the data folder: File exists" in done.stderr) == (1, True)


def test_a_certificate_that_callers_would_refuse(tmp_path: Path) -> None:
    write_pair(tmp_path / "tls", trustme.CA(), starts_in_days=-9, ends_in_days=-2)
    done = serve(tmp_path, "--data", str(tmp_path / "data"), config=f"{CONFIG}\n{TLS}")
    assert done.returncode == 2
    assert f"tls.cert_file: the certificate in {tmp_path / 'tls' / 'tls.crt'} expired on " in done.stderr
    assert not (tmp_path / "data" / "server.json").exists()
