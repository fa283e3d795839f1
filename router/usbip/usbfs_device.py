"""One real device behind usbfs: its claims, its transfers in flight, and the requests that only the kernel may make."""

from __future__ import annotations

import errno
import os
import struct
from array import array
from collections import deque

from router.usbip import loop as events
from router.usbip import urb as wire
from router.usbip import usbfs
from router.usbip.device import Device
from router.usbip.say import log
from router.usbip.usb import (
    CLEAR_FEATURE,
    CONTROL,
    ISOCHRONOUS,
    PORT_RESET,
    PORT_RESET_KIND,
    SET_CONFIGURATION,
    SET_FEATURE,
    SET_INTERFACE,
    parse_alternates,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.session import UserSession

# The kernel's types of URB by the endpoint descriptor's bmAttributes (USB 2.0, table 9-13).
_KINDS = (usbfs.TYPE_CONTROL, usbfs.TYPE_ISO, usbfs.TYPE_BULK, usbfs.TYPE_INTERRUPT)
# USB/IP's NO_DMA_MAP (4) is another flag to usbfs and DIR_IN (0x200) an error; NO_INTERRUPT could delay an answer.
_FLAGS = wire.SHORT_NOT_OK | wire.ZERO_PACKET


# Buffers of this size and up are kept for the next transfers, up to so many bytes of them.
_KEEP_FROM, _KEEP_AT_MOST = 2048, 4 << 20
# Where the first configuration's bConfigurationValue is: behind the device descriptor of 18 bytes, at 5.
_FIRST_CONFIG = 18 + 5
_NOTHING = usbfs.zeros(1)


class Flight:
    """A transfer in the kernel's hands, as one block or, with many isochronous packets, as several."""

    __slots__ = ("blocks", "cancelled", "done", "session", "submit")

    def __init__(self, submit: wire.Submit, session: UserSession, blocks: list[usbfs.Block]) -> None:
        self.submit = submit
        self.session = session
        self.blocks = blocks
        self.done = 0
        self.cancelled = False


class UsbfsDevice:
    """An open device. OSError from the constructor: it cannot be had now."""

    def __init__(self, loop: events.Loop, path: str, device: Device) -> None:
        self.device = device
        self.session: UserSession | None = None
        self.broken = False
        self._loop = loop
        self._flights: dict[int, Flight] = {}
        self._queue: deque[tuple[wire.Submit, UserSession]] = deque()
        self._free: list[usbfs.Block] = []
        self._buffers: dict[int, list[array[int]]] = {}
        self._kept = 0
        self._chosen: dict[int, int] = {}
        self._endpoints: dict[int, int] = {}
        self._hub = self._claim_port(path)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            self._close_hub()
            raise
        try:
            self._descriptors = os.read(self._fd, 65536)
            self._alternates = parse_alternates(self._descriptors, device.config)
            if not device.config and len(self._descriptors) > _FIRST_CONFIG:
                # It came while its port was claimed, and so nobody has configured it.
                usbfs.number(self._fd, usbfs.SETCONFIGURATION, self._descriptors[_FIRST_CONFIG])
            self._claim_interfaces()
            self._choose()
        except OSError:
            os.close(self._fd)
            self._close_hub()
            raise
        loop.watch(self._fd, events.OUT, self._ready)

    # Claims

    def _claim_port(self, path: str) -> int:
        """Claims the hub's port, so that no driver binds whatever configuration is chosen; −1 where that cannot be."""
        parent, dot, port = self.device.busid.rpartition(".")
        if not dot:
            parent, _, port = self.device.busid.partition("-")
            parent = f"usb{parent}"
        try:
            with open(f"/sys/bus/usb/devices/{parent}/devnum", encoding="ascii") as file:
                number = int(file.read())
            hub = os.open(f"{path.rpartition('/')[0]}/{number:03d}", os.O_RDWR | os.O_CLOEXEC)
        except (OSError, ValueError):
            return -1
        try:
            usbfs.number(hub, usbfs.CLAIM_PORT, int(port))
        except OSError:
            os.close(hub)
            return -1
        return hub

    def _close_hub(self) -> None:
        if self._hub >= 0:
            os.close(self._hub)
            self._hub = -1

    def _interfaces(self) -> list[int]:
        return sorted({interface for interface, _ in self._alternates})

    def _claim_interfaces(self) -> None:
        for interface in self._interfaces():
            usbfs.disconnect_claim(self._fd, interface)

    def _release_interfaces(self) -> None:
        for interface in self._interfaces():
            try:
                usbfs.number(self._fd, usbfs.RELEASEINTERFACE, interface)
            except OSError as error:
                # It was not claimed: a reset takes claims away.
                if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
                    raise

    def _choose(self) -> None:
        """The endpoints that the current alternate settings have."""
        self._endpoints = {}
        for interface in self._interfaces():
            alternate = self._chosen.get(interface, 0)
            self._endpoints.update(self._alternates.get((interface, alternate), {}))

    def start(self) -> None:
        """A session begins: the device is as after a reset. OSError if it does not answer."""
        self._claim_interfaces()
        self._chosen.clear()
        self._choose()

    def close(self) -> None:
        """Ends the session and gives the device back to its drivers."""
        if self.session:
            self.session.close()
        if self._fd < 0:
            return
        self._loop.forget(self._fd)
        self._close_hub()
        try:
            self._release_interfaces()
            for interface in self._interfaces():
                usbfs.connect(self._fd, interface)
        except OSError as error:
            if error.errno != errno.ENODEV:
                log(f"{self.device.busid}: its drivers do not take it back: {error.strerror}")
        # What is still in flight ends with the descriptor; until then the kernel knows these blocks by their addresses.
        os.close(self._fd)
        self._fd = -1
        self._flights.clear()

    # Target

    def is_isochronous(self, address: int) -> bool:
        return self._endpoints.get(address) == ISOCHRONOUS

    def kind_of(self, address: int) -> int:
        return self._endpoints.get(address, CONTROL)

    def submit(self, submit: wire.Submit, session: UserSession) -> None:
        if self._queue:
            self._queue.append((submit, session))
            return
        self._start(submit, session)

    def cancel(self, submit: wire.Submit, session: UserSession) -> None:
        for entry in self._queue:
            if entry[0] is submit:
                self._queue.remove(entry)
                session.complete(submit, wire.ECONNRESET)
                return
        for flight in self._flights.values():
            if flight.submit is submit:
                self._discard(flight)
                return

    def _discard(self, flight: Flight) -> None:
        flight.cancelled = True
        for block in flight.blocks:
            try:
                usbfs.discard(self._fd, block)
            except OSError as error:
                # It has ended by itself and waits to be reaped.
                if error.errno not in (errno.EINVAL, errno.ENODEV):
                    raise

    def buffer(self, size: int) -> array[int]:
        """Room whose address the kernel may be told; used ones are kept, because fresh memory costs its page faults."""
        kept = self._buffers.get(size)
        if not kept:
            return usbfs.zeros(size)
        self._kept -= size
        return kept.pop()

    def _keep(self, buffer: array[int]) -> None:
        size = len(buffer)
        if size < _KEEP_FROM:
            return
        if self._kept + size > _KEEP_AT_MOST:
            # The client's habits have changed.
            self._buffers.clear()
            self._kept = 0
        self._buffers.setdefault(size, []).append(buffer)
        self._kept += size

    def stop(self, session: UserSession) -> None:
        """The client has gone: everything in flight is taken back, and the device reset as usbip-host does."""
        self.session = None
        self._queue.clear()
        for flight in set(self._flights.values()):
            self._discard(flight)
        try:
            self._reset()
        except OSError as error:
            self.broken = error.errno != errno.ENODEV
            log(f"{self.device.busid}: reset after its client: {error.strerror}")

    def _reset(self) -> None:
        usbfs.reset(self._fd)
        self._claim_interfaces()
        self._chosen.clear()
        self._choose()

    def _start(self, submit: wire.Submit, session: UserSession) -> None:
        if submit.endpoint == 0 and self._by_kernel(submit, session):
            return
        kind = _KINDS[self._endpoints.get(submit.address, 2)] if submit.endpoint else usbfs.TYPE_CONTROL
        if kind == usbfs.TYPE_ISO and submit.iso:
            blocks = self._iso_blocks(submit)
        else:
            blocks = [self._block(submit, kind)]
        flight = Flight(submit, session, blocks)
        for number, block in enumerate(blocks):
            try:
                usbfs.submit(self._fd, block)
            except OSError as error:
                self._refused(flight, number, error)
                return
            self._flights[block.address] = flight

    def _refused(self, flight: Flight, number: int, error: OSError) -> None:
        """The kernel did not take the block of that number."""
        if number:
            # The ones before it are under way; with them the whole transfer is taken back.
            del flight.blocks[number:]
            self._discard(flight)
            return
        if error.errno == errno.ENOMEM and self._flights:
            # usbfs's memory is all in use: this one waits for others to end.
            self._queue.appendleft((flight.submit, flight.session))
            return
        flight.session.complete(flight.submit, -(error.errno or errno.EIO))

    def _block(self, submit: wire.Submit, kind: int) -> usbfs.Block:
        block = self._free.pop() if self._free else usbfs.Block()
        length = submit.length
        if kind == usbfs.TYPE_CONTROL:
            block.buffer = array("B", submit.setup + bytes(submit.data))
            if submit.direction == wire.IN:
                # The kernel wants room for as much as the setup packet asks for.
                length = max(length, int.from_bytes(submit.setup[6:8], "little"))
                block.buffer.extend(usbfs.zeros(length) if length else ())
            length = len(block.buffer)
        elif submit.direction == wire.OUT:
            # Large data was read into such a buffer already.
            data = submit.data
            block.buffer = data if isinstance(data, array) else array("B", bytes(data) or b"\0")
        else:
            block.buffer = self.buffer(length or 1)
        block.fill(kind, submit.address if submit.endpoint else 0, submit.flags & _FLAGS, length, submit.start)
        return block

    def _iso_blocks(self, submit: wire.Submit) -> list[usbfs.Block]:
        """One block for each 128 packets; in a block's buffer they stand one after another."""
        blocks: list[usbfs.Block] = []
        packets = submit.iso or []
        for first in range(0, len(packets), usbfs.MAX_ISO_PACKETS):
            part = packets[first : first + usbfs.MAX_ISO_PACKETS]
            block = self._free.pop() if self._free else usbfs.Block()
            if submit.direction == wire.OUT:
                whole = b"".join(bytes(submit.data[offset : offset + length]) for offset, length in part)
                block.buffer = array("B", whole or b"\0")
            else:
                block.buffer = usbfs.zeros(sum(length for _, length in part) or 1)
            flags = wire.ISO_ASAP if first or submit.flags & wire.ISO_ASAP else 0
            sizes = [length for _, length in part]
            block.fill(usbfs.TYPE_ISO, submit.address, flags, sum(sizes), submit.start, sizes)
            blocks.append(block)
        return blocks

    def _by_kernel(self, submit: wire.Submit, session: UserSession) -> bool:
        """Requests that change what the kernel knows of the device go through its own calls; False for any other."""
        kind, request, value, index, _ = struct.unpack("<BBHHH", submit.setup)
        try:
            if (kind, request) == (0x00, SET_CONFIGURATION):
                self._release_interfaces()
                usbfs.number(self._fd, usbfs.SETCONFIGURATION, value)
                self._alternates = parse_alternates(self._descriptors, value) if value else {}
                self._claim_interfaces()
                self._chosen.clear()
            elif (kind, request) == (0x01, SET_INTERFACE):
                usbfs.set_interface(self._fd, index, value)
                self._chosen[index] = value
            elif (kind, request, value) == (0x02, CLEAR_FEATURE, 0):
                usbfs.number(self._fd, usbfs.CLEAR_HALT, index & 0xFF)
            elif (kind, request, value) == (PORT_RESET_KIND, SET_FEATURE, PORT_RESET):
                self._reset()
            else:
                return False
        except OSError as error:
            session.complete(submit, -(error.errno or errno.EIO))
            return True
        self._choose()
        session.complete(submit, wire.EOK, actual=0)
        return True

    # What has ended

    def _ready(self, happened: int) -> None:
        try:
            # One call more only to hear that nothing is left would cost as much as the transfer.
            self._reaped(usbfs.reap(self._fd))
            while self._flights and self._fd >= 0:
                self._reaped(usbfs.reap(self._fd))
        except BlockingIOError:
            pass
        except OSError:
            # The device has gone; the hot-plug message takes it out of the list.
            happened |= events.HUP
        if happened & (events.HUP | events.ERR) and self._fd >= 0:
            self._loop.forget(self._fd)
            if self.session:
                self.session.close()
            return
        if not self._queue:
            return
        waiting, self._queue = self._queue, deque()
        while waiting and not self._queue:
            submit, session = waiting.popleft()
            self._start(submit, session)
        self._queue.extend(waiting)

    def _reaped(self, address: int) -> None:
        flight = self._flights.pop(address)
        flight.done += 1
        if flight.done < len(flight.blocks):
            return
        submit, session = flight.submit, flight.session
        if submit.iso is not None:
            self._iso_done(flight)
        else:
            block = flight.blocks[0]
            status, actual, _, _ = block.result()
            free = True
            if flight.cancelled and status in (wire.ENOENT, wire.ECONNRESET):
                session.complete(submit, wire.ECONNRESET)
            elif submit.direction == wire.IN:
                start = 0 if submit.endpoint else 8
                actual = min(actual, submit.length)
                free = session.complete(submit, status, memoryview(block.buffer)[start : start + actual])
            else:
                session.complete(submit, status, actual=actual)
            if free:
                self._keep(block.buffer)
        for block in flight.blocks:
            block.buffer = _NOTHING
            self._free.append(block)

    def _iso_done(self, flight: Flight) -> None:
        submit = flight.submit
        results: list[wire.IsoPacket] = []
        data = bytearray()
        worst = errors = 0
        start = 0
        packets = submit.iso or []
        for index, block in enumerate(flight.blocks):
            status, _, frame, failed = block.result()
            worst = worst or status
            errors += failed
            start = start if index else frame
            at = 0
            first = index * usbfs.MAX_ISO_PACKETS
            for number, (offset, length) in enumerate(packets[first : first + usbfs.MAX_ISO_PACKETS]):
                actual, state = block.iso_result(number)
                actual = min(actual, length)
                results.append((offset, length, actual, state))
                if submit.direction == wire.IN:
                    data += memoryview(block.buffer)[at : at + actual]
                at += length
        if flight.cancelled and worst in (wire.ENOENT, wire.ECONNRESET):
            flight.session.complete(submit, wire.ECONNRESET)
            return
        total = sum(result[2] for result in results)
        flight.session.complete(submit, worst, bytes(data), total, results, start, errors)
