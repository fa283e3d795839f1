# SPDX-License-Identifier: BSD-2-Clause
"""The verb `serve`: export granted devices."""

from __future__ import annotations

import signal

from router.errors import RouterError
from router.usbip.policy.file import load_policy
from router.usbip.policy.rules import Policy
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log, milestone
from router.usbip.runtime.net import parse_address
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs, controllers
from router.usbip.runtime.uevent import Uevents
from router.usbip.server.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from router.usbip.engines.target import Tap
    from router.usbip.protocol.device import Device
    from router.usbip.runtime.pipe import AnsweringPipe
    from router.usbip.server.capture import Capture
    from router.usbip.server.confined import Confined
    from router.usbip.server.control import Control
    from router.usbip.server.server import Engine
    from router.usbip.server.statistics import Statistics

USAGE = """usage: usbip serve [--policy FILE] [--listen ADDRESS]…

Exports the devices that the policy grants, each to the clients it names, and follows plugging and unplugging.

  --policy FILE     the policy, /etc/router/usb-policy by default; read again on SIGHUP
  --listen ADDRESS  0.0.0.0:3240 by default; HOST, HOST:PORT, [IPv6]:PORT, unix:/path, vsock:CID:PORT; repeatable
  --tcp-port PORT   another port than 3240 where the address names none
  --engine ENGINE   kernel: through usbip-host (default); usbfs: through /dev/bus/usb; none: no real devices
  --virtual DEVICE  also serve a virtual device: keyboard[:TEXT], disk:FILE, serial, audio; repeatable
  --pcap FILE       write what passes as usbmon packets, for Wireshark (engines usbfs and virtual)
  --log-pdu         write each PDU to stderr (engines usbfs and virtual)
  --stats           count transfers, bytes and latencies for `usbip stats` (engines usbfs and virtual)
  --control PATH    control socket for `usbip status` and others, /run/router-usbip.sock by default; "" for none
  --agent FOLDER    answer `usbip status --json` for the control agent whose pipes are in that folder
  --release         on the way out, end all sessions and give the devices back to their drivers
  --confine USER    run as USER, with nothing that serving does not need; ends, to be started again, when another USB
                    controller comes

Ends on SIGTERM and SIGINT. Without --release the kernel goes on serving what has been handed out.
"""

POLICY = "/etc/router/usb-policy"
SCAN_INTERVAL_S = 2.0


def run(_: str, argv: list[str]) -> int:
    options = Options(
        argv,
        {
            "--policy": "policy",
            "--listen": "listen",
            "--tcp-port": "tcp-port",
            "-t": "tcp-port",
            "--sysfs": "sysfs",
            "--engine": "engine",
            "--virtual": "virtual",
            "--pcap": "pcap",
            "--control": "control",
            "--agent": "agent",
            "--confine": "confine",
        },
        {"--release": "release", "--log-pdu": "log-pdu", "--stats": "stats"},
    )
    if options.words:
        raise UsageError(f"serve takes no {options.words[0]!r}", "see --help")
    file = options.get("policy", POLICY)
    port = options.number("tcp-port", 3240)
    addresses = [parse_address(text, port) for text in options.all.get("listen", ["0.0.0.0"])]
    policy = load_policy(file)
    loop = event_loop.Loop()
    observers = Observers(loop, options)
    engines: list[Engine] = []
    control: Control | None = None
    agent: AnsweringPipe | None = None
    server = Server(loop, engines, policy)
    confined = make_confined(loop, options)
    try:
        make_engines(loop, options, observers, engines)
        # Before the milestone that says that the daemon listens: its reader may send a signal at once.
        loop.on_signal(signal.SIGHUP, lambda: reload(server, file))
        loop.on_signal(signal.SIGTERM, loop.stop)
        loop.on_signal(signal.SIGINT, loop.stop)
        for address in addresses:
            sock = server.listen(address)
            if address.kind == "tcp" and not address.port:
                address.port = sock.getsockname()[1]
        follow_devices(loop, server, confined)
        if confined:
            # Root makes the control socket, and no device is looked at before the confinement.
            control = start_control(loop, server, options, file, observers)
            agent = start_agent(loop, server, options)
            confined.enter(options.get("confine"), options.get("engine", "kernel"), file)
        # A server that cannot be confined ends: it must not have looked as if it were up.
        for address in addresses:
            milestone(f"listening {address}")
        server.rescan()
        if not confined:
            # What is not needed to serve comes once the devices are out.
            control = start_control(loop, server, options, file, observers)
            agent = start_agent(loop, server, options)
        warn_of_bus_numbers(Sysfs(options.get("sysfs", "/sys")), policy)
        loop.run()
    finally:
        if control:
            control.close()
        if agent:
            agent.close()
        server.close(release="release" in options.flags)
        for engine in engines:
            engine.close()
        observers.close()
        loop.close()
    return 0


