"""Finds the process that listens on an address, in Linux's /proc."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

Address = tuple[str, int]
"""Host and port."""

LOCK = "lock"
"""The file in a data folder that a running `canary serve` holds locked."""

_LISTENING = "0A"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortHolder:
    """A process that listens on an address. `data` is its data folder if it is a `canary serve`, else None.
    `orphan` is a child of a `canary serve` that has ended: it ends too, within a second or so."""

    pid: int
    name: str
    data: Path | None
    orphan: bool

    def __str__(self) -> str:
        name = self.name if self.data is None else f"another canary with data folder {self.data}"
        return f"{name} (pid {self.pid})"


def port_holder(address: Address, family: socket.AddressFamily) -> PortHolder | None:
    """The process that listens where `address` would; None if it cannot be read. A `canary serve` comes
    before its children, which hold the same sockets."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(address, family)}
    holders = [_holder(pid, links) for pid, links in _descriptors() if sockets.intersection(links)]
    return min(holders, key=lambda each: (each.data is None, each.pid), default=None)


def _inodes(address: Address, family: socket.AddressFamily) -> Iterator[str]:
    """The sockets that listen on this address, or on all."""
    wanted = ip_address(socket.getaddrinfo(address[0], None, family)[0][4][0])
    for line in _text("net/tcp").splitlines()[1:] + _text("net/tcp6").splitlines()[1:]:
        fields = line.split()
        host, port = fields[1].split(":")
        words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
        found = ip_address(b"".join(words))  # each word of 32 bits is little-endian
        same = found == wanted or found.is_unspecified or wanted.is_unspecified
        if fields[3] == _LISTENING and int(port, 16) == address[1] and same:
            yield fields[9]


def _descriptors() -> Iterator[tuple[int, list[str]]]:
    """Each process that we may read, with what its descriptors are."""
    for folder in Path("/proc").glob("[0-9]*/fd"):
        links: list[str] = []
        with suppress(OSError):
            for each in folder.iterdir():
                with suppress(FileNotFoundError):  # closed meanwhile
                    links.append(str(each.readlink()))
        yield int(folder.parent.name), links


def _holder(pid: int, links: list[str]) -> PortHolder:
    """A `canary serve` holds the lock of its data folder; its children do not."""
    folders = [Path(link).parent for link in links if link.endswith(f"/{LOCK}")]
    data = next((folder for folder in folders if (folder / "server.json").exists()), None)
    orphan = data is None and "canary.programs." in _text(f"{pid}/cmdline")
    return PortHolder(pid=pid, name=_text(f"{pid}/comm").strip() or "a process", data=data, orphan=orphan)


def _text(path: str) -> str:
    with suppress(OSError):
        return Path("/proc", path).read_text(errors="replace")
    return ""
