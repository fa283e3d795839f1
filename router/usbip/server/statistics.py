# SPDX-License-Identifier: BSD-2-Clause
"""Counts per device and endpoint: transfers, bytes, errors, latencies. As data, as text, and as Prometheus reads it."""

from __future__ import annotations

import math
import time

from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import KIND_NAMES
from router.usbip.protocol.device import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from router.usbip.engines.target import Buffer

# Four buckets an octave, from 1 µs: a percentile is right to a fifth of itself.
_STEPS = 4
_BUCKETS = 30 * _STEPS
PERCENTILES = (50, 90, 99)


class Endpoint:
    """One endpoint's counts. Latency is from a submission's arrival to its answer, in seconds."""

    __slots__ = ("buckets", "bytes", "cancelled", "errors", "kind", "urbs")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.urbs = 0
        self.bytes = 0
        self.errors = 0
        self.cancelled = 0
        self.buckets = [0] * _BUCKETS

    def count(self, seconds: float, size: int, failed: bool) -> None:
        self.urbs += 1
        self.bytes += size
        self.errors += failed
        micros = seconds * 1e6
        self.buckets[min(int(math.log2(micros) * _STEPS), _BUCKETS - 1) if micros > 1 else 0] += 1

    def percentile(self, percent: float) -> float:
        """The latency that so many per cent of the transfers stayed below, in seconds; 0 without any."""
        need = self.urbs * percent / 100
        seen = 0
        for number, count in enumerate(self.buckets):
            seen += count
            if count and seen >= need:
                return float(2 ** ((number + 1) / _STEPS)) / 1e6
        return 0.0


class Statistics:
    """All devices' counts; `tap` makes what a session reports to. They outlast the sessions."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[int, Endpoint]] = {}

    def tap(self, device: Device) -> StatisticsTap:
        return StatisticsTap(self.devices.setdefault(device.busid, {}))

    def data(self) -> dict[str, dict[str, Any]]:
        """Plain data for JSON: busid → endpoint address ("0x81") → counts; latencies in seconds by percentile."""
        return {
            busid: {
                f"{address:#04x}": {
                    "kind": KIND_NAMES[endpoint.kind],
                    "urbs": endpoint.urbs,
                    "bytes": endpoint.bytes,
                    "errors": endpoint.errors,
                    "cancelled": endpoint.cancelled,
                    "latency": {str(percent): round(endpoint.percentile(percent), 6) for percent in PERCENTILES},
                }
                for address, endpoint in sorted(endpoints.items())
            }
            for busid, endpoints in sorted(self.devices.items())
        }

    def prometheus(self) -> str:
        """The text format that Prometheus scrapes (exposition format 0.0.4)."""
        lines: list[str] = []
        for name, what in (
            ("urbs", "Transfers that ended."),
            ("bytes", "Bytes moved."),
            ("errors", "Transfers that ended with an error."),
            ("cancelled", "Transfers that the client took back."),
        ):
            lines += [f"# HELP router_usbip_{name}_total {what}", f"# TYPE router_usbip_{name}_total counter"]
            lines += [f"router_usbip_{name}_total{{{labels}}} {getattr(one, name)}" for labels, one in self._labelled()]
        lines += [
            "# HELP router_usbip_latency_seconds From submission to answer.",
            "# TYPE router_usbip_latency_seconds summary",
        ]
        for labels, one in self._labelled():
            for percent in PERCENTILES:
                lines.append(
                    f'router_usbip_latency_seconds{{{labels},quantile="{percent / 100:g}"}} {one.percentile(percent):g}'
                )
            lines.append(f"router_usbip_latency_seconds_count{{{labels}}} {one.urbs}")
        return "\n".join(lines) + "\n"

    def _labelled(self) -> list[tuple[str, Endpoint]]:
        return [
            (f'device="{busid}",endpoint="{address:#04x}",kind="{KIND_NAMES[one.kind]}"', one)
            for busid, endpoints in sorted(self.devices.items())
            for address, one in sorted(endpoints.items())
        ]


def table(data: dict[str, dict[str, Any]]) -> str:
    """What `Statistics.data` gives as a table to read; latencies in milliseconds."""
    columns = f"{'urbs':>9}{'bytes':>13}{'errors':>8}{'p50 ms':>9}{'p99 ms':>9}"
    lines = [f"{'device':<10}{'endpoint':<10}{'kind':<13}{columns}"]
    for busid, endpoints in data.items():
        for name, one in endpoints.items():
            address = int(name, 16)
            p50, p99 = (one["latency"][percent] * 1e3 for percent in ("50", "99"))
            lines.append(
                f"{busid:<10}{address & 15:<3}{'in' if address & 0x80 else 'out':<7}{one['kind']:<13}"
                f"{one['urbs']:>9}{one['bytes']:>13}{one['errors']:>8}{p50:>9.3f}{p99:>9.3f}"
            )
    return "\n".join(lines) + "\n"


class StatisticsTap:
    """A session's view of its device's counts."""

    def __init__(self, endpoints: dict[int, Endpoint]) -> None:
        self._endpoints = endpoints
        self._began: dict[int, float] = {}

    def _endpoint(self, submit: urb.Submit, kind: int) -> Endpoint:
        address = submit.address if submit.endpoint else 0
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            endpoint = self._endpoints[address] = Endpoint(kind)
        return endpoint

    def submitted(self, submit: urb.Submit, kind: int) -> None:
        self._began[submit.seqnum] = time.monotonic()

    def unlinked(self, unlink: urb.Unlink) -> None:
        """Counted by its outcome."""

    def returned(
        self, submit: urb.Submit, kind: int, status: int, actual: int, data: Buffer, iso: list[urb.IsoPacket] | None
    ) -> None:
        began = self._began.pop(submit.seqnum, time.monotonic())
        # A short answer is none: EREMOTEIO only tells that less came than was asked for.
        failed = status not in (urb.EOK, urb.EREMOTEIO)
        self._endpoint(submit, kind).count(time.monotonic() - began, actual, failed)

    def cancelled(self, unlink: urb.Unlink, submit: urb.Submit | None, kind: int, status: int) -> None:
        if submit and status:
            self._began.pop(submit.seqnum, None)
            self._endpoint(submit, kind).cancelled += 1