class Observers:
    """Who sees the PDUs of the user-space engines, as the options ask."""

    def __init__(self, loop: event_loop.Loop, options: Options) -> None:
        self._makers: list[Callable[[Device], Tap]] = []
        self._capture: Capture | None = None
        self.statistics: Statistics | None = None
        self._loop = loop
        if "pcap" in options.all:
            from router.usbip.server.capture import Capture

            self._capture = Capture(options.get("pcap"))
            self._makers.append(self._capture.tap)
            self._flush()
        if "log-pdu" in options.flags:
            from router.usbip.server.capture import PduLog

            self._makers.append(PduLog)
        if "stats" in options.flags:
            from router.usbip.server.statistics import Statistics

            self.statistics = Statistics()
            self._makers.append(self.statistics.tap)

    def tap(self, device: Device) -> Tap | None:
        """What a session of that device reports to."""
        taps = [make(device) for make in self._makers]
        if len(taps) < 2:
            return taps[0] if taps else None
        from router.usbip.server.capture import Taps

        return Taps(taps)

    def _flush(self) -> None:
        if self._capture:
            self._loop.call_later(1.0, self._flush)
            self._capture.flush()

    def close(self) -> None:
        if self._capture:
            self._capture.close()


def make_engines(loop: event_loop.Loop, options: Options, observers: Observers, engines: list[Engine]) -> None:
    """Fills in the engines that the options ask for; what an engine alone needs is imported for it alone."""
    kind = options.get("engine", "kernel")
    if kind == "kernel":
        from router.usbip.engines.kernel import KernelEngine

        kernel = KernelEngine(loop, Sysfs(options.get("sysfs", "/sys")))
        kernel.check()
        engines.append(kernel)
    elif kind == "usbfs":
        from router.usbip.engines.usbfs import UsbfsEngine

        usbfs = UsbfsEngine(loop, Sysfs(options.get("sysfs", "/sys")), tap=observers.tap)
        usbfs.check()
        engines.append(usbfs)
    elif kind != "none":
        raise UsageError(f"there is no engine {kind!r}", "there are kernel, usbfs and none")
    if "virtual" in options.all:
        from router.usbip.virtual.engine import VirtualEngine, make_device

        virtual = VirtualEngine(loop, observers.tap)
        engines.append(virtual)
        for text in options.all["virtual"]:
            virtual.plug(make_device(text))


def make_confined(loop: event_loop.Loop, options: Options) -> Confined | None:
    """The server's confinement, if the options ask for one."""
    if "confine" not in options.all:
        return None
    from router.usbip.server.confined import Confined

    return Confined(loop, Sysfs(options.get("sysfs", "/sys")))


def start_control(
    loop: event_loop.Loop, server: Server, options: Options, file: str, observers: Observers
) -> Control | None:
    """The control socket. Without its default place the server does without; a place that was asked for must be had."""
    from router.usbip.server.control import SOCKET, Control

    path = options.get("control", SOCKET)
    if not path:
        return None
    try:
        return Control(loop, server, path, file, observers.statistics)
    except RouterError as error:
        if "control" in options.all:
            raise
        log(f"no control socket: {error.message}")
        return None


def start_agent(loop: event_loop.Loop, server: Server, options: Options) -> AnsweringPipe | None:
    """What answers the control agent, if there is one."""
    if "agent" not in options.all:
        return None
    from router.usbip.runtime.pipe import answer_agent
    from router.usbip.server.control import status_json

    return answer_agent(loop, "status", lambda: status_json(server), options.get("agent"))


def reload(server: Server, file: str) -> None:
    """Takes the policy file's new contents; a wrong file is reported and the old policy stays."""
    try:
        server.set_policy(load_policy(file))
        log(f"{file}: {len(server.policy.rules)} rules")
    except RouterError as error:
        log(f"{error}; the policy stays as it was")


def warn_of_bus_numbers(sysfs: Sysfs, policy: Policy) -> None:
    """Says which rules name a port by a bus number though several controllers could have had that number."""
    buses = controllers(sysfs)
    if len({tuple(names) for names in buses.values()}) < 2:
        return
    for rule in policy.rules:
        if rule.path is None or "/" in rule.path or rule.at_run_time:
            continue
        bus, _, chain = rule.path.partition("-")
        now = [f"{name}/{chain}" for name in buses.get(bus, ())]
        log(
            f"line {rule.line}: which controller has bus {bus} depends on which one starts first;"
            f" path {rule.path} is {' or '.join(now) or 'no port'} this time"
        )


def follow_devices(loop: event_loop.Loop, server: Server, confined: Confined | None) -> Uevents | None:
    """Rescans on the kernel's hot-plug messages, or every 2 s where there are none."""
    try:
        uevents = Uevents()
    except OSError as error:
        log(f"no kernel uevents ({error.strerror}): looking for devices every {SCAN_INTERVAL_S:g} s")

        def again() -> None:
            if confined:
                confined.look()
            server.rescan()
            loop.call_later(SCAN_INTERVAL_S, again)

        loop.call_later(SCAN_INTERVAL_S, again)
        return None

    def heard(_: int) -> None:
        messages = uevents.read()
        if messages is None or any(message.get("DEVTYPE") == "usb_device" for message in messages):
            if confined:
                confined.look()
            server.rescan_soon()

    loop.watch(uevents.fileno(), event_loop.IN, heard)
    return uevents
