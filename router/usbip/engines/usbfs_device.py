# SPDX-License-Identifier: BSD-2-Clause
"""The transfers of one real device behind usbfs: submitted, in flight, reaped, taken back."""

from __future__ import annotations

import errno
from array import array
from collections import deque

from router.usbip.engines import usbfs_ioctl as usbfs
from router.usbip.engines.usbfs_claims import Claims
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import CONTROL, ISOCHRONOUS
from router.usbip.protocol.device import Device
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log
from router.usbip.runtime.text import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Completer

# The kernel's types of URB by the endpoint descriptor's bmAttributes (USB 2.0, table 9-13).
_KINDS = (usbfs.TYPE_CONTROL, usbfs.TYPE_ISO, usbfs.TYPE_BULK, usbfs.TYPE_INTERRUPT)
# USB/IP's NO_DMA_MAP (4) is another flag to usbfs and DIR_IN (0x200) an error; NO_INTERRUPT could delay an answer.
_FLAGS = urb.SHORT_NOT_OK | urb.ZERO_PACKET
_SETUP_SIZE = 8

# Up to so many bytes of used buffers are kept for the next transfers.
_MAX_KEPT_BYTES = 4 << 20
_NOTHING = usbfs.zeros(1)


class UsbfsDevice:
    """An open device. OSError from the constructor: it cannot be had now."""

    def __init__(self, loop: event_loop.Loop, path: str, device: Device) -> None:
        self.device = device
        self.session: Completer | None = None
        self.broken = False
        # An earlier owner, a daemon that was killed for instance, may have left it in the middle of a transfer.
        self._unknown = True
        self._loop = loop
        self._claims = Claims(path, device)
        self._fd = self._claims.fd
        # In the kernel's hands, by the addresses that it knows them by.
        self._flights: dict[int, usbfs.Block] = {}
        self._queue: deque[tuple[urb.Submit, Completer]] = deque()
        self._free: list[usbfs.Block] = []
        self._buffers: dict[int, list[array[int]]] = {}
        self._kept = 0
        loop.watch(self._fd, event_loop.OUT, self._ready, self._fail)

    def start(self) -> None:
        """A session begins: the device is as after a reset. OSError if it does not answer."""
        if self._unknown:
            self._claims.reset()
            self._unknown = False
        else:
            self._claims.take()

    def close(self) -> None:
        """Ends the session and gives the device back to its drivers."""
        if self.session:
            self.session.close()
        if self._fd < 0:
            return
        self._loop.forget(self._fd)
        # What is still in flight ends with the descriptor; until then the kernel knows these blocks by their addresses.
        self._claims.close()
        self._fd = -1
        self._flights.clear()

    def _fail(self, error: Exception) -> None:
        """An exception while transfers were reaped: the device needs a fresh start, other devices go on."""
        self.broken = True
        if self.session:
            self.session.fail(error)
        else:
            log(f"{self.device.busid}: {error_text(error)}")

    # Target

    def is_isochronous(self, address: int) -> bool:
        return self._claims.endpoints.get(address) == ISOCHRONOUS

    def kind_of(self, address: int) -> int:
        return self._claims.endpoints.get(address, CONTROL)

    def submit(self, submit: urb.Submit, session: Completer) -> None:
        if self._queue:
            self._queue.append((submit, session))
            return
        self._start(submit, session)

    def cancel(self, submit: urb.Submit, session: Completer) -> None:
        for entry in self._queue:
            if entry[0] is submit:
                self._queue.remove(entry)
                session.complete(submit, urb.ECONNRESET)
                return
        self._discard([block for block in self._flights.values() if block.submit is submit])

    def _discard(self, blocks: list[usbfs.Block]) -> None:
        for block in blocks:
            block.cancelled = True
            try:
                usbfs.discard(self._fd, block)
            except OSError as error:
                # It has ended already and waits to be reaped.
                if error.errno not in (errno.EINVAL, errno.ENODEV):
                    raise

    def buffer(self, size: int) -> array[int]:
        """Room whose address the kernel may get; used ones are kept, because fresh memory costs its page faults."""
        kept = self._buffers.get(size)
        if not kept:
            return usbfs.zeros(size)
        self._kept -= size
        return kept.pop()

    def _keep(self, buffer: array[int]) -> None:
        size = len(buffer)
        if self._kept + size > _MAX_KEPT_BYTES:
            # The client's habits have changed.
            self._buffers.clear()
            self._kept = 0
        self._kept += size
        kept = self._buffers.get(size)
        if kept is None:
            self._buffers[size] = [buffer]
        else:
            kept.append(buffer)

    def stop(self, session: Completer) -> None:
        """The client has gone: everything in flight is taken back, and the device reset as usbip-host does."""
        self.session = None
        self._queue.clear()
        self._discard(list(self._flights.values()))
        try:
            self._claims.reset()
        except OSError as error:
            self.broken = error.errno != errno.ENODEV
            log(f"{self.device.busid}: reset after its client: {error.strerror}")

    # What begins

    def _start(self, submit: urb.Submit, session: Completer) -> None:
        if submit.iso is not None:
            self._start_iso(submit, submit.iso, session)
            return
        block = self._free.pop() if self._free else usbfs.Block()
        if not submit.endpoint:
            status = self._claims.by_kernel(submit.setup)
            if status is not None:
                self._free.append(block)
                session.complete(submit, status, actual=0)
                return
            self._fill_control(block, submit)
        else:
            length = submit.length
            address = submit.endpoint
            if submit.direction:
                address |= 0x80
                block.buffer = self.buffer(length or 1)
            else:
                # Large data was read into such a buffer already.
                data = submit.data
                block.buffer = data if isinstance(data, array) else array("B", data or b"\0")
            kind = _KINDS[self._claims.endpoints.get(address, 2)]
            block.fill(kind, address, submit.flags & _FLAGS, length)
        block.submit = submit
        block.session = session
        try:
            usbfs.submit(self._fd, block)
        except OSError as error:
            self._refused(block, submit, session, error)
            return
        self._flights[block.address] = block

    def _fill_control(self, block: usbfs.Block, submit: urb.Submit) -> None:
        block.buffer = array("B", submit.setup + bytes(submit.data))
        if submit.direction == urb.IN:
            # The kernel wants room for as much as the setup packet asks for.
            length = max(submit.length, int.from_bytes(submit.setup[6:8], "little"))
            block.buffer.extend(usbfs.zeros(length) if length else ())
        block.fill(usbfs.TYPE_CONTROL, 0, submit.flags & _FLAGS, len(block.buffer))

    def _start_iso(self, submit: urb.Submit, packets: list[tuple[int, int]], session: Completer) -> None:
        """One block for each 128 packets; in a block's buffer they stand one after another."""
        group: list[usbfs.Block] = []
        for first in range(0, len(packets), usbfs.MAX_ISO_PACKETS):
            part = packets[first : first + usbfs.MAX_ISO_PACKETS]
            block = self._free.pop() if self._free else usbfs.Block()
            if submit.direction == urb.OUT:
                whole = b"".join(bytes(submit.data[offset : offset + length]) for offset, length in part)
                block.buffer = array("B", whole or b"\0")
            else:
                block.buffer = usbfs.zeros(sum(length for _, length in part) or 1)
            flags = urb.ISO_ASAP if first or submit.flags & urb.ISO_ASAP else 0
            sizes = [length for _, length in part]
            block.fill(usbfs.TYPE_ISO, submit.address, flags, sum(sizes), submit.start, sizes)
            block.submit, block.session, block.group = submit, session, group
            try:
                usbfs.submit(self._fd, block)
            except OSError as error:
                if not group:
                    self._refused(block, submit, session, error)
                else:
                    # The ones before it are under way; with them the whole transfer is taken back.
                    block.group = []
                    self._release(block)
                    self._discard(group)
                return
            group.append(block)
            self._flights[block.address] = block

    def _refused(self, block: usbfs.Block, submit: urb.Submit, session: Completer, error: OSError) -> None:
        """The kernel did not take the transfer's first block."""
        self._release(block)
        if error.errno == errno.ENOMEM and self._flights:
            # usbfs's memory is all in use: this one waits for others to end.
            self._queue.appendleft((submit, session))
            return
        session.complete(submit, -(error.errno or errno.EIO))

    def _release(self, block: usbfs.Block) -> None:
        """The block is free for the next transfer."""
        block.buffer = _NOTHING
        block.submit = block.session = None
        block.cancelled = False
        self._free.append(block)

    # What has ended

    def _ready(self, happened: int) -> None:
        gone = happened & (event_loop.HUP | event_loop.ERR)
        try:
            # What `settle` reaped leaves nothing; but only reaping tells that a device has gone.
            self._reaped(usbfs.reap(self._fd))
            self._reap()
        except BlockingIOError:
            pass
        except OSError:
            # The device has gone; the hot-plug message takes it out of the list.
            gone = event_loop.HUP
        if gone and self._fd >= 0:
            self._loop.forget(self._fd)
            if self.session:
                self.session.close()
            return
        if self._queue:
            self._start_waiting()

    def settle(self) -> None:
        try:
            self._reap()
        except OSError:
            # Nothing more has ended yet, or the device has gone: the loop tells.
            return
        finally:
            if self._queue:
                self._start_waiting()

    def _reap(self) -> None:
        # One call more only to hear that nothing is left would cost as much as a transfer.
        while self._flights and self._fd >= 0:
            self._reaped(usbfs.reap(self._fd))

    def _start_waiting(self) -> None:
        """Memory may have become free for transfers that wait for it."""
        waiting, self._queue = self._queue, deque()
        while waiting and not self._queue:
            submit, session = waiting.popleft()
            self._start(submit, session)
        self._queue.extend(waiting)

    def _reaped(self, address: int) -> None:
        block = self._flights.pop(address)
        if block.group:
            self._iso_reaped(block)
            return
        submit, session = block.submit, block.session
        assert submit and session
        status, actual = block.result()
        buffer = block.buffer
        if block.cancelled and status in (urb.ENOENT, urb.ECONNRESET):
            session.complete(submit, urb.ECONNRESET)
            free = bool(submit.direction)
        elif submit.direction:
            start = 0 if submit.endpoint else _SETUP_SIZE
            if actual > submit.length:
                actual = submit.length
            free = session.complete(submit, status, memoryview(buffer)[start : start + actual])
        else:
            session.complete(submit, status, b"", actual)
            # Small data came in a buffer of its own.
            free = buffer is submit.data
        if free and submit.endpoint:
            self._keep(buffer)
        self._release(block)

    def _iso_reaped(self, block: usbfs.Block) -> None:
        group, submit, session = block.group, block.submit, block.session
        if any(other.address in self._flights for other in group):
            return
        assert submit and session and submit.iso is not None
        packets = submit.iso
        results: list[urb.IsoPacket] = []
        data = bytearray()
        worst = errors = start = 0
        for index, part in enumerate(group):
            status, _ = part.result()
            frame, failed = part.iso_frame()
            worst = worst or status
            errors += failed
            start = start if index else frame
            at = 0
            first = index * usbfs.MAX_ISO_PACKETS
            for number, (offset, length) in enumerate(packets[first : first + usbfs.MAX_ISO_PACKETS]):
                actual, state = part.iso_result(number)
                actual = min(actual, length)
                results.append((offset, length, actual, state))
                if submit.direction == urb.IN:
                    data += memoryview(part.buffer)[at : at + actual]
                at += length
        cancelled = any(part.cancelled for part in group)
        for part in group:
            part.group = []
            self._release(part)
        if cancelled and worst in (urb.ENOENT, urb.ECONNRESET):
            session.complete(submit, urb.ECONNRESET)
            return
        total = sum(result[2] for result in results)
        session.complete(submit, worst, bytes(data), total, results, start, errors)
