# SPDX-License-Identifier: BSD-2-Clause
"""The counters of a switch that is a protection domain, in the form that the host process's have.

Standard library only: it runs on lab hosts as well.
"""

from __future__ import annotations

from typing import Any

from router.console.counts import FRAMES, PACKETS, Counts
from router.errors import MachineError

RX_FRAMES, RX_BYTES, TX_FRAMES, TX_BYTES, CONNECTED, OPEN, BREACHES, DROPS = range(8)
"""Places of the values: `enum tally_value` of common/tally.h."""
BREACH = "breach"
"""The name of drops that the switch's core has no reason for: entries of its rings that a VMM may not have written."""
_FRAMES = (
    "pass no-port runt oversize source-mac vlan ipv6 ethertype broadcast multicast destination-mac to-itself arp-format"
    " arp-sender-mac arp-sender-ip arp-target ipv4-header ipv4-options ipv4-length fragment source-ip destination-ip"
    " ip-protocol tcp-header udp-header icmp-header icmp-type icmp-quote tcp-open checksum-offload segmentation-offload"
    " not-allowed port-down stalled"
)
FRAME_REASONS = tuple(_FRAMES.split())
"""`VSWITCH_REASONS` of vswitch/core/vswitch.h, in its order."""
_PACKETS = (
    "pass no-port source-cid destination-cid type operation length not-allowed connections no-connection state credit"
    " reset port-down stalled"
)
PACKET_REASONS = tuple(_PACKETS.split())
"""`VSOCK_REASONS` of vswitch/core/vsock.h, in its order."""
REASONS = {FRAMES: FRAME_REASONS, PACKETS: PACKET_REASONS}


def row_of(counts: Counts) -> dict[str, Any]:
    """The fields of `router.vswitch.PortCounters`. Nothing waits in this switch and nothing connects to it, so those
    fields are 0, and frames that a VMM handed over wrongly are drops for the reason `breach`.

    MachineError when the switch has published nothing, or is of a version that counts something else.
    """
    if counts.kind not in REASONS:
        raise MachineError("the switch has not started: it has published no counters")
    reasons = REASONS[counts.kind]
    values = counts.values
    if len(values) != DROPS + len(reasons):
        raise MachineError(
            f"the switch counts {len(values)} values for each guest, and this router knows {DROPS + len(reasons)}",
            hint="use the router that built the running image, or build the image anew",
        )
    drops = {name: count for name, count in zip(reasons, values[DROPS:], strict=True) if count}
    if values[BREACHES]:
        drops[BREACH] = values[BREACHES]
    waiting = {"queued_bytes": 0, "queued_peak_bytes": 0, "blocked": False}
    bytes_both = {"rx_bytes": values[RX_BYTES], "tx_bytes": values[TX_BYTES]}
    connected = bool(values[CONNECTED])
    none: dict[str, Any] = {
        "connected": False,
        "connections": 0,
        "rx_frames": 0,
        "rx_bytes": 0,
        "tx_frames": 0,
        "tx_bytes": 0,
    }
    none |= {**waiting, "lost_bytes": 0, "drops": {}, "vsock": None}
    if counts.kind == FRAMES:
        frames = {"rx_frames": values[RX_FRAMES], "tx_frames": values[TX_FRAMES]}
        return none | {"connected": connected, **frames, **bytes_both, "drops": drops}
    packets = {"rx_packets": values[RX_FRAMES], "tx_packets": values[TX_FRAMES]}
    vsock = {"connected": connected, "links": 0, **packets, **bytes_both, **waiting, "open": values[OPEN], "faults": 0}
    return none | {"vsock": vsock | {"drops": drops}}
