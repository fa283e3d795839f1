# SPDX-License-Identifier: BSD-2-Clause
"""A switch with four guests that have vsock devices, and what tests do with them."""

from __future__ import annotations

import time

from router.vswitch import SwitchConfig, SwitchProcess, VsockCounters, VsockPort, VsockRule
from tests.support.patience import PATIENCE, wait_until
from tests.vswitch.vhost import RST, RW, Guest, Header, Stream

SERVER, CLIENT, OTHER, LONELY = 4, 5, 6, 7
VSOCK = SwitchConfig(
    (),
    (),
    vsock_ports=(
        VsockPort("server", SERVER),
        VsockPort("client", CLIENT),
        VsockPort("other", OTHER),
        VsockPort("lonely", LONELY),
    ),
    vsock_rules=(
        VsockRule("client", "server", 3240),
        VsockRule("other", "server", 3240),
        VsockRule("server", "client", 99),
    ),
)


def attach(switch: SwitchProcess, name: str, **options: int) -> Guest:
    """A guest of that port, its rings not started."""
    return Guest(switch.vsock_socket(name), {port.name: port.cid for port in VSOCK.vsock_ports}[name], **options)


def counters(switch: SwitchProcess, name: str) -> VsockCounters:
    found = switch.counters()[name].vsock
    assert found is not None
    return found


def run(switch: SwitchProcess, name: str, **options: int) -> Guest:
    """A guest of that port whose driver runs the device, as far as the switch knows."""
    guest = attach(switch, name, **options).start()
    assert wait_until(lambda: counters(switch, name).connected)
    return guest


def ends_well(switch: SwitchProcess) -> bool:
    switch.stop()
    return switch.ended() == 0


def carry(here: Stream, there: Stream, data: bytes, most: int = 65536) -> None:
    """Send all of it with the credit that there is, in packets of up to `most` bytes, and take it on the other side."""
    left = memoryview(data)
    end = time.monotonic() + PATIENCE
    while left or len(there.data) < len(data):
        room = min(most, here.credit(), len(left))
        if room > 0 and (here.guest.tx.added - here.guest.tx.used_index()) % 65536 < 200:
            here.send(RW, bytes(left[:room]))
            left = left[room:]
        for stream in (here, there):
            while (packet := stream.guest.poll()) is not None:
                stream.accept(packet)
                assert not stream.ended
        assert time.monotonic() < end, (len(left), len(there.data))
    assert bytes(there.data) == data
    there.data.clear()


def refused(guest: Guest, header: Header) -> bool:
    """The packet is answered by a RST that belongs to it."""
    guest.send(header)
    answer = guest.receive().header
    assert answer[:4] == (header.destination_cid, header.source_cid, header.destination_port, header.source_port)
    return (answer.operation, answer.type, answer.length) == (RST, header.type, 0)
