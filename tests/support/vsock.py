# SPDX-License-Identifier: BSD-2-Clause
"""What tests do in guests that have vsock devices instead of a network."""

from __future__ import annotations

import shlex

from router.testing import Router

CONNECT = """
import errno, socket, sys
sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
code = sock.connect_ex((int(sys.argv[1]), int(sys.argv[2])))
print(errno.errorcode.get(code, code))
"""


def connected(router: Router, guest: str, cid: int, port: int) -> str:
    """What a connection from the guest comes to: 0, or the name of the error."""
    return router.guest(guest).run(f"python3 -I -S -c {shlex.quote(CONNECT)} {cid} {port}").stdout.strip()
