# SPDX-License-Identifier: BSD-2-Clause
"""The switch between two real QEMUs: their own `-netdev stream` on the switch's sockets, without a guest.

In each QEMU a hub joins that stream to another one, which this test is connected to, so that what goes in on one side
has to come out on the other.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from router.vswitch import SwitchProcess
from tests.support.patience import PATIENCE
from tests.support.skips import need
from tests.vswitch.frames import ACK, CLIENT, CONFIG, SERVER, tcp_frame
from tests.vswitch.links import Link, wait_for


def start_qemu(switch: SwitchProcess, name: str, near: Path) -> subprocess.Popen[bytes]:
    """A QEMU with no machine in it; the test's end is the socket `near`."""
    command = [need("timeout"), "600", need("qemu-system-aarch64"), "-M", "none", "-nodefaults", "-display", "none"]
    command += ["-netdev", f"stream,id=switch,server=off,addr.type=unix,addr.path={switch.socket(name)}"]
    command += ["-netdev", f"stream,id=test,server=on,addr.type=unix,addr.path={near}"]
    for number, netdev in enumerate(("switch", "test")):
        command += ["-netdev", f"hubport,id=port{number},hubid=0,netdev={netdev}"]
    with near.with_suffix(".log").open("w") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def link_to(near: Path) -> Link:
    """A link to a socket that QEMU is about to make: its name is there a moment before it listens."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return Link(near)
        except (FileNotFoundError, ConnectionRefusedError):
            assert time.monotonic() < end, near.with_suffix(".log").read_text()
            time.sleep(0.02)


@contextlib.contextmanager
def two_guests(switch: SwitchProcess, folder: Path) -> Iterator[list[Link]]:
    """What stands for the guests in the QEMUs of server and client."""
    with contextlib.ExitStack() as stack:
        ends = []
        for name in ("server", "client"):
            near = folder / name
            process = start_qemu(switch, name, near)
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.terminate)
            ends.append(stack.enter_context(contextlib.closing(link_to(near))))
        wait_for(switch, lambda ports: ports["server"].connected and ports["client"].connected)
        yield ends


def test_two_qemus_talk_through_the_switch(checked_program: Path, tmp_path: Path) -> None:
    """Small frames, 64 KiB frames, bursts, answers; what is not allowed stays away; and a QEMU may be started again."""
    with SwitchProcess(checked_program, CONFIG, tmp_path / "run") as switch:
        for turn in range(2):
            folder = tmp_path / f"turn{turn}"
            folder.mkdir()
            with two_guests(switch, folder) as (server, client):
                for size in (0, 1460, 65000, 65495):
                    frame = tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, bytes(size))
                    client.send(frame)
                    assert server.receive() == frame
                answer = tcp_frame(SERVER, CLIENT, 3240, 40000, ACK, b"answer")
                server.send(answer)
                assert client.receive() == answer
                client.send(tcp_frame(CLIENT, SERVER, 40000, 22))
                burst = [tcp_frame(CLIENT, SERVER, number, 3240, ACK, bytes(1000)) for number in range(500)]
                client.send(*burst)
                # QEMU's hub changes the order when a socket is full (seen with 7.2), so only the set is compared.
                assert sorted(server.receive() for _ in burst) == burst
            wait_for(switch, lambda ports: not ports["client"].connected)
        counters = switch.stop()
        assert counters["client"].drops == {"not-allowed": 2}
        assert (counters["client"].connections, counters["server"].tx_frames) == (2, 2 * 504)
        assert switch.ended() == 0, switch.last_words()
