# SPDX-License-Identifier: BSD-2-Clause
"""The URB phase on the wire: submissions, their returns and unlinks, packed and strictly unpacked.

Layouts: Linux's Documentation/usb/usbip_protocol.rst; all numbers big-endian. Each PDU is a header of 48 bytes, then
the data (of OUT submissions and IN returns), then the isochronous packets' descriptors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from router.usbip.protocol.handshake import WireError

HEADER_SIZE = 48
ISO_SIZE = 16
CMD_SUBMIT, CMD_UNLINK, RET_SUBMIT, RET_UNLINK = 1, 2, 3, 4
COMMAND_NAMES = {
    CMD_SUBMIT: "CMD_SUBMIT",
    CMD_UNLINK: "CMD_UNLINK",
    RET_SUBMIT: "RET_SUBMIT",
    RET_UNLINK: "RET_UNLINK",
}
OUT, IN = 0, 1

# Linux's errno values, negative on the wire whatever the machine.
EOK, ENOENT, EIO, EPIPE, ENODEV, EINVAL = 0, -2, -5, -32, -19, -22
ECONNRESET, ESHUTDOWN, EREMOTEIO = -104, -108, -121

# transfer_flags (include/linux/usb.h)
SHORT_NOT_OK, ISO_ASAP, ZERO_PACKET, NO_INTERRUPT, DIR_IN = 1, 2, 0x40, 0x80, 0x200

# What a peer may ask for at most. usbfs itself has 16 MiB for all URBs together; Linux has no driver that asks for more
# than a few MiB at once. CVE-2017-16913 was a server that believed any size.
MAX_TRANSFER = 16 << 20
MAX_ISO_PACKETS = 1024
# What a packet's description costs in memory, for the sums that bound what a peer can make this program hold.
ISO_COST = 128

_COMMAND = struct.Struct(">I")
_HEAD = struct.Struct(">5I")
_SUBMIT = struct.Struct(">5I Ii3i8s")
_RETURN = struct.Struct(">5I 5i8x")
_UNLINK = struct.Struct(">5I I24x")
_UNLINKED = struct.Struct(">5I i24x")
_ISO = struct.Struct(">4I")
_ISO_RESULT = struct.Struct(">3Ii")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array

    Buffer = bytes | bytearray | memoryview | array[int]

# offset, length, actual length, status
IsoPacket = tuple[int, int, int, int]


class Submit:
    """A transfer that the client asks for.

    endpoint: number without direction. data: what goes OUT, empty for IN. length: bytes to move at most. iso: (offset,
    length) of each packet, None unless the endpoint is isochronous. setup: 8 bytes, meaningful on endpoint 0.
    cost: bytes that the transfer holds until it ends, its buffer and the packets' descriptions.
    """

    __slots__ = (
        "cost",
        "data",
        "devid",
        "direction",
        "endpoint",
        "flags",
        "interval",
        "iso",
        "length",
        "seqnum",
        "setup",
        "start",
    )

    def __init__(
        self,
        seqnum: int,
        devid: int,
        direction: int,
        endpoint: int,
        length: int,
        data: Buffer = b"",
        setup: bytes = bytes(8),
        flags: int = 0,
        start: int = 0,
        interval: int = 0,
        iso: list[tuple[int, int]] | None = None,
    ) -> None:
        self.seqnum = seqnum
        self.devid = devid
        self.direction = direction
        self.endpoint = endpoint
        self.length = length
        self.data = data
        self.setup = setup
        self.flags = flags
        self.start = start
        self.interval = interval
        self.iso = iso
        self.cost = length + ISO_COST * len(iso) if iso else length

    @property
    def address(self) -> int:
        """The endpoint's address as in its descriptor: bit 7 is IN."""
        return self.endpoint | self.direction << 7


class Unlink:
    """A client's wish to have an earlier submission back."""

    __slots__ = ("devid", "seqnum", "target")

    def __init__(self, seqnum: int, devid: int, target: int) -> None:
        self.seqnum = seqnum
        self.devid = devid
        self.target = target


def command_of(header: bytes | bytearray | memoryview, at: int = 0) -> int:
    command: int = _COMMAND.unpack_from(header, at)[0]
    return command


