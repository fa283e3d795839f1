# SPDX-License-Identifier: BSD-2-Clause
"""The server: listens, tells each client the devices that the policy grants it, and hands them out.

Exports follow the devices: a granted device is claimed when it appears, and again when it comes back. One thread.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from router.usbip.policy.rules import Policy
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.protocol.handshake import ImportRefused
from router.usbip.runtime import net
from router.usbip.runtime.event_loop import Loop, Timer
from router.usbip.runtime.log import log, milestone
from router.usbip.server.listeners import Listeners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from router.usbip.server.conversation import Conversation

    class Session(Protocol):
        """A device in a client's hands."""

        def close(self) -> None: ...

        def leave(self) -> None: ...

    class Engine(Protocol):
        """What moves the data: see engine_kernel for what each of these promises."""

        name: str

        def scan(self, known: dict[str, Device], late: set[str]) -> dict[str, Device]: ...

        def claim(self, device: Device) -> None: ...

        def release(self, device: Device) -> None: ...

        def renew(self, device: Device) -> None: ...

        def broken(self, device: Device) -> bool: ...

        def begin(self, device: Device, sock: socket.socket, ended: Callable[[], None]) -> Session: ...

        def adopt(self, device: Device, ended: Callable[[], None]) -> Session | None: ...

        def close(self) -> None: ...


CLAIM_DELAYS_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
RESCAN_DELAY_S = 0.01
LATE_RESCAN_S = 0.1
"""For a device that the kernel has not finished: no message says when it has."""
CLOSE_TIMEOUT_S = 10.0


class Export:
    """A device that the policy grants to some client."""

    __slots__ = ("attempts", "claimed", "client", "device", "engine", "session", "timer")

    def __init__(self, device: Device, engine: Engine) -> None:
        self.device = device
        self.engine = engine
        self.claimed = False
        self.attempts = 0
        self.timer: Timer | None = None
        self.session: Session | None = None
        self.client = ""


