# SPDX-License-Identifier: BSD-2-Clause
"""IPv6 addresses that mean something on one link only (RFC 4007), in a network name space of the test's own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from router.usbip.runtime.net import _resolve, parse_address
from tests.support.patience import PATIENCE

SCRIPT = r"""
set -eu
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up
ip link set v1 up
ip -6 address add fe80::1/64 dev v0 nodad
echo "allow any all" >policy
set -- --engine none --virtual serial --policy policy --control "" --listen "$LISTEN"
"$PYTHON" -m router.usbip serve "$@" >log 2>&1 &
server=$!
trap 'kill $server' EXIT
tries=100
until grep -q listening log; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { cat log; exit 1; }
    sleep 0.1
done
"$PYTHON" -m router.usbip list -r "fe80::1%v0"
"$PYTHON" -m router.usbip list -r "[fe80::1%v0]:3240"
if [ -x /usr/sbin/usbip ]; then /usr/sbin/usbip list -r "fe80::1%v0"; else echo 90-1; fi
"""


def test_the_scope_of_an_address_is_kept() -> None:
    name = socket.if_indextoname(1)
    family, where = _resolve(parse_address(f"[fe80::1%{name}]:3241"))
    assert family == socket.AF_INET6 and isinstance(where, tuple) and len(where) == 4
    assert (str(where[0]).partition("%")[0], *where[1:]) == ("fe80::1", 3241, 0, 1)


@pytest.mark.parametrize("listen", ["[::]:3240", "[fe80::1%v0]:3240"])
def test_a_link_local_server_is_listed_by_us_and_by_linux_own_tool(tmp_path: Path, listen: str) -> None:
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("unshare (util-linux) or ip (iproute2) is missing")
    if subprocess.run(
        [*unshare, "ip", "link", "add", "v0", "type", "veth"], capture_output=True, check=False
    ).returncode:
        pytest.skip("no network name space with a veth pair can be made here")
    done = subprocess.run(
        [*unshare, "sh", "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable, "LISTEN": listen},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("90-1") >= 3, done.stdout + done.stderr
