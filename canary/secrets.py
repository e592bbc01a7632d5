"""Secrets: from the environment, from `NAME_FILE` (reread after a change), or generated in the data dir."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from common.whole_file import Stamp, file_stamp, sync_folder, write_whole
from routing.cohort import derive_key

_LEAST_BYTES = 16

OPTIONAL = ("CANARY_VIEWER_TOKEN", "CANARY_METRICS_TOKEN", "CANARY_FEEDBACK_TOKEN", "CANARY_PIN_TOKEN")
"""Secrets without a generated value."""


class BadSecret(Exception):
    """A secret that cannot be used. The message says what would be right."""


class Secret:
    """One named secret. `value()` is cheap: it rereads the file only after a change."""

    def __init__(self, name: str, environment: Mapping[str, str], *, generated: Path | None = None) -> None:
        """`generated` is the file for a generated value, used when none is set."""
        self.name = name
        self._value = environment.get(name) or None
        path = environment.get(f"{name}_FILE")
        self._path = Path(path) if path and self._value is None else None
        if self._value is None and self._path is None and generated is not None:
            self._path = generated
            _generate(generated)
        self._stamp: Stamp = ()

    def value(self) -> str | None:
        """The secret in force; None if none is set. Raises BadSecret if its file never held one.

        A file that is missing or empty later, for example while it is being written, leaves the last value in
        force.
        """
        if self._path is None:
            return self._value
        try:
            stamp = file_stamp(self._path)
            if stamp != self._stamp:
                self._value, self._stamp = self._path.read_text().strip() or self._value, stamp
        except (OSError, UnicodeDecodeError) as error:
            if self._value is None:
                why = error.strerror if isinstance(error, OSError) else "it is not text"
                raise BadSecret(f"{self.name}_FILE: cannot read {self._path}: {why}") from error
        if self._value is None:
            raise BadSecret(f"{self.name}_FILE: {self._path} is empty; write the secret into it")
        return self._value


def admin_token(environment: Mapping[str, str], data: Path, *, loopback: bool) -> Secret:
    """The admin token. It is generated if the listener is on loopback; otherwise it must be set."""
    secret = Secret("CANARY_ADMIN_TOKEN", environment, generated=data / "admin.token" if loopback else None)
    if secret.value() is None:
        raise BadSecret(
            "the admin listener is not on loopback: set CANARY_ADMIN_TOKEN or CANARY_ADMIN_TOKEN_FILE"
        )
    if Secret("CANARY_VIEWER_TOKEN", environment).value() == secret.value():
        raise BadSecret("CANARY_VIEWER_TOKEN is the admin token: set another one, or viewers are operators")
    return secret


class SecretKeys:
    """Two keys derived from CANARY_SECRET: for assignment and for ids. The previous secret only verifies old
    ids."""

    def __init__(self, environment: Mapping[str, str], data: Path) -> None:
        self._secret = Secret("CANARY_SECRET", environment, generated=data / "secret")
        self._previous = Secret("CANARY_SECRET_PREVIOUS", environment)
        self._values = self._read()
        self._derive()

    def look(self) -> bool:
        """Reread the secrets' files. True if the keys changed; a bad secret leaves the keys in force."""
        try:
            values = self._read()
        except BadSecret:
            return False
        if values == self._values:
            return False
        self._values = values
        self._derive()
        return True

    def _read(self) -> tuple[bytes, bytes]:
        return _long_enough(self._secret), (self._previous.value() or "").encode()

    def _derive(self) -> None:
        secret, previous = self._values
        self.assignment = derive_key(secret, "assignment")
        self.ids = derive_key(secret, "ids")
        self.verifying = [self.ids] + ([derive_key(previous, "ids")] if previous else [])


def _long_enough(secret: Secret) -> bytes:
    value = (secret.value() or "").encode()
    if len(value) < _LEAST_BYTES:
        raise BadSecret(
            f"{secret.name} is shorter than {_LEAST_BYTES} bytes; `openssl rand -hex 32` makes one"
        )
    return value


def _generate(path: Path) -> None:
    """Create the file unless it exists. The first link wins, so all processes read the same value."""
    if path.exists():
        return
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    write_whole(fresh, f"{secrets.token_hex(32)}\n".encode())
    with suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    sync_folder(path.parent)  # an id that was signed must not outlive its key
