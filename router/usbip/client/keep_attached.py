# SPDX-License-Identifier: BSD-2-Clause
"""Keeps attached whatever a server grants: attaches, notices when that ends, and attaches again.

Our own server says what is granted and when that changes (WATCH); other servers are asked for their list.
"""

from __future__ import annotations

import socket

from router.errors import HostError, RouterError
from router.usbip.client.exchange import Exchange, RefusedError, devlist_steps, import_steps, watch_steps
from router.usbip.client.held import MIN_DELAY_S, Backoff, Held
from router.usbip.client.vhci import PORT_USED, Port, Vhci, hub_for
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.runtime import event_loop, net
from router.usbip.runtime.log import log, milestone
from router.usbip.runtime.text import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.client.liveness import Liveness
    from router.usbip.client.relay import Relay

ANSWER_TIMEOUT_S = 10.0
# Imports under way at once: each has a descriptor, and a server may grant as many devices as it likes.
MAX_IMPORTS = 8
# Records of one list that are left out and said one by one.
MAX_SAID = 4
POLL_INTERVAL_S = 2.0
CHECK_INTERVAL_S = 5.0


class KeepAttached:
    """Keeps a server's granted devices attached to this machine's virtual ports.

    limit: use virtual ports 1 to limit only, 0 for all. usb: 2 leaves super-speed devices alone.
    only: these busids and no others, None for all that is granted.
    validate: judge what the server returns before the kernel sees it (slower; for servers that are not trusted).
    """

    def __init__(
        self,
        loop: event_loop.Loop,
        address: net.Address,
        vhci: Vhci,
        limit: int = 0,
        usb: int = 3,
        only: set[str] | None = None,
        validate: bool = False,
    ) -> None:
        self.loop = loop
        self.address = address
        self.vhci = vhci
        self.limit = limit
        self.usb = usb
        self.only = only
        self.validate = validate
        self.held: dict[str, Held] = {}
        self.grants: dict[str, handshake.Grant] = {}
        self._backoff = Backoff()
        self._trying: dict[str, Exchange] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._waiting: dict[str, event_loop.Timer] = {}
        self._complained: dict[str, str] = {}
        self._odd: list[str] = []
        self._said_odd: list[str] = []
        self._conversation: Exchange | None = None
        self._known: set[str] = set()
        self._polls = False
        self._has_watched = False
        self._closed = False
        self._liveness: Liveness | None = None
        if not address.has_keepalive:
            from router.usbip.client.liveness import Liveness

            self._liveness = Liveness(loop, self._beat, self._silent, self._dead)

    # The conversation with the server

    def start(self) -> None:
        """Adopts what an earlier run attached, and begins to ask the server."""
        self.vhci.release_all(self.address.peer)
        self._adopt()
        self._ask()
        if self._liveness:
            self._liveness.start()
        self.loop.call_later(CHECK_INTERVAL_S, self._check)

    def close(self, detach: bool = False) -> None:
        """Stops keeping; what is attached stays so, unless it is to be detached."""
        self._closed = True
        if self._conversation:
            self._conversation.close()
        for exchange in self._trying.values():
            exchange.close()
        for held in tuple(self.held.values()):
            if held.sock:
                self.loop.forget(held.sock.fileno())
                held.sock.close()
            if held.relay:
                # Without its relay a device is dead: it goes.
                held.relay.close()
            elif detach:
                self.vhci.detach(held.port.rhport)

    def _ask(self) -> None:
        if self._closed:
            return
        if self._polls:
            self._odd = []
            self._conversation = Exchange(
                self.loop,
                self.address,
                handshake.pack_devlist_request(),
                devlist_steps(self._odd.append),
                self._listed,
                ANSWER_TIMEOUT_S,
            )
            return
        try:
            holding = [port.devid for port in self.vhci.ports() if port.state == PORT_USED]
        except (HostError, OSError) as error:
            self._lost(error)
            return
        self._conversation = Exchange(
            self.loop,
            self.address,
            handshake.pack_watch_request(holding),
            watch_steps(self._heard),
            self._watch_ended,
            ANSWER_TIMEOUT_S,
        )

    def _heard(self, grants: list[handshake.Grant]) -> None:
        if self._conversation:
            self._conversation.unhurried()
        if self._liveness:
            self._liveness.heard()
        self._has_watched |= not self._polls
        self._backoff.reset()
        before, self.grants = self.grants, {grant[0].busid: grant for grant in grants}
        for busid in self.grants.keys() - self._known:
            # Granted or plugged in anew: an earlier detach does not count.
            self.vhci.release(self.address.peer, busid)
        self._known = set(self.grants)
        self._forget_others()
        for busid, grant in self.grants.items():
            if before.get(busid) != grant and busid in self._waiting:
                # News of the device: it does not wait any longer.
                self._waiting.pop(busid).cancel()
                self._backoffs.pop(busid, None)
        self.reconcile()

    def _forget_others(self) -> None:
        """Keeps no notes of devices that are neither granted nor attached: a server can invent names for ever."""
        keep = self._known | set(self.held) | {""}
        for notes in (self._backoffs, self._complained):
            for busid in notes.keys() - keep:
                del notes[busid]
        for busid in self._waiting.keys() - keep:
            self._waiting.pop(busid).cancel()

    def _watch_ended(self, _: object, error: Exception | None, __: socket.socket | None) -> None:
        refused = isinstance(error, RefusedError) or self._knows_no_watch(error)
        self._judge(error)
        self._conversation = None
        if refused:
            log(f"{self.address} has no watch, asking it for its list every {POLL_INTERVAL_S:g} s")
            self._polls = True
            self._ask()
            return
        self._lost(error)

    def _knows_no_watch(self, error: Exception | None) -> bool:
        """Whether the server got the request and left it unanswered as one does that does not know it.

        One that is silent may be held up: if it has answered a watch before, it knows them. Without keepalive only the
        end of the connection counts, since a list shows no beats.
        """
        if self._conversation is None or not self._conversation.sent or self._conversation.answered:
            return False
        if self._liveness:
            return isinstance(error, EOFError)
        return not (self._has_watched and isinstance(error, TimeoutError))

    def _listed(self, devices: list[Device] | None, error: Exception | None, sock: socket.socket | None) -> None:
        self._judge(error)
        self._conversation = None
        if sock:
            sock.close()
        if devices is None:
            self._polls = False
            self._lost(error)
            return
        self._say_odd()
        self._heard([(device, 0, handshake.WATCH_AVAILABLE) for device in devices])
        self.loop.call_later(POLL_INTERVAL_S, self._ask)

    def _say_odd(self) -> None:
        """Says which records of the list were left out; once, until others are."""
        if self._odd != self._said_odd:
            self._said_odd = self._odd
            for text in self._odd[:MAX_SAID]:
                log(f"{self.address}: one of its devices is left out: {text}")

    def _lost(self, error: Exception | None) -> None:
        text = error_text(error) if error else "the connection ended"
        if self._complained.get("") != text:
            log(f"{self.address}: {text}; trying again")
            self._complained[""] = text
        self.grants = {}
        self.loop.call_later(self._backoff.delay(), self._ask)

    # Whether the server lives

    def _beat(self) -> None:
        if self._conversation and not self._polls:
            self._conversation.beat()

    def _silent(self) -> None:
        """The server does not answer on the watch: a new one shows whether it can be reached."""
        if self._conversation and self._conversation.answered and not self._polls:
            self._conversation.close()
            self._conversation = None
            self._lost(TimeoutError("no answer on the watch"))

    def _judge(self, error: Exception | None) -> None:
        """Notes the end of a conversation. Only a connection that does not come to stand speaks of a dead server."""
        if self._liveness and error:
            sent = self._conversation is not None and self._conversation.sent
            self._liveness.failed(sent or not isinstance(error, TimeoutError))

    def _dead(self) -> None:
        """Frees the ports: the kernel would wait for the server for ever."""
        for held in tuple(self.held.values()):
            log(f"{self.address} cannot be reached: {held.busid} is given up")
            if held.relay:
                held.relay.close()
                continue
            try:
                self.vhci.detach(held.port.rhport)
            except HostError as error:
                # The kernel may still use the port: it stays noted, and the next attempt tries again.
                log(error.message)
                continue
            self._hangup(held)

    # Attaching

    def reconcile(self) -> None:
        """Begins to attach each granted device that is not attached and not waiting for its next attempt."""
        for busid, (device, port, state) in self.grants.items():
            if (
                state != handshake.WATCH_AVAILABLE
                or busid in self.held
                or busid in self._trying
                or busid in self._waiting
            ):
                continue
            if len(self._trying) >= MAX_IMPORTS:
                # The end of each makes room for the next.
                return
            if (self.only is not None and busid not in self.only) or self.vhci.is_held(self.address.peer, busid):
                continue
            if self.usb < 3 and hub_for(device.speed) == "ss":
                self._complain(busid, "is a super-speed device, and this controller is of USB 2")
                continue
            self._import(busid, port)

    def _import(self, busid: str, number: int) -> None:
        self._trying[busid] = Exchange(
            self.loop,
            self.address,
            handshake.pack_import_request(busid),
            import_steps(busid),
            lambda device, error, sock: self._imported(busid, number, device, error, sock),
            ANSWER_TIMEOUT_S,
        )

    def _imported(
        self, busid: str, number: int, device: Device | None, error: Exception | None, sock: socket.socket | None
    ) -> None:
        del self._trying[busid]
        # Others may have waited for this one to end; not from here, where it is neither attached nor waiting.
        self.loop.call_soon(self._resume)
        if device is None or sock is None:
            self._again(busid, error_text(error) if error else "no answer")
            return
        try:
            reserved = {grant[1] for grant in self.grants.values() if grant[1]}
            port = self.vhci.choose(device.speed, number, self.limit, reserved)
            relay = self._plug(port, sock, device, busid)
        except (RouterError, OSError) as problem:
            sock.close()
            self._again(busid, error_text(problem))
            return
        self._backoffs.pop(busid, None)
        self._complained.pop(busid, None)
        self.held[busid] = held = Held(busid, device.devid, port, None if relay else sock)
        held.relay = relay
        if not relay:
            self.loop.watch(sock.fileno(), event_loop.RDHUP, lambda _: self._hangup(held))
        try:
            self.vhci.remember(port.rhport, self.address.peer, self.address.port, busid)
        except OSError as problem:
            log(f"cannot note what is on port {port.rhport} in {self.vhci.state_dir}: {problem.strerror}")
        milestone(f"attached {busid} port {port.number}")

    def _plug(self, port: Port, sock: socket.socket, device: Device, busid: str) -> Relay | None:
        """Gives the connection to the kernel, or one end of a pair whose other end a relay holds."""
        if not self.validate:
            sock.setblocking(True)
            self.vhci.attach(port, sock.fileno(), device.devid, device.speed)
            return None
        from router.usbip.client.relay import Relay

        mine, kernels = socket.socketpair()
        try:
            self.vhci.attach(port, kernels.fileno(), device.devid, device.speed)
        except RouterError:
            mine.close()
            raise
        finally:
            kernels.close()
        return Relay(self.loop, sock, mine, lambda: self._relay_ended(busid))

    def _relay_ended(self, busid: str) -> None:
        held = self.held.get(busid)
        if held:
            self._hangup(held)

    def _again(self, busid: str, reason: str) -> None:
        self._complain(busid, reason)
        delay = self._backoffs.setdefault(busid, Backoff()).delay()
        self._waiting[busid] = self.loop.call_later(delay, lambda: self._retry(busid))

    def _retry(self, busid: str) -> None:
        self._waiting.pop(busid, None)
        self._resume()

    def _resume(self) -> None:
        if not self._closed:
            self.reconcile()

    def _complain(self, busid: str, reason: str) -> None:
        """Logs a device's trouble once, not at each attempt."""
        if self._complained.get(busid) != reason:
            self._complained[busid] = reason
            log(f"{busid}: {reason}")

    # The end of it

    def _hangup(self, held: Held) -> None:
        if held.sock:
            self.loop.forget(held.sock.fileno())
            held.sock.close()
        self._gone(held)

    def _gone(self, held: Held) -> None:
        if self.held.get(held.busid) is held:
            del self.held[held.busid]
        self.vhci.forget(held.port.rhport)
        milestone(f"detached {held.busid} port {held.port.number}")
        # The server needs a moment to reset the device, the kernel one to free the port.
        self._waiting[held.busid] = self.loop.call_later(MIN_DELAY_S, lambda: self._retry(held.busid))

    def _adopt(self) -> None:
        """Takes over what an earlier run of this client attached from the same server."""
        for port in self.vhci.ports():
            origin = self.vhci.origin(port.rhport)
            if port.state == PORT_USED and origin and origin[:2] == (self.address.peer, self.address.port):
                self.held[origin[2]] = Held(origin[2], port.devid, port, None)
                log(f"{origin[2]} is on port {port.number} already")

    def _check(self) -> None:
        """Looks after the adopted devices, of whose end no socket tells."""
        if self._closed:
            return
        try:
            used = {port.rhport: port.devid for port in self.vhci.ports() if port.state == PORT_USED}
        except (HostError, OSError) as error:
            # Not known at this moment: nothing is taken for ended because of that.
            log(error_text(error))
            used = {held.port.rhport: held.devid for held in self.held.values()}
        for held in tuple(self.held.values()):
            if held.sock is None and held.relay is None and used.get(held.port.rhport) != held.devid:
                self._gone(held)
        self.reconcile()
        self.loop.call_later(CHECK_INTERVAL_S, self._check)
