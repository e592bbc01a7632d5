"""The listening sockets of a server: one SO_REUSEPORT socket for each worker slot.

SO_REUSEPORT would also let a second server share the port by accident. So the first socket of each address
is bound without it, and the kernel refuses an address that is in use. It gets the option once it listens.
"""

import errno
import socket
import time
from collections.abc import Iterator, Sequence
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


_QUEUE = 2048
_ORPHANS_S = 5.0


def listeners(wanted: Sequence[tuple[Address, int]], *, take_over: bool) -> list[list[socket.socket]]:
    """`count` listening sockets for each (address, count). Port 0 is one free port for all of an address.

    `take_over` shares the port with the canary that holds it. Raises OSError, which names the holder, before
    any socket listens.
    """
    firsts = [_first(address, shared=take_over) if count else None for address, count in wanted]
    return [
        [] if first is None else _all(first, address, count)
        for first, (address, count) in zip(firsts, wanted, strict=True)
    ]


def url(listener: socket.socket, *, tls: bool) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return url_of(host, port, tls=tls)


def url_of(host: str, port: int, *, tls: bool) -> str:
    """The URL of a host and port."""
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _first(address: Address, *, shared: bool) -> socket.socket:
    """A bound socket, once the children of a server that was killed have let go of the address."""
    deadline = time.monotonic() + _ORPHANS_S
    while True:
        try:
            return _bind(address, shared=shared)
        except OSError as error:
            holder = port_holder(address, _family(address)) if error.errno == errno.EADDRINUSE else None
            if holder is None or not holder.orphan or time.monotonic() > deadline:
                raise _refusal(address, error, shared=shared) from error
        time.sleep(0.1)


def _all(first: socket.socket, address: Address, count: int) -> list[socket.socket]:
    try:
        first.listen(_QUEUE)
    except OSError as error:  # another server has listened between our bind and now
        raise _refusal(address, error, shared=False) from error
    first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    same = (address[0], first.getsockname()[1])
    others = [_bind(same, shared=True) for _ in range(count - 1)]
    for each in others:
        each.listen(_QUEUE)
    return [first, *others]


def _bind(address: Address, *, shared: bool) -> socket.socket:
    listener = socket.socket(_family(address), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _refusal(address: Address, error: OSError, *, shared: bool) -> OSError:
    said = f"cannot listen at {address[0]}:{address[1]}: {error.strerror}"
    if error.errno != errno.EADDRINUSE:
        return OSError(said)
    holder = port_holder(address, _family(address))
    by = holder or "a process of another user"
    share = ", or share it by --take-over" if holder and holder.data and not shared else ""
    return OSError(f"{said} by {by}; end that process, choose another port{share}")
