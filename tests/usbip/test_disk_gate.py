# SPDX-License-Identifier: BSD-2-Clause
"""A client's new connections wait until all that it sent over its old ones has ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.usbip.server.gate import MAX_CONNECTIONS, Gates, connections
from router.usbip.server.nvmet import Namespace
from tests.usbip.disk_server import FakeNvmet, Lanes

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 02004D0A:1145 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 02004D0A:1145 03004D0A:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 0 10 -1
   2: 02004D0A:1145 03004D0A:A1B4 08 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 0 10 -1
   3: 02004D0A:1146 04004D0A:A1B4 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 4 0 10 -1
"""


@pytest.fixture
def target(tmp_path: Path) -> FakeNvmet:
    for name in ("subsystems", "ports"):
        (tmp_path / name).mkdir()
    target = FakeNvmet("10.77.0.2", str(tmp_path))
    for tcp in (4421, 4422):
        target.prepare(tcp)
    target.add(4421, Namespace(7, "/dev/sda", "u", "n"))
    return target


def test_connections_are_counted_by_port_without_listeners_and_what_has_ended() -> None:
    assert connections(TABLE) == {0x1145: 2}


def test_a_connected_client_makes_no_further_connections_until_its_requests_have_ended(target: FakeNvmet) -> None:
    lanes, there = Lanes(target), {4421: 1}
    gates = Gates(target, lanes, lambda: there)
    gates.look([4421, 4422])
    assert target.admits(4421), "a connection that is being made"
    there[4421] = 2
    gates.look([4421, 4422])
    assert not target.admits(4421) and target.admits(4422)
    there[4421] = 1
    gates.look([4421, 4422])
    assert not target.admits(4421), "one of the old connections is still there"
    there.clear()
    lanes.held.add(4421)
    for _ in range(2):
        gates.look([4421, 4422])
    assert not target.admits(4421), "the disk still writes what came over them"
    lanes.let_go(4421)
    gates.look([4421, 4422])
    assert target.admits(4421) and [one.nsid for one in target.namespaces(4421)] == [7]


def test_a_client_with_too_many_connections_loses_them_and_is_let_in_again(target: FakeNvmet) -> None:
    for tcp in (4421, 4422):
        target.listen(tcp)
    there = {4421: MAX_CONNECTIONS + 1, 4422: MAX_CONNECTIONS}
    gates = Gates(target, Lanes(target), lambda: there)
    gates.look([4421, 4422])
    assert not target.listens(4421), "the kernel closes a port's connections with the port"
    assert target.listens(4422) and not target.admits(4422)
    there.clear()
    gates.look([4421, 4422])
    assert target.admits(4421)


def test_a_program_that_starts_again_leaves_a_connected_client_alone(target: FakeNvmet) -> None:
    target.admit(4421, False)
    target.prepare(4421)
    assert not target.admits(4421)


def test_what_the_kernel_refuses_is_tried_again(target: FakeNvmet, capsys: pytest.CaptureFixture[str]) -> None:
    target.admit(4421, False)
    target.refuses = "enable"
    gates = Gates(target, Lanes(target), dict)
    gates.look([4421])
    assert not target.admits(4421) and "port 4421" in capsys.readouterr().err
    target.refuses = ""
    gates.look([4421])
    assert target.admits(4421)