def address_of(buffer: bytes | bytearray | memoryview, at: int) -> int:
    """The endpoint address in a CMD_SUBMIT header whose numbers are in range."""
    return buffer[at + 19] | buffer[at + 15] << 7


def submit_sizes(header: bytes | bytearray | memoryview, isochronous: bool) -> tuple[int, int]:
    """(bytes of data, number of ISO descriptors) that follow a CMD_SUBMIT header; WireError if it is not believable.

    The number of packets counts for isochronous endpoints only: others send 0, stale values or −1 there.
    """
    _, _, _, direction, endpoint, _, length, _, packets, _, _ = _SUBMIT.unpack_from(header)
    if direction > 1 or endpoint > 15:
        # CVE-2017-16912: an endpoint number beyond 15 read past the kernel's array.
        raise WireError(f"there is no endpoint {endpoint} of direction {direction}")
    if not 0 <= length <= MAX_TRANSFER:
        raise WireError(f"a transfer of {length} bytes")
    if isochronous and not 0 < packets <= MAX_ISO_PACKETS:
        raise WireError(f"an isochronous transfer of {packets} packets")
    return (length if direction == OUT else 0), (packets if isochronous else 0)


def parse_submit(
    buffer: bytearray | memoryview, at: int, is_isochronous: Callable[[int], bool]
) -> tuple[Submit | None, int]:
    """(submission, where it ends) from a stream's buffer that holds its header at least; None while it is not whole.

    The same checks as `submit_sizes` and `unpack_submit` make, in one go: this is the path of every transfer.
    """
    _, seqnum, devid, direction, endpoint, flags, length, start, packets, interval, setup = _SUBMIT.unpack_from(
        buffer, at
    )
    if direction > 1 or endpoint > 15 or not 0 <= length <= MAX_TRANSFER or is_isochronous(endpoint | direction << 7):
        header = buffer[at : at + HEADER_SIZE]
        isochronous = direction <= 1 and endpoint <= 15 and is_isochronous(endpoint | direction << 7)
        size, packets = submit_sizes(header, isochronous)
        begin = at + HEADER_SIZE
        end = begin + size + packets * ISO_SIZE
        if len(buffer) < end:
            return None, end
        return unpack_submit(header, bytes(buffer[begin : begin + size]), buffer[begin + size : end]), end
    end = at + HEADER_SIZE
    if direction or not length:
        return Submit(seqnum, devid, direction, endpoint, length, b"", setup, flags, start, interval), end
    begin = end
    end += length
    if len(buffer) < end:
        return None, end
    data = bytes(buffer[begin:end])
    return Submit(seqnum, devid, direction, endpoint, length, data, setup, flags, start, interval), end


def unpack_submit(
    header: bytes | bytearray | memoryview,
    data: bytes | bytearray | memoryview = b"",
    iso: bytes | bytearray | memoryview | None = None,
) -> Submit:
    """The submission in a header (checked by `submit_sizes`) with what followed it."""
    _, seqnum, devid, direction, endpoint, flags, length, start, _, interval, setup = _SUBMIT.unpack_from(header)
    packets = None
    if iso is not None:
        packets = [(offset, size) for offset, size, _, _ in _ISO.iter_unpack(iso)]
        if any(offset + size > length for offset, size in packets):
            raise WireError("an isochronous packet lies outside its buffer")
        if sum(size for _, size in packets) > length:
            # Packets that overlap would make the answer larger than the buffer, up to 1024 times.
            raise WireError("the isochronous packets are larger than their buffer")
    return Submit(seqnum, devid, direction, endpoint, length, data, setup, flags, start, interval, packets)


def pack_submit(submit: Submit) -> bytes:
    """CMD_SUBMIT with its data and packets, as Linux's vhci sends it (0 packets where there are none)."""
    iso = submit.iso or []
    return b"".join(
        (
            _SUBMIT.pack(
                CMD_SUBMIT,
                submit.seqnum,
                submit.devid,
                submit.direction,
                submit.endpoint,
                submit.flags,
                submit.length,
                submit.start,
                len(iso),
                submit.interval,
                submit.setup,
            ),
            submit.data,
            *(_ISO.pack(offset, length, 0, 0) for offset, length in iso),
        )
    )


