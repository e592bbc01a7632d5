"""The listeners' certificate as its files change, for the supervisor."""

import time
from pathlib import Path

import structlog

from canary.config import Config, ConfigError
from canary.config.certificate import certificate_of
from common.whole_file import Stamp, file_stamp

log = structlog.get_logger()


class WatchedCertificate:
    """The certificate of the config's `tls`, reread when a file changes. A bad pair keeps the old one.

    A certificate is renewed by replacing two files, one after the other, or by a link to both (Kubernetes).
    So the files must not have changed since the last look, and a bad pair is read again at each look.
    """

    def __init__(self, config: Config, file: Path) -> None:
        """Read it. `file` is the config's. Raises ConfigError."""
        self._file = file
        self._seen = self._stamp = _stamp(config)
        self.current = certificate_of(config, file, time.time())
        self.problem = ""

    def check(self, config: Config) -> bool:
        """Read the files again if they have changed. True if `current` or `problem` has changed.

        A server that has started without TLS does not begin with it, nor one with TLS end it.
        """
        stamp = _stamp(config)
        still, self._seen = stamp == self._seen, stamp
        if self.current is None or config.tls is None or not still:
            return False
        if stamp == self._stamp and not self.problem:
            return False
        self._stamp = stamp
        before = (self.current, self.problem)
        self._reread(config)
        return before != (self.current, self.problem)

    def _reread(self, config: Config) -> None:
        try:
            self.current, self.problem = certificate_of(config, self._file, time.time()), ""
        except ConfigError as error:
            if self.problem != str(error):
                log.error("certificate.refused", problem=str(error))
            self.problem = str(error)


def _stamp(config: Config) -> tuple[Stamp, ...]:
    """The state of both files, as links lead to them."""
    if config.tls is None:
        return ()
    return tuple(_state(config.folder / name) for name in (config.tls.cert_file, config.tls.key_file))


def _state(path: Path) -> Stamp:
    try:
        return file_stamp(path)
    except OSError:
        return ()
