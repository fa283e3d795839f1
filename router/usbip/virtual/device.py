# SPDX-License-Identifier: BSD-2-Clause
"""Devices made of Python objects: what all of them share. The kinds are in the other modules of this package.

A device answers the standard requests (USB 2.0, chapter 9); a kind brings its descriptors, its class requests and what
its endpoints do.
"""

from __future__ import annotations

import struct
from collections import deque

from router.usbip.protocol import device as usb
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import (
    CLEAR_FEATURE,
    CONTROL,
    DESCRIPTOR_CONFIG,
    DESCRIPTOR_DEVICE,
    DESCRIPTOR_ENDPOINT,
    DESCRIPTOR_INTERFACE,
    DESCRIPTOR_OTHER_SPEED,
    DESCRIPTOR_QUALIFIER,
    DESCRIPTOR_STRING,
    GET_CONFIGURATION,
    GET_DESCRIPTOR,
    GET_INTERFACE,
    GET_STATUS,
    ISOCHRONOUS,
    PORT_RESET,
    PORT_RESET_KIND,
    SET_ADDRESS,
    SET_CONFIGURATION,
    SET_FEATURE,
    SET_INTERFACE,
    Triple,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.usbip.engines.target import Buffer, Completer

# Answers that the client does not fetch take so many bytes at most; then its OUT transfers wait, as they would for a
# device that says NAK. One answer more than that may come, as large as a transfer can be.
MAX_UNFETCHED = 4 << 20
# What an answer costs in memory whatever its size.
ANSWER_COST = 128

ENGLISH = struct.pack("<BBH", 4, DESCRIPTOR_STRING, 0x0409)


def endpoint(address: int, kind: int, size: int, interval: int = 0, extra: bytes = b"") -> bytes:
    """An endpoint descriptor (USB 2.0, 9.6.6); `extra` lengthens it as audio's do."""
    return struct.pack("<BBBBHB", 7 + len(extra), DESCRIPTOR_ENDPOINT, address, kind, size, interval) + extra


def interface(number: int, triple: Triple, endpoints: int, alternate: int = 0) -> bytes:
    """An interface descriptor (USB 2.0, 9.6.5)."""
    return struct.pack("<9B", 9, DESCRIPTOR_INTERFACE, number, alternate, endpoints, *triple, 0)


def utf16(text: str) -> bytes:
    """UTF-16 as string descriptors have it. The guests' Python has no codec for it."""
    units: list[int] = []
    for character in text:
        code = ord(character)
        units += [code] if code < 0x10000 else [0xD7C0 + (code >> 10), 0xDC00 | code & 0x3FF]
    return struct.pack(f"<{len(units)}H", *units)


class Stall(Exception):
    """The device refuses a request: its endpoint halts, or the control transfer ends with a stall."""


class VirtualDevice:
    """A device with one configuration.

    body: the descriptors after the configuration's own. speed: SPEED_*. Subclasses override `control`, `receive`,
    `wants` and `stopped`, and send with `send`.
    """

    vid, pid, bcd = 0x1209, 0x0001, 0x0100
    triple: Triple = (0, 0, 0)
    speed = usb.SPEED_HIGH
    class_descriptors: Mapping[int, bytes] = {}
    """By kind: what a class of devices adds to the standard descriptors and is asked for by itself."""

    def __init__(self, body: bytes, product: str, serial: str = "1") -> None:
        self.strings = ["", "router", product, serial]
        interfaces = {body[at + 2] for at in _positions(body, DESCRIPTOR_INTERFACE)}
        total = 9 + len(body)
        head = struct.pack("<BBHBBBBB", 9, DESCRIPTOR_CONFIG, total, len(interfaces), 1, 0, 0xC0, 0)
        self.config_descriptor = head + body
        packet = 9 if self.speed >= usb.SPEED_SUPER else 8 if self.speed == usb.SPEED_LOW else 64
        release = 0x0300 if self.speed >= usb.SPEED_SUPER else 0x0200
        self.device_descriptor = struct.pack(
            "<BBHBBBBHHHBBBB",
            *(18, DESCRIPTOR_DEVICE, release, *self.triple, packet, self.vid, self.pid, self.bcd, 1, 2, 3, 1),
        )
        self.configuration = 0
        self.alternates: dict[int, int] = {}
        self.halted: set[int] = set()
        # Answers that wait for the client to ask, and requests that wait for an answer, by endpoint.
        self._answers: dict[int, deque[Buffer]] = {}
        self._unfetched = 0
        self._waiting: dict[int, deque[urb.Submit]] = {}
        self._held: deque[urb.Submit] = deque()
        self._kinds = {body[at + 2]: body[at + 3] & 3 for at in _positions(body, DESCRIPTOR_ENDPOINT)}
        self._settings = {(body[at + 2], body[at + 3]) for at in _positions(body, DESCRIPTOR_INTERFACE)}
        self._paused: set[int] = set()
        self._serving: set[int] = set()
        # Endpoints with news that the client hears of once the transfer is completed that is being looked at.
        self._later: list[int] | None = None
        self.session: Completer | None = None

    @property
    def interfaces(self) -> tuple[Triple, ...]:
        body = self.config_descriptor
        first = [at for at in _positions(body, DESCRIPTOR_INTERFACE) if body[at + 3] == 0]
        return tuple((body[at + 5], body[at + 6], body[at + 7]) for at in first)

    # What a kind overrides

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        """A class or vendor request, (bmRequestType, bRequest, wValue, wIndex, wLength) → what goes IN; or Stall."""
        raise Stall

    def receive(self, address: int, data: Buffer) -> None:
        """Data came OUT to an endpoint. Stall halts it."""
        raise Stall

    def wants(self, address: int, length: int) -> None:
        """The client asks an endpoint for up to that many bytes: a chance to `send` some."""

    def isochronous(self, submit: urb.Submit, session: Completer) -> None:
        """An isochronous transfer; a kind without such endpoints never sees one."""
        session.complete(submit, urb.EPIPE)

    def configured(self) -> None:
        """A configuration or alternate setting was chosen, or the device was reset."""

    def stopped(self) -> None:
        """The client has gone."""

    def close(self) -> None:
        """The device is not used any more: gives back what it holds."""

    # What a kind calls

    def send(self, address: int, data: Buffer) -> None:
        """Gives an endpoint data for the client; one transfer, or more if the client asks for less."""
        self._answers.setdefault(address, deque()).append(data)
        self._unfetched += ANSWER_COST + len(data)
        self._has_news(address)

    def halt(self, address: int) -> None:
        """Halts an endpoint: each transfer ends with a stall until the client clears it."""
        self.halted.add(address)
        self._has_news(address)

    # Target

    def is_isochronous(self, address: int) -> bool:
        return self._kinds.get(address) == ISOCHRONOUS

    def kind_of(self, address: int) -> int:
        return self._kinds.get(address, CONTROL)

    def submit(self, submit: urb.Submit, session: Completer) -> None:
        self.session = session
        address = submit.address
        if submit.endpoint == 0:
            self._control(submit)
        elif address not in self._kinds:
            self._complete(submit, urb.EPIPE)
        elif self.is_isochronous(address):
            self.isochronous(submit, session)
        elif address in self.halted:
            self._complete(submit, urb.EPIPE)
        elif submit.direction == urb.IN:
            self._waiting.setdefault(address, deque()).append(submit)
            self._serve(address)
        elif self._held or self._unfetched > MAX_UNFETCHED:
            self._held.append(submit)
        else:
            self._receive(submit)

    def _receive(self, submit: urb.Submit) -> None:
        outer, self._later = self._later, []
        try:
            self.receive(submit.address, submit.data)
            self._complete(submit, urb.EOK, actual=len(submit.data))
        except Stall:
            self.halt(submit.address)
            self._complete(submit, urb.EPIPE)
        finally:
            self._tell_news(outer)

    def _has_news(self, address: int) -> None:
        """The endpoint has an answer or is halted: at once, or after the transfer that made it so.

        On a bus a device answers after it has acknowledged the request, and drivers count on that order.
        """
        if self._later is None:
            self._serve(address)
        else:
            self._later.append(address)

    def _tell_news(self, outer: list[int] | None) -> None:
        news, self._later = self._later or [], outer
        for address in dict.fromkeys(news):
            self._has_news(address)

    def cancel(self, submit: urb.Submit, session: Completer) -> None:
        waiting = self._waiting.get(submit.address)
        if waiting and submit in waiting:
            waiting.remove(submit)
        elif submit in self._held:
            self._held.remove(submit)
        if not waiting:
            self._paused.discard(submit.address)
        session.complete(submit, urb.ECONNRESET)

    def settle(self) -> None:
        """Nothing to complete: a virtual device completes at once whatever it can."""

    def buffer(self, size: int) -> bytearray:
        return bytearray(size)

    def stop(self, session: Completer) -> None:
        self.session = None
        self.reset()
        self.stopped()

    def reset(self) -> None:
        """A bus reset: the state after power-on."""
        self.configuration = 0
        self.alternates.clear()
        self.halted.clear()
        self._answers.clear()
        self._unfetched = 0
        self._paused.clear()
        waiting, self._waiting = self._waiting, {}
        held, self._held = self._held, deque()
        for queue in (*waiting.values(), held):
            for submit in queue:
                self._complete(submit, urb.ESHUTDOWN)
        self.configured()

    def _complete(self, submit: urb.Submit, status: int, data: Buffer = b"", actual: int | None = None) -> None:
        if self.session:
            self.session.complete(submit, status, data, actual)

    def _serve(self, address: int) -> None:
        """Brings an endpoint's answers and the client's requests together; then the OUT transfers that were held."""
        if address in self._serving:
            # `wants` sends from within: the loop below goes on with it, however many requests wait.
            return
        if self._waiting.get(address):
            self._serving.add(address)
            try:
                self._match(address)
            finally:
                self._serving.discard(address)
        if address in self.halted:
            for submit in self._waiting.pop(address, ()):
                self._complete(submit, urb.EPIPE)
        while self._held and self._unfetched <= MAX_UNFETCHED:
            self._receive(self._held.popleft())

    def _match(self, address: int) -> None:
        waiting = self._waiting.get(address)
        while waiting and address not in self._paused and address not in self.halted:
            answers = self._answers.get(address)
            if not answers:
                self.wants(address, waiting[0].length)
                answers = self._answers.get(address)
                if not answers or not waiting:
                    return
            submit = waiting.popleft()
            data = answers.popleft()
            if len(data) > submit.length:
                answers.appendleft(memoryview(data)[submit.length :])
                data = memoryview(data)[: submit.length]
                self._unfetched -= submit.length
            else:
                self._unfetched -= ANSWER_COST + len(data)
            short = len(data) < submit.length and submit.flags & urb.SHORT_NOT_OK
            if short and waiting:
                # The rest of what was asked for together must not get the next answer; the client takes it back.
                self._paused.add(address)
            self._complete(submit, urb.EREMOTEIO if short else urb.EOK, data)

    def _control(self, submit: urb.Submit) -> None:
        setup = struct.unpack("<BBHHH", submit.setup)
        if setup[:3] == (PORT_RESET_KIND, SET_FEATURE, PORT_RESET):
            self.reset()
            self._complete(submit, urb.EOK)
            return
        outer, self._later = self._later, []
        try:
            answer = self.standard(setup) if not setup[0] & 0x60 else self.control(setup, submit.data)
            if submit.direction == urb.IN:
                self._complete(submit, urb.EOK, memoryview(answer)[: min(setup[4], submit.length)])
            else:
                self._complete(submit, urb.EOK, actual=len(submit.data))
        except Stall:
            self._complete(submit, urb.EPIPE)
        finally:
            self._tell_news(outer)

    def standard(self, setup: tuple[int, int, int, int, int]) -> Buffer:
        """A standard request (USB 2.0, 9.4): what goes IN."""
        kind, request, value, index, _ = setup
        recipient = kind & 0x1F
        if request == GET_DESCRIPTOR and kind & 0x80:
            return self.descriptor(value >> 8, value & 0xFF, index)
        if request == SET_CONFIGURATION and value <= 1:
            self.configuration = value
            self.alternates.clear()
            self.halted.clear()
            self.configured()
        elif request == GET_CONFIGURATION:
            return bytes([self.configuration])
        elif request == SET_INTERFACE and (index, value) in self._settings:
            self.alternates[index] = value
            self.configured()
        elif request == GET_INTERFACE and (index, 0) in self._settings:
            return bytes([self.alternates.get(index, 0)])
        elif request == GET_STATUS:
            halted = recipient == 2 and index & 0xFF in self.halted
            return struct.pack("<H", int(halted) if recipient else 1)
        elif request == CLEAR_FEATURE and recipient == 2 and value == 0:
            self.halted.discard(index & 0xFF)
        elif request == SET_FEATURE and recipient == 2 and value == 0 and index in self._kinds:
            self.halt(index)
        elif request not in (SET_ADDRESS, CLEAR_FEATURE, SET_FEATURE):
            raise Stall
        return b""

    def descriptor(self, kind: int, number: int, index: int) -> Buffer:
        """A descriptor by kind and number; Stall if there is none."""
        if kind == DESCRIPTOR_DEVICE:
            return self.device_descriptor
        if kind == DESCRIPTOR_CONFIG and number == 0:
            return self.config_descriptor
        if kind == DESCRIPTOR_STRING and number == 0:
            return ENGLISH
        if kind == DESCRIPTOR_STRING and number < len(self.strings):
            text = utf16(self.strings[number])[:252]
            return bytes([2 + len(text), DESCRIPTOR_STRING]) + text
        if kind == DESCRIPTOR_QUALIFIER and self.speed == usb.SPEED_HIGH:
            return struct.pack("<BBHBBBBBB", 10, DESCRIPTOR_QUALIFIER, 0x0200, *self.triple, 64, 1, 0)
        if kind == DESCRIPTOR_OTHER_SPEED and number == 0 and self.speed == usb.SPEED_HIGH:
            # USB 2.0, 9.6.4: what has a qualifier has this too.
            return self.config_descriptor[:1] + bytes([kind]) + self.config_descriptor[2:]
        if kind in self.class_descriptors:
            return self.class_descriptors[kind]
        raise Stall


def _positions(body: bytes, kind: int) -> list[int]:
    """Where in a chain of descriptors those of one kind begin."""
    found: list[int] = []
    at = 0
    while at + 2 <= len(body) and body[at] >= 2:
        if body[at + 1] == kind:
            found.append(at)
        at += body[at]
    return found
