# SPDX-License-Identifier: BSD-2-Clause
"""Addresses and sockets: TCP over IPv4 and IPv6, AF_UNIX and AF_VSOCK, with the options that USB/IP wants."""

from __future__ import annotations

import os
import socket
import time

from router.errors import HostError
from router.usbip.protocol.handshake import PORT
from router.usbip.runtime.text import error_text

# A dead peer frees its device, and a dead server its port, after 5 s + 5 × 1 s; 15 s is what people are promised.
# TCP_USER_TIMEOUT covers what keepalive does not: a peer that died while data to it was on its way. It cannot be
# longer, since it takes the place of KEEPALIVE_COUNT where it is set (net/ipv4/tcp_timer.c, tcp_keepalive_timer). It
# also ends a connection whose live peer reads nothing for so long: UserSession, which stops reading, reads a little.
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 5, 1, 5
USER_TIMEOUT_MS = 1000 * (KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_COUNT)

# Bytes. Linux >= 6.12.92 resets a vsock connection with more than buffer / 576 packets that are not read yet, and the
# header of a URB can be one; its default is 256 KiB.
VSOCK_BUFFER = 8 << 20

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, int] | str


def max_descriptors() -> int:
    """How many descriptors this process may have open (RLIMIT_NOFILE). The module `resource` would cost its import."""
    try:
        with open("/proc/self/limits", encoding="ascii") as file:
            for line in file:
                if line.startswith("Max open files"):
                    soft = line.split()[3]
                    return int(soft) if soft.isdecimal() else 1 << 20
    except OSError:
        pass
    return 1024


class Address:
    """Where to listen or connect. `kind` is tcp, unix or vsock; `host` is a name, a path or a CID."""

    __slots__ = ("host", "kind", "port")

    def __init__(self, kind: str, host: str, port: int) -> None:
        self.kind = kind
        self.host = host
        self.port = port

    @property
    def peer(self) -> str:
        """Who is there, without the port, as the policy names peers."""
        return f"vsock:{self.host}" if self.kind == "vsock" else self.host

    @property
    def has_keepalive(self) -> bool:
        """Whether the kernel notices a peer that is dead: of a unix socket by its end, of vsock not at all."""
        return self.kind != "vsock"

    def __str__(self) -> str:
        if self.kind == "tcp":
            return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"unix:{self.host}" if self.kind == "unix" else f"vsock:{self.host}:{self.port}"


def parse_address(text: str, port: int = PORT) -> Address:
    """HostError for what is none of "10.77.0.2", "10.77.0.2:3241", "[::1]:3240", "::1", "fe80::1%eth0",
    "unix:/run/usbip" and "vsock:2:3240". port: where the text has none.
    """
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        return Address("unix", rest, 0)
    if kind == "vsock":
        cid, _, number = rest.partition(":")
        if _is_number(cid, 32) and (not number or _is_number(number, 32)):
            return Address("vsock", cid, int(number) if number else port)
    elif text.startswith("["):
        host, bracket, number = text[1:].partition("]")
        if bracket and (not number or (number[0] == ":" and _is_number(number[1:], 16))):
            return Address("tcp", host, int(number[1:]) if number else port)
    elif text.count(":") > 1:
        return Address("tcp", text, port)
    elif text:
        host, colon, number = text.partition(":")
        if host and (not colon or _is_number(number, 16)):
            return Address("tcp", host, int(number) if colon else port)
    raise HostError(f"{text!r} is not an address", "write HOST, HOST:PORT, [IPv6]:PORT, unix:/path or vsock:CID:PORT")


def _is_number(text: str, bits: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 1 << bits


def _resolve(address: Address) -> tuple[int, SocketAddress]:
    """(family, address for connect and bind); numbers are not looked up anywhere."""
    if address.kind == "unix":
        return socket.AF_UNIX, address.host
    if address.kind == "vsock":
        return socket.AF_VSOCK, (int(address.host), address.port)
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, address.host)
        except (OSError, ValueError):
            # ValueError: a NUL, or what is not Unicode.
            continue
        return family, (address.host, address.port)
    try:
        found = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise HostError(
            f"no address for {address.host!r}: {error_text(error)}", "write the server's IP address"
        ) from error
    family, _, _, _, where = found[0]
    if family == socket.AF_INET6 and len(where) == 4:
        # The scope names the link of a link-local address (RFC 4007): without it there is no way there.
        return family, (str(where[0]), int(where[1]), int(where[2]), int(where[3]))
    return family, (str(where[0]), int(where[1]))


def tune(sock: socket.socket) -> None:
    """Keepalive and no delay on a TCP connection, large buffers on a vsock one; before it connects or listens."""
    if sock.family == socket.AF_VSOCK:
        # A connection that is accepted has its listener's sizes.
        for option in (socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE, socket.SO_VM_SOCKETS_BUFFER_SIZE):
            sock.setsockopt(socket.AF_VSOCK, option, VSOCK_BUFFER)
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def listen(address: Address, backlog: int = 64) -> socket.socket:
    """A non-blocking listening socket; HostError if the address cannot be had. "::" takes IPv4 as well."""
    family, where = _resolve(address)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if address.kind == "unix":
            _remove_stale(address.host)
        elif address.kind == "vsock":
            tune(sock)
        elif address.kind == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(where)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise HostError(
            f"cannot listen on {address}: {error.strerror}", "is another usbipd running? see `ss -ltnp`"
        ) from error
    return sock


def _remove_stale(path: str) -> None:
    """Removes a socket file without a listener."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        # Nothing is there, or it is not a socket: bind says which.
        return
    finally:
        probe.close()


def start_connect(address: Address) -> socket.socket:
    """A non-blocking socket whose connection is under way: once writable, SO_ERROR tells. May raise OSError."""
    family, where = _resolve(address)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        tune(sock)
        sock.connect(where)
    except BlockingIOError:
        return sock
    except OSError:
        sock.close()
        raise
    return sock


def connect(address: Address, timeout: float = 5.0) -> socket.socket:
    """A connected socket with that timeout on each operation; HostError if the server does not answer."""
    family, where = _resolve(address)
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        tune(sock)
        sock.settimeout(timeout)
        sock.connect(where)
    except OSError as error:
        sock.close()
        reason = error.strerror or "no answer"
        raise HostError(
            f"cannot connect to {address}: {reason}", "is usbipd running there, and the port open?"
        ) from error
    return sock


def peer_name(sock: socket.socket, where: object) -> str:
    """Who is at the other end, as the policy names clients: an IP address, "vsock:CID" or "unix"."""
    if sock.family == socket.AF_VSOCK and isinstance(where, tuple):
        return f"vsock:{where[0]}"
    if sock.family in (socket.AF_INET, socket.AF_INET6) and isinstance(where, tuple):
        host = str(where[0]).partition("%")[0]
        return host.removeprefix("::ffff:") if "." in host else host
    return "unix"


def receive_exactly(sock: socket.socket, size: int, until: float | None = None) -> bytes:
    """That many bytes from a blocking socket; EOFError if the peer closed before, TimeoutError if it stalls.

    until: the time (time.monotonic) at which a peer that sends little by little has stalled as well.
    """
    data = bytearray()
    while len(data) < size:
        if until is not None and time.monotonic() > until:
            raise TimeoutError
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError(f"the peer closed the connection after {len(data)} of {size} bytes")
        data += part
    return bytes(data)
