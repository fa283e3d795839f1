# SPDX-License-Identifier: BSD-2-Clause
"""One connection of a QEMU: its packets become transfers of a virtual device, and the other way round."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.usbredir import protocol
from bench.usbredir.made import MadeDevice
from bench.usbredir.protocol import Bulk, Cap, Control, Data, Endpoint, Kind, Packet, ProtocolError, Status
from bench.usbredir.streams import Streams
from bench.usbredir.wire import Wire
from router.usbip.protocol import device as usb
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import SET_CONFIGURATION, SET_INTERFACE
from router.usbip.runtime import event_loop
from router.usbip.virtual.device import VirtualDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

VERSION = "router bench"
ERRORS = {
    urb.EOK: Status.SUCCESS,
    urb.EPIPE: Status.STALL,
    urb.ECONNRESET: Status.CANCELLED,
}


@dataclass(frozen=True)
class Pending:
    """A transfer that the device has. answer: sends what becomes of it, by status, data and bytes that went OUT."""

    ident: int
    submit: urb.Submit
    answer: Callable[[Status, bytes, int], None]


class Session:
    """The device's side of a connection. ended: called once it is over. In the loop's thread only."""

    def __init__(
        self, loop: event_loop.Loop, sock: socket.socket, device: VirtualDevice | None, ended: Callable[[], None]
    ) -> None:
        self.loop = loop
        self.trouble: list[str] = []
        """What QEMU sent and must not, and exceptions of the device."""
        self._wire = Wire(loop, sock, self._take, self.close, self.fail)
        self._streams = Streams(loop, self._wire, self.fail)
        self._ended = ended
        self._device = device
        self._connected = False
        self._caps: frozenset[Cap] | None = None
        self._pending: dict[int, Pending] = {}
        self._number = 0
        self._receiving: dict[int, int] = {}
        self._asked: set[int] = set()
        self._waits_for_ack = False
        self._wire.send(protocol.hello(VERSION))

    # The connection

    def fail(self, error: Exception) -> None:
        """Ends the connection over an exception."""
        self.trouble.append(repr(error))
        self.close()

    def close(self) -> None:
        """Ends the connection: the device is unplugged."""
        if self._wire.open:
            self._forget_device()
            self._wire.close()
            self._ended()

    # Plugging in

    def plug(self, device: VirtualDevice | None) -> None:
        """Pull out the device that is plugged in, if any, and plug that one in; None: nothing."""
        was = self._connected
        self._forget_device()
        self._device = device
        if was:
            self._wire.send(Packet(Kind.DEVICE_DISCONNECT, 0, b""))
            self._waits_for_ack = self._has(Cap.DEVICE_DISCONNECT_ACK)
        if not self._waits_for_ack:
            self._connect()

    def _forget_device(self) -> None:
        self._end_streams()
        self._connected = False
        if self._device is not None:
            self._device.stop(self)
        self._pending.clear()

    def _connect(self) -> None:
        device = self._device
        if device is None or self._caps is None:
            return
        self._describe(device)
        self._wire.send(protocol.device_connect(device.speed, device.device_descriptor, self._caps))
        self._connected = True
        device.session = self

    def _describe(self, device: VirtualDevice) -> None:
        assert self._caps is not None, "after the hello"
        settings = protocol.settings_of(device.config_descriptor, device.speed)
        size = 512 if device.speed >= usb.SPEED_SUPER else device.device_descriptor[7]
        current = {number: settings[number, device.alternates.get(number, 0)] for number, _ in settings}
        endpoints = [each for _, its in current.values() for each in its]
        self._wire.send(protocol.ep_info(endpoints, size, self._caps))
        self._wire.send(protocol.interface_info({number: triple for number, (triple, _) in current.items()}))

    def _endpoint(self, address: int) -> Endpoint | None:
        assert self._device is not None, "connected"
        settings = protocol.settings_of(self._device.config_descriptor, self._device.speed)
        for number, _ in settings:
            for each in settings[number, self._device.alternates.get(number, 0)][1]:
                if each.address == address:
                    return each
        return None

    def _has(self, cap: Cap) -> bool:
        return cap in (self._caps or ())

    # What QEMU says

    def _take(self, packet: Packet) -> None:
        if packet.kind == Kind.HELLO:
            if self._caps is not None:
                raise ProtocolError("a second hello")
            self._caps = protocol.common_caps(packet)
            if self._has(Cap.IDS_64BIT):
                self._wire.widen()
            self._connect()
        elif self._caps is None:
            raise ProtocolError(f"a packet of type {packet.kind} before the hello")
        elif packet.kind == Kind.DEVICE_DISCONNECT_ACK:
            if self._waits_for_ack:
                self._waits_for_ack = False
                self._connect()
        elif packet.kind in (Kind.FILTER_FILTER, Kind.FILTER_REJECT):
            if packet.kind == Kind.FILTER_REJECT:
                self.trouble.append("QEMU's filter refuses the device")
        elif self._device is not None and self._connected:
            self._for_device(packet, self._device)
        # Else it was on its way when the device left.

    def _for_device(self, packet: Packet, device: VirtualDevice) -> None:
        actions: dict[int, Callable[[Packet, VirtualDevice], None]] = {
            Kind.RESET: self._reset,
            Kind.SET_CONFIGURATION: self._set_configuration,
            Kind.GET_CONFIGURATION: self._tell_configuration,
            Kind.SET_ALT_SETTING: self._set_alternate,
            Kind.GET_ALT_SETTING: self._tell_alternate,
            Kind.START_ISO_STREAM: self._start_stream,
            Kind.STOP_ISO_STREAM: self._stop_stream,
            Kind.START_INTERRUPT_RECEIVING: self._start_receiving,
            Kind.STOP_INTERRUPT_RECEIVING: self._stop_receiving,
            Kind.CANCEL_DATA_PACKET: self._cancel,
            Kind.CONTROL_PACKET: self._control,
            Kind.BULK_PACKET: self._bulk,
            Kind.ISO_PACKET: self._iso_out,
            Kind.INTERRUPT_PACKET: self._interrupt_out,
        }
        action = actions.get(packet.kind)
        if action is None:
            self.trouble.append(f"a packet of type {packet.kind}")
        else:
            action(packet, device)

    def _reset(self, _: Packet, device: VirtualDevice) -> None:
        self._end_streams()
        device.reset()

    def _set_configuration(self, packet: Packet, device: VirtualDevice) -> None:
        (number,) = protocol.unpack(_BYTE, packet)
        self._end_streams()
        self._request(packet, device, Control(SET_CONFIGURATION, 0, number, 0, 0), self._configured)

    def _configured(self, packet: Packet, device: VirtualDevice, status: Status) -> None:
        self._describe(device)
        self._wire.send(Packet(Kind.CONFIGURATION_STATUS, packet.ident, bytes([status, device.configuration])))

    def _tell_configuration(self, packet: Packet, device: VirtualDevice) -> None:
        body = bytes([Status.SUCCESS, device.configuration])
        self._wire.send(Packet(Kind.CONFIGURATION_STATUS, packet.ident, body))

    def _set_alternate(self, packet: Packet, device: VirtualDevice) -> None:
        interface, alternate = protocol.unpack(_TWO_BYTES, packet)
        self._streams.stop_interface(interface)
        self._request(packet, device, Control(SET_INTERFACE, 1, alternate, interface, 0), self._alternate_is_set)

    def _alternate_is_set(self, packet: Packet, device: VirtualDevice, status: Status) -> None:
        self._describe(device)
        self._tell_alternate(packet, device, status)

    def _tell_alternate(self, packet: Packet, device: VirtualDevice, status: Status = Status.SUCCESS) -> None:
        interface = packet.body[0]
        body = bytes([status, interface, device.alternates.get(interface, 0)])
        self._wire.send(Packet(Kind.ALT_SETTING_STATUS, packet.ident, body))

    # Control, bulk, interrupt OUT

    def _request(
        self,
        packet: Packet,
        device: VirtualDevice,
        control: Control,
        done: Callable[[Packet, VirtualDevice, Status], None],
    ) -> None:
        """A standard request that is a packet of its own here."""
        setup = struct.pack("<BBHHH", control.kind, control.request, control.value, control.index, 0)
        submit = urb.Submit(self._next(), 0, urb.OUT, 0, 0, setup=setup)
        self._begin(device, packet.ident, submit, lambda status, data, actual: done(packet, device, status))

    def _control(self, packet: Packet, device: VirtualDevice) -> None:
        asked = Control.parse(packet)
        setup = struct.pack("<BBHHH", asked.kind, asked.request, asked.value, asked.index, asked.length)
        direction = asked.kind >> 7
        submit = urb.Submit(self._next(), 0, direction, 0, asked.length, asked.data, setup)

        def answer(status: Status, data: bytes, actual: int) -> None:
            body = replace(asked, status=status, length=len(data) if direction else actual, data=data).pack()
            self._wire.send(Packet(Kind.CONTROL_PACKET, packet.ident, body))

        self._begin(device, packet.ident, submit, answer)
        # It may have cleared the halt of an endpoint that QEMU receives from.
        for address in self._receiving.keys() - self._asked - device.halted:
            self._ask(address, device)

    def _bulk(self, packet: Packet, device: VirtualDevice) -> None:
        assert self._caps is not None, "after the hello"
        caps = self._caps
        asked = Bulk.parse(packet, caps)
        direction = asked.endpoint >> 7
        submit = urb.Submit(self._next(), 0, direction, asked.endpoint & 15, asked.length, asked.data)

        def answer(status: Status, data: bytes, actual: int) -> None:
            body = replace(asked, status=status, length=len(data) if direction else actual, data=data).pack(caps)
            self._wire.send(Packet(Kind.BULK_PACKET, packet.ident, body))

        self._begin(device, packet.ident, submit, answer)

    def _interrupt_out(self, packet: Packet, device: VirtualDevice) -> None:
        asked = Data.parse(packet)
        submit = urb.Submit(self._next(), 0, urb.OUT, asked.endpoint & 15, len(asked.data), asked.data)

        def answer(status: Status, data: bytes, actual: int) -> None:
            body = Data(asked.endpoint, status=status, length=actual).pack()
            self._wire.send(Packet(Kind.INTERRUPT_PACKET, packet.ident, body))

        self._begin(device, packet.ident, submit, answer)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _begin(
        self, device: VirtualDevice, ident: int, submit: urb.Submit, answer: Callable[[Status, bytes, int], None]
    ) -> None:
        self._pending[submit.seqnum] = Pending(ident, submit, answer)
        device.submit(submit, self)

    def complete(
        self,
        submit: urb.Submit,
        status: int,
        data: Buffer = b"",
        actual: int | None = None,
        iso: list[urb.IsoPacket] | None = None,
        start: int = 0,
        errors: int = 0,
    ) -> bool:
        """A transfer's end, as a Completer has it."""
        pending = self._pending.pop(submit.seqnum, None)
        if pending is not None:
            pending.answer(ERRORS.get(status, Status.IO_ERROR), bytes(data), len(data) if actual is None else actual)
        return True

    def _cancel(self, packet: Packet, device: VirtualDevice) -> None:
        for pending in tuple(self._pending.values()):
            if pending.ident == packet.ident:
                device.cancel(pending.submit, self)

    # Interrupt IN: QEMU takes what comes and lets the guest's controller have it

    def _start_receiving(self, packet: Packet, device: VirtualDevice) -> None:
        (address,) = protocol.unpack(_BYTE, packet)
        status = Status.SUCCESS if self._endpoint(address) is not None else Status.INVALID
        self._wire.send(Packet(Kind.INTERRUPT_RECEIVING_STATUS, packet.ident, bytes([status, address])))
        if status == Status.SUCCESS and address not in self._receiving:
            self._receiving[address] = 0
            self._ask(address, device)

    def _ask(self, address: int, device: VirtualDevice) -> None:
        endpoint = self._endpoint(address)
        if endpoint is None:
            return
        submit = urb.Submit(self._next(), 0, urb.IN, address & 15, endpoint.size)

        def answer(status: Status, data: bytes, actual: int) -> None:
            self._asked.discard(address)
            if status == Status.CANCELLED or address not in self._receiving:
                return
            number, self._receiving[address] = self._receiving[address], self._receiving[address] + 1
            self._wire.send(Packet(Kind.INTERRUPT_PACKET, number, Data(address, data, status).pack()))
            if status == Status.SUCCESS:
                self._ask(address, device)

        self._asked.add(address)
        self._begin(device, -1, submit, answer)

    def _stop_receiving(self, packet: Packet, device: VirtualDevice) -> None:
        (address,) = protocol.unpack(_BYTE, packet)
        self._receiving.pop(address, None)
        for pending in tuple(self._pending.values()):
            if pending.ident == -1 and pending.submit.address == address:
                device.cancel(pending.submit, self)
        body = bytes([Status.SUCCESS, address])
        self._wire.send(Packet(Kind.INTERRUPT_RECEIVING_STATUS, packet.ident, body))

    # Isochronous: the device's own clock makes the packets, and nothing answers those that QEMU sends

    def _start_stream(self, packet: Packet, device: VirtualDevice) -> None:
        address = protocol.unpack(_BYTE, packet)[0]
        endpoint = self._endpoint(address)
        if endpoint is None or not isinstance(device, MadeDevice):
            self._wire.send(Packet(Kind.ISO_STREAM_STATUS, packet.ident, bytes([Status.INVALID, address])))
            return
        self._wire.send(Packet(Kind.ISO_STREAM_STATUS, packet.ident, bytes([Status.SUCCESS, address])))
        device.stream_began(address)
        if address & 0x80:
            self._streams.start(device, endpoint)

    def _stop_stream(self, packet: Packet, _: VirtualDevice) -> None:
        (address,) = protocol.unpack(_BYTE, packet)
        self._streams.stop(address)
        self._wire.send(Packet(Kind.ISO_STREAM_STATUS, packet.ident, bytes([Status.SUCCESS, address])))

    def _iso_out(self, packet: Packet, device: VirtualDevice) -> None:
        if isinstance(device, MadeDevice):
            each = Data.parse(packet)
            device.iso_out(each.endpoint, each.data)

    def _end_streams(self) -> None:
        self._streams.clear()
        self._receiving.clear()
        self._asked.clear()
        for number in [number for number, pending in self._pending.items() if pending.ident == -1]:
            del self._pending[number]


_BYTE, _TWO_BYTES = struct.Struct("<B"), struct.Struct("<BB")