class Server:
    """Serves the devices of its engines. `listen` first, then `rescan` whenever devices may have changed."""

    def __init__(self, loop: Loop, engines: list[Engine], policy: Policy) -> None:
        self.loop = loop
        self.engines = engines
        self.policy = policy
        self.exports: dict[str, Export] = {}
        self.conversations: set[Conversation] = set()
        self._listeners = Listeners(loop, self.conversations, self._converse)
        self._seen: dict[str, dict[str, Device]] = {}
        self._rescan: Timer | None = None
        # Devices that are granted to no client, by busid.
        self._idle: dict[str, Device] = {}
        self._closed = False

    # Listening

    def listen(self, address: net.Address) -> socket.socket:
        """Listens there; HostError if that cannot be."""
        return self._listeners.listen(address)

    def _converse(self, sock: socket.socket, client: str) -> None:
        # Not before a client comes: the devices are out sooner.
        from router.usbip.server.conversation import Conversation

        self.conversations.add(Conversation(self, sock, client))

    # What is there

    def seen(self, engine: Engine) -> dict[str, Device]:
        """The engine's devices at the last look, exported or not."""
        return self._seen.get(engine.name, {})

    def watchers(self) -> list[str]:
        """The clients that watch."""
        return sorted({conversation.client for conversation in self.conversations if conversation.watching})

    # What a client may see

    def devices_for(self, client: str) -> list[Device]:
        """What DEVLIST shows this client: granted, claimed, and not in use."""
        return [
            export.device
            for export in self.exports.values()
            if export.claimed and not export.session and self.policy.decide(client, export.device).allowed
        ]

    def grants_for(self, client: str) -> list[handshake.Grant]:
        """What WATCH shows this client."""
        grants: list[handshake.Grant] = []
        for export in self.exports.values():
            decision = self.policy.decide(client, export.device)
            if not decision.allowed:
                continue
            if export.session:
                state = handshake.WATCH_YOURS if export.client == client else handshake.WATCH_BUSY
            else:
                state = handshake.WATCH_AVAILABLE if export.claimed else handshake.WATCH_ERROR
            grants.append((export.device, decision.port, state))
        return grants

    def import_device(self, client: str, busid: str, sock: socket.socket) -> None:
        """Hands the device to the client over its socket, and answers it. ImportRefused: the status to answer with.

        The order matters: first the engine takes the socket, then the client gets its answer, because from that answer
        on it sends URBs.
        """
        export = self.exports.get(busid)
        if export is None:
            raise ImportRefused(f"there is no exported device {busid}", handshake.ST_NODEV)
        decision = self.policy.decide(client, export.device)
        if not decision.allowed:
            raise ImportRefused(f"refused, {decision.reason}", handshake.ST_NODEV)
        if export.session:
            raise ImportRefused(f"{busid} is in use by {export.client}", handshake.ST_DEV_BUSY)
        if not export.claimed:
            raise ImportRefused(f"{busid} is not ready", handshake.ST_DEV_ERR)
        try:
            session = export.engine.begin(export.device, sock, lambda: self._ended(export))
        except ImportRefused as refused:
            if refused.status == handshake.ST_NODEV:
                # Another device is there now: it is judged before anyone gets it.
                self.rescan_soon()
            raise
        export.session, export.client = session, client
        reply = handshake.pack_import_reply(export.device)
        try:
            sent = sock.send(reply)
        except OSError:
            sent = 0
        if sent != len(reply):
            # Nothing was in the way of these 320 bytes, so the client is gone.
            session.close()
            raise ImportRefused("the client went away")
        log(f"{client} imports {busid} {export.device.vidpid}: {decision.reason}")
        self.notify()

    def _ended(self, export: Export) -> None:
        log(f"{export.client or 'an unknown client'} gave {export.device.busid} back")
        export.session, export.client = None, ""
        if self._closed:
            return
        if self.exports.get(export.device.busid) is not export:
            self._end_export(export)
            return
        if export.engine.broken(export.device):
            export.claimed = False
            self._claim(export, renew=True)
        self.notify()

    def forget_sessions(self, client: str, held: list[int]) -> None:
        """Ends the client's sessions that it does not know of: they belonged to its life before a crash."""
        for export in self.exports.values():
            adopted = export.session and not export.client
            if adopted and export.device.devid in held and self.policy.decide(client, export.device).allowed:
                export.client = client
            if export.session and export.client == client and export.device.devid not in held:
                log(f"{client} came back without {export.device.busid}: its old session ends")
                export.session.close()

    def end_sessions(self, client: str) -> None:
        """Ends all sessions of a client that is silent, so that others can have its devices."""
        for export in self.exports.values():
            if export.session and export.client == client:
                log(f"{client} is silent: its session of {export.device.busid} ends")
                export.session.close()

    def notify(self) -> None:
        """Tells the clients that watch what has changed for them."""
        for conversation in tuple(self.conversations):
            try:
                conversation.update()
            except Exception as error:
                conversation.fail(error)

    # Devices

    def rescan_soon(self) -> None:
        """Looks at the devices in a moment; a burst of hot-plug messages makes one look."""
        if self._rescan is None:
            self._rescan = self.loop.call_later(RESCAN_DELAY_S, self.rescan)

    def rescan(self) -> None:
        """Brings the exports in line with the devices that are there and with the policy."""
        if self._rescan:
            self._rescan.cancel()
        self._rescan = None
        if self._closed:
            return
        present: dict[str, Export] = {}
        idle: dict[str, Device] = {}
        late: set[str] = set()
        for engine in self.engines:
            seen = engine.scan(self._seen.get(engine.name, {}), late)
            self._seen[engine.name] = seen
            for busid, device in seen.items():
                if not self.policy.is_granted(device):
                    idle[busid] = device
                    continue
                old = self.exports.get(busid)
                present[busid] = old if old and old.device == device else Export(device, engine)
        gone = [export for export in self.exports.values() if present.get(export.device.busid) is not export]
        self.exports, before = present, self.exports
        self._report_idle(idle, before)
        for export in gone:
            self._withdraw(export)
        for export in present.values():
            if export is not before.get(export.device.busid):
                self._claim(export)
        if late:
            self._rescan = self.loop.call_later(LATE_RESCAN_S, self.rescan)
        self.notify()

    def _report_idle(self, idle: dict[str, Device], exported: dict[str, Export]) -> None:
        """Milestones for devices that came or went and are granted to no client of ours; the others have `exported`."""
        before, self._idle = self._idle, idle
        for busid, device in before.items():
            # What is granted now has not gone: it is exported next.
            if busid not in self.exports and (busid not in idle or idle[busid].devid != device.devid):
                milestone(f"unplugged {busid} {device.vidpid}")
        for busid, device in idle.items():
            known = busid in before and before[busid].devid == device.devid
            revoked = busid in exported and exported[busid].device.devid == device.devid
            if not known and not revoked:
                road = "goes as blocks" if self.policy.blocks(device) or self.policy.parts(device) else "not granted"
                milestone(f"plugged {busid} {device.vidpid} {road}")

    def _claim(self, export: Export, renew: bool = False) -> None:
        export.timer = None
        if self._closed or self.exports.get(export.device.busid) is not export:
            return
        try:
            if renew:
                export.engine.renew(export.device)
            else:
                export.engine.claim(export.device)
        except OSError as error:
            # Another driver's probe may be under way, or the device may be leaving again.
            delay = CLAIM_DELAYS_S[min(export.attempts, len(CLAIM_DELAYS_S) - 1)]
            if export.attempts == len(CLAIM_DELAYS_S) - 1:
                log(f"cannot export {export.device.busid}: {os.strerror(error.errno or 0)}; trying on")
            export.attempts += 1
            export.timer = self.loop.call_later(delay, lambda: self._claim(export, renew))
            return
        export.attempts = 0
        export.claimed = True
        if not export.session:
            # Whose it is will be known when its client watches: see forget_sessions.
            export.session = export.engine.adopt(export.device, lambda: self._ended(export))
        milestone(f"exported {export.device.busid} {export.device.vidpid}")
        self.notify()

    def _withdraw(self, export: Export) -> None:
        """Ends what is left of an export whose device has gone or is no longer granted."""
        if export.timer:
            export.timer.cancel()
        if export.session:
            # A device is given back once its session is over: the kernel resets it at the end, and taking it from
            # usbip-host in the middle of that makes the kernel wait for itself.
            export.session.close()
        else:
            self._end_export(export)

    def _end_export(self, export: Export) -> None:
        busid = export.device.busid
        same = self._seen[export.engine.name].get(busid) == export.device
        # Meanwhile it may be granted again; then it stays where it is.
        if same and export.claimed and busid not in self.exports:
            self._give_back(export)
        milestone(f"withdrawn {export.device.busid} {export.device.vidpid}")

    def _give_back(self, export: Export) -> None:
        try:
            export.engine.release(export.device)
        except OSError as error:
            log(f"cannot give {export.device.busid} back to its driver: {os.strerror(error.errno or 0)}")

    def set_policy(self, policy: Policy) -> None:
        """A new policy: sessions that it allows go on undisturbed, others end."""
        self.policy = policy
        for export in self.exports.values():
            if export.session:
                decision = policy.decide(export.client, export.device)
                if not decision.allowed:
                    log(f"{export.client} loses {export.device.busid}: {decision.reason}")
                    export.session.close()
        self.rescan()

    def close(self, release: bool = False) -> None:
        """Stops listening and talking. Handed-out devices stay so (the kernel serves them); `release` ends them too."""
        if self._closed:
            return
        self._closed = True
        self._listeners.close()
        for conversation in tuple(self.conversations):
            conversation.close()
        for export in self.exports.values():
            if export.timer:
                export.timer.cancel()
            if export.session:
                if release:
                    export.session.close()
                else:
                    export.session.leave()
        end = time.monotonic() + CLOSE_TIMEOUT_S
        while release and any(export.session for export in self.exports.values()) and time.monotonic() < end:
            self.loop.run_once(0.05)
        for export in self.exports.values():
            if release and export.claimed:
                self._give_back(export)
