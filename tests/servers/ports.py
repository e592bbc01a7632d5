"""Ports for the programs that cannot choose a free one themselves."""

import socket
from random import SystemRandom

_LOWEST, _HIGHEST = 20_000, 32_000


def free_port() -> int:
    """A port that nobody listens on, below `ip_local_port_range`, from which the kernel takes ports.

    Any connection on the machine could take a port of that range before the program has it.
    """
    while True:
        port = SystemRandom().randint(_LOWEST, _HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
