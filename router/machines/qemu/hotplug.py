# SPDX-License-Identifier: BSD-2-Clause
"""Plugging QEMU's emulated USB devices into a running guest and pulling them out again, through the monitor."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from router.errors import DescriptionError, MachineError
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.usb import AUDIO_RATE, DISKS, LINES, UsbPlug, parse_plug, port_count

RELEASE_TIMEOUT_S = 5.0
"""For QEMU to release an unplugged device's image."""


def character_back_end(plug: UsbPlug) -> dict[str, Any]:
    """What QEMU connects a serial line or a card reader to: the socket that is asked for, or nothing."""
    if plug.argument is None:
        return {"type": "ringbuf" if plug.kind == "serial" else "null", "data": {}}
    address = {"type": "unix", "data": {"path": str(plug.argument)}}
    return {"type": "socket", "data": {"addr": address, "server": False}}


@dataclass
class Plugged:
    """A device on a USB port, and the monitor's commands that remove what stands behind it once it is out."""

    plug: UsbPlug
    undo: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


class UsbPorts:
    """The ports of a guest's USB controller, from 1. Any thread may use it. buses: of a board's own controllers."""

    def __init__(self, qmp: Qmp, plugs: tuple[UsbPlug, ...], buses: tuple[str, ...] = ()) -> None:
        self._qmp = qmp
        self._buses = buses
        self._size = port_count(plugs, buses)
        self._lock = threading.Lock()
        self._plugged = {plug.port: Plugged(plug) for plug in plugs}

    def plugged(self) -> list[UsbPlug]:
        """What is plugged in, by port."""
        with self._lock:
            return [self._plugged[port].plug for port in sorted(self._plugged)]

    def plug(self, text: str) -> UsbPlug:
        """Plug `KIND[:ARGUMENT]` into the first free port. DescriptionError: wrong text; MachineError: none free."""
        with self._lock:
            port = next((n for n in range(1, self._size + 1) if n not in self._plugged), None)
            if port is None:
                raise MachineError(f"all {self._size} USB ports are taken", hint="unplug a device first")
            plug = parse_plug(text, port, self._buses)
            plugged = Plugged(plug)
            try:
                self._add(plug, plugged.undo)
            except MachineError:
                self._undo(plugged.undo, 0)
                raise
            self._plugged[port] = plugged
            return plug

    def unplug(self, port: int) -> UsbPlug:
        """Pull out what is on the USB port; DescriptionError when there is nothing."""
        with self._lock:
            plugged = self._plugged.get(port)
            if plugged is None:
                taken = ", ".join(f"{n} ({p.plug.kind})" for n, p in sorted(self._plugged.items())) or "none"
                raise DescriptionError(f"nothing is plugged into USB port {port}", hint=f"ports in use: {taken}")
            self._qmp.execute("device_del", id=f"plug{port}")
            del self._plugged[port]
            self._undo(plugged.undo, RELEASE_TIMEOUT_S)
            return plugged.plug

    def _add(self, plug: UsbPlug, undo: list[tuple[str, dict[str, Any]]]) -> None:
        name = f"plug{plug.port}"
        # Names of what was plugged in when QEMU started are still known to it.
        behind = f"{name}-{time.monotonic_ns():x}"
        options: dict[str, Any] = {"driver": plug.facts.device, "bus": plug.bus, "port": plug.bus_port, "id": name}
        if plug.kind in DISKS:
            image = {"driver": "file", "filename": str(plug.argument)}
            self._qmp.execute("blockdev-add", driver="raw", node_name=behind, file=image)
            undo.append(("blockdev-del", {"node_name": behind}))
        if plug.kind == "storage":
            options |= {"drive": behind, "serial": f"ROUTER{plug.port:04}"}
        elif plug.kind == "mtp":
            options["rootdir"] = str(plug.argument)
        elif plug.kind in LINES or (plug.kind == "ccid" and plug.argument):
            self._qmp.execute("chardev-add", id=behind, backend=character_back_end(plug))
            undo.append(("chardev-remove", {"id": behind}))
            if plug.kind != "ccid":
                options["chardev"] = behind
        elif plug.kind == "net":
            self._qmp.execute("netdev_add", type="hubport", hubid=7, id=behind)
            undo.append(("netdev_del", {"id": behind}))
            options["netdev"] = behind
        elif plug.kind == "audio":
            wav = {"driver": "wav", "path": str(plug.argument), "out": {"frequency": AUDIO_RATE}}
            self._qmp.execute("audiodev-add", id=behind, **(wav if plug.argument else {"driver": "none"}))
            options["audiodev"] = behind
        if plug.host is not None:
            options |= {"vendorid": plug.host.vendor, "productid": plug.host.product}
        self._qmp.execute("device_add", **options)
        if plug.kind == "redir":
            # It deletes its character device together with itself (hw/usb/redirect.c, usbredir_unrealize).
            undo.clear()
        try:
            if plug.kind in ("uas", "bot"):
                self._qmp.execute("device_add", driver="scsi-hd", bus=f"{name}.0", drive=behind)
                # Plugged in at run time it waits for its disks, until `attached` is set.
                self._qmp.execute("qom-set", path=f"/machine/peripheral/{name}", property="attached", value=True)
            elif plug.kind == "ccid" and plug.argument:
                self._qmp.execute("device_add", driver="ccid-card-passthru", bus=f"{name}.0", chardev=behind)
        except MachineError:
            self._qmp.execute("device_del", id=name)
            raise

    def _undo(self, undo: list[tuple[str, dict[str, Any]]], patience: float) -> None:
        end = time.monotonic() + patience
        for command, arguments in reversed(undo):
            while True:
                try:
                    self._qmp.execute(command, **arguments)
                    break
                except MachineError:
                    # After a failure, which is reported anyway, remove what can be removed. Else QEMU may refuse at
                    # first, while the device that uses it is still being removed.
                    if not patience:
                        break
                    if time.monotonic() >= end:
                        raise
                    time.sleep(0.05)