def pack_unlink(unlink: Unlink) -> bytes:
    return _UNLINK.pack(CMD_UNLINK, unlink.seqnum, unlink.devid, 0, 0, unlink.target)


def unpack_unlink(header: bytes | bytearray | memoryview) -> Unlink:
    _, seqnum, devid, _, _, target = _UNLINK.unpack_from(header)
    return Unlink(seqnum, devid, target)


def pack_return(seqnum: int, status: int, actual: int, start: int = 0, packets: int = 0, errors: int = 0) -> bytes:
    """The header of a RET_SUBMIT; devid, direction and endpoint are 0 in what servers send."""
    return _RETURN.pack(RET_SUBMIT, seqnum, 0, 0, 0, status, actual, start, packets, errors)


def pack_iso_results(results: list[IsoPacket]) -> bytes:
    return b"".join(_ISO_RESULT.pack(*result) for result in results)


def pack_unlinked(seqnum: int, status: int) -> bytes:
    """RET_UNLINK: −ECONNRESET when the URB was cancelled, 0 when it had been returned before."""
    return _UNLINKED.pack(RET_UNLINK, seqnum, 0, 0, 0, status)


class Return:
    """What became of a submission, from the client's side. data: what came IN; iso: each packet's result."""

    __slots__ = ("actual", "data", "errors", "iso", "seqnum", "start", "status")

    def __init__(
        self,
        seqnum: int,
        status: int,
        actual: int,
        start: int = 0,
        errors: int = 0,
        data: bytes = b"",
        iso: list[IsoPacket] | None = None,
    ) -> None:
        self.seqnum = seqnum
        self.status = status
        self.actual = actual
        self.start = start
        self.errors = errors
        self.data = data
        self.iso = iso


def return_seqnum(header: bytes | bytearray | memoryview) -> int:
    seqnum: int = _HEAD.unpack_from(header)[1]
    return seqnum


def return_sizes(header: bytes | bytearray | memoryview, submit: Submit) -> tuple[int, int]:
    """(bytes of data, number of ISO descriptors) that follow a RET_SUBMIT header for that submission.

    WireError for what a kernel must never see: more data than was asked for (CVE-2016-3955), a negative length, or
    another number of packets than was submitted (CVE-2026-31607).
    """
    _, _, _, _, _, _, actual, _, packets, errors = _RETURN.unpack_from(header)
    if not 0 <= actual <= submit.length:
        raise WireError(f"the server returns {actual} bytes of a transfer of {submit.length}")
    if submit.iso is None:
        return (actual if submit.direction == IN else 0), 0
    if packets != len(submit.iso):
        raise WireError(f"the server returns {packets} packets of a transfer of {len(submit.iso)}")
    if not 0 <= errors <= packets:
        raise WireError(f"the server counts {errors} errors in {packets} packets")
    return (actual if submit.direction == IN else 0), packets


def unpack_return(
    header: bytes | bytearray | memoryview, submit: Submit, data: bytes = b"", iso: bytes | None = None
) -> Return:
    """The result in a header (checked by `return_sizes`) with what followed it; WireError if the packets disagree."""
    _, seqnum, _, _, _, status, actual, start, _, errors = _RETURN.unpack_from(header)
    results: list[IsoPacket] | None = None
    if submit.iso is not None and iso is not None:
        results = [(offset, length, got, state) for offset, length, got, state in _ISO_RESULT.iter_unpack(iso)]
        for (offset, length), (offset2, length2, got, _) in zip(submit.iso, results, strict=True):
            if (offset, length) != (offset2, length2) or got > length:
                raise WireError(f"the server returns {got} bytes at {offset2} for a packet of {length} at {offset}")
        if sum(result[2] for result in results) != actual:
            # Linux's vhci gives the device up over this.
            raise WireError("the packets' lengths do not add up to the transfer's")
    return Return(seqnum, status, actual, start, errors, data, results)


def unpack_unlinked(header: bytes | bytearray | memoryview) -> tuple[int, int]:
    """(sequence number, status) of a RET_UNLINK."""
    _, seqnum, _, _, _, status = _UNLINKED.unpack_from(header)
    return seqnum, status
