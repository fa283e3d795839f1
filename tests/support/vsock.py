# SPDX-License-Identifier: BSD-2-Clause
"""What tests do in guests that have vsock devices instead of a network."""

from __future__ import annotations

import shlex

from router.testing import Router

CONNECT = """
import errno, socket, sys
for attempt in range(5):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    code = sock.connect_ex((int(sys.argv[1]), int(sys.argv[2])))
    if code != errno.ETIMEDOUT:
        break
print(errno.errorcode.get(code, code))
"""
"""Linux waits 2 s for an answer. A busy computer may take longer for one; where none comes, none of five does."""


def connected(router: Router, guest: str, cid: int, port: int) -> str:
    """What a connection from the guest comes to: 0, or the name of the error. Without an answer it is ETIMEDOUT."""
    return router.guest(guest).run(f"python3 -I -S -c {shlex.quote(CONNECT)} {cid} {port}").stdout.strip()


def check_refusals(router: Router) -> None:
    """The client reaches the server's daemon alone, and the server reaches nobody. Three guests, CIDs from 3 on."""
    assert connected(router, "client", 3, 3240) == "0"
    assert connected(router, "client", 3, 22) == "ECONNRESET"
    assert connected(router, "client", 99, 3240) == "ECONNRESET"
    assert connected(router, "server", 4, 3240) == "ECONNRESET"
