# SPDX-License-Identifier: BSD-2-Clause
"""Requests to a running server over a local socket: one line of words in, "ok" and a text out.

`status [json]`, `stats [json|prometheus]`, `reload`, `grant CLIENT BUSID [PORT] [take]`, `revoke CLIENT BUSID`. A
refusal is "error", an exit code, and below it the message and the hint. A process that may open the socket (mode 0600)
may do all this.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from router.errors import HostError, RouterError
from router.usbip.runtime import event_loop, net
from router.usbip.runtime.log import log
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.runtime.text import error_text, printable
from router.usbip.server.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from router.usbip.policy.rules import Decision, Policy, Rule
    from router.usbip.protocol.device import Device
    from router.usbip.server.statistics import Statistics

SOCKET = "/run/router-usbip.sock"
_MAX_REQUEST = 4096
_MAX_ASKERS = 16
_REQUEST_TIMEOUT_S = 5.0


def describe(server: Server) -> dict[str, Any]:
    """The server's state as plain data: every device that is there, whether it is exported, to whom and where."""
    devices: list[dict[str, Any]] = []
    clients = sorted({rule.client for rule in server.policy.rules if rule.allow})
    for engine in server.engines:
        for busid, device in sorted(server.seen(engine).items()):
            export = server.exports.get(busid)
            granted: list[dict[str, Any]] = []
            taken: list[str] = []
            for client in clients:
                decision = server.policy.decide(client, device)
                if not decision.allowed and decision.rule and decision.rule.at_run_time:
                    taken.append(client)
                if decision.allowed:
                    granted.append(
                        {
                            "client": client,
                            "port": decision.port,
                            "rule": decision.reason,
                            "words": decision.rule.text if decision.rule else "",
                        }
                    )
            devices.append(
                {
                    "busid": busid,
                    "peer": device.peer,
                    "busnum": device.busnum,
                    "devnum": device.devnum,
                    "device": device.vidpid,
                    "manufacturer": device.manufacturer,
                    "product": device.product,
                    "serial": device.serial,
                    "speed": device.speed,
                    "class": list(device.triple),
                    "interfaces": [list(triple) for triple in device.interfaces],
                    "engine": engine.name,
                    "exported": bool(export and export.claimed),
                    "client": export.client or "unknown" if export and export.session else None,
                    "granted": granted,
                    "taken": taken,
                    "disk": None,
                    "parts": [],
                    "clients": [],
                }
            )
            if rule := server.policy.disk_rule(device):
                devices[-1].update(as_disk(server.policy, device, rule))
            if parts := server.policy.parts(device):
                devices[-1].update(as_parts(device, parts))
    return {"devices": devices, "watching": server.watchers()}


def as_disk(policy: Policy, device: Device, rule: Rule) -> dict[str, Any]:
    """What is different of a device that goes as blocks: another program exports it, see `serve_disks`.

    rule: what makes it go so. clients: those that have a port for disks.
    """
    from router.usbip.protocol.disks import base_name
    from router.usbip.server.disk_units import read_units
    from router.usbip.server.nvmet import exported

    sysfs = Sysfs()
    blocks = {unit.block for unit in read_units(sysfs, device)} - {""}
    holder = next((client for client, tcp in policy.places.items() if exported(sysfs, tcp, blocks)), None)
    granted = [(decision, decision.rule) for decision in policy.blocks(device) if decision.rule]
    return {
        "exported": holder is not None,
        "client": holder,
        "granted": [
            {"client": one.client, "port": 0, "rule": decision.reason, "words": one.text} for decision, one in granted
        ],
        "disk": base_name(device, granted[0][1].name if granted else rule.name),
        "clients": list(policy.places),
    }


def as_parts(device: Device, decisions: list[Decision]) -> dict[str, Any]:
    """The same of a device of which clients get parts. Its client is the first one that has one."""
    from router.usbip.protocol.disks import part_name
    from router.usbip.server.disk_units import read_units
    from router.usbip.server.nvmet import exported

    sysfs = Sysfs()
    blocks: dict[str, set[str]] = {}
    for unit in read_units(sysfs, device, parts=True):
        for part in unit.parts:
            blocks.setdefault(part.name, set()).add(part.block)
    parts, granted = [], []
    for decision in decisions:
        rule = decision.rule
        assert rule is not None, "what is allowed is allowed by a rule"
        there = exported(sysfs, rule.tcp, blocks.get(part_name(rule.name, rule.owner), set()))
        parts.append({"client": rule.client, "disk": rule.name, "exported": there})
        granted.append({"client": rule.client, "port": 0, "rule": decision.reason, "words": rule.text})
    return {
        "exported": any(part["exported"] for part in parts),
        "client": next((part["client"] for part in parts if part["exported"]), None),
        "granted": granted,
        "disk": ", ".join(str(part["disk"]) for part in parts),
        "parts": parts,
    }


def status_json(server: Server) -> str:
    """The state as a line of JSON."""
    from router.usbip.runtime import jsontext

    return jsontext.dumps(describe(server)) + "\n"


def status_text(answer: dict[str, Any]) -> str:
    """The state as text to read."""
    lines: list[str] = []
    for device in answer["devices"]:
        name = " ".join(part for part in (device["manufacturer"], device["product"]) if part) or "unnamed"
        lines.append(f"{device['busid']:<10}{device['device']}  {printable(name)}")
        for part in device["parts"]:
            if part["exported"]:
                lines.append(f"{'':<10}in use by {printable(part['client'])} as the disk {printable(part['disk'])}")
        if device["client"] and not device["parts"]:
            how = f" as the disk {printable(device['disk'])}" if device["disk"] else ""
            lines.append(f"{'':<10}in use by {printable(device['client'])}{how}")
        elif device["exported"] and not device["parts"]:
            lines.append(f"{'':<10}exported, not in use")
        elif not device["exported"]:
            lines.append(f"{'':<10}not exported")
        for grant in device["granted"]:
            port = f" on port {grant['port']}" if grant["port"] else ""
            lines.append(f"{'':<10}granted to {printable(grant['client'])}{port} ({printable(grant['rule'])})")
    return "\n".join(lines or ["no USB device is here"]) + "\n"


class Control:
    """The server's end. HostError if the socket cannot be made."""

    def __init__(
        self, loop: event_loop.Loop, server: Server, path: str, policy: str, statistics: Statistics | None
    ) -> None:
        self._loop = loop
        self._server = server
        self._path = path
        self._policy = policy
        self._statistics = statistics
        self._askers: set[_Asker] = set()
        before = os.umask(0o177)
        try:
            self._listener = net.listen(net.Address("unix", path, 0))
        finally:
            os.umask(before)
        loop.watch(self._listener.fileno(), event_loop.IN, self._accept)

    def close(self) -> None:
        self._loop.forget(self._listener.fileno())
        self._listener.close()
        try:
            os.unlink(self._path)
        except OSError:
            # It is gone, or a confined server may not remove it: the next one replaces a socket without a listener.
            return

    def _accept(self, _: int) -> None:
        try:
            sock, _where = self._listener.accept()
        except OSError:
            return
        if len(self._askers) >= _MAX_ASKERS:
            sock.close()
            return
        sock.setblocking(False)
        self._askers.add(_Asker(self._loop, sock, self.answer, self._askers.discard))

    def answer(self, words: list[str]) -> str:
        """What a request's words bring about. May raise RouterError."""
        from router.usbip.policy import edit as policy_edit
        from router.usbip.runtime import jsontext
        from router.usbip.server.statistics import Statistics, table

        statistics = self._statistics or Statistics()
        match words:
            case ["status"]:
                return status_text(describe(self._server))
            case ["status", "json"]:
                return status_json(self._server)
            case ["stats"]:
                return table(statistics.data())
            case ["stats", "json"]:
                return jsontext.dumps(statistics.data()) + "\n"
            case ["stats", "prometheus"]:
                return statistics.prometheus()
            case ["reload"]:
                return self._reload()
            case ["grant", client, busid, *rest] if len(rest) <= 2:
                take = "take" in rest
                port = next((int(word) for word in rest if word.isdecimal()), 0)
                self._check_free(client, busid, take)
                self._check_road(busid, port)
                policy_edit.grant(self._policy, client, self._find(busid), port)
                return self._reload()
            case ["revoke", client, busid]:
                self._check_road(busid)
                device = self._find(busid)
                policy_edit.revoke(self._policy, client, device)
                return self._reload()
        raise HostError(f"the request {' '.join(words)!r} is not understood", "status, stats, reload, grant, revoke")

    def _find(self, busid: str) -> Any:
        for engine in self._server.engines:
            device = self._server.seen(engine).get(busid)
            if device:
                return device
        raise HostError(f"there is no device {busid}", "`usbip status` shows what is there")

    def _check_road(self, busid: str, port: int = 0) -> None:
        policy, device = self._server.policy, self._find(busid)
        if policy.parts(device):
            raise HostError(
                f"{busid} goes to its clients in parts, and a part stays with its client",
                "router disk prepare makes parts for other clients",
            )
        if port and policy.disk_rule(device):
            raise HostError(f"{busid} goes as blocks, and such a disk is on no virtual port", "leave --port out")

    def _check_free(self, client: str, busid: str, take: bool) -> None:
        device = self._find(busid)
        export = self._server.exports.get(busid)
        holder = export.client if export and export.session else None
        if rule := self._server.policy.disk_rule(device):
            holder = as_disk(self._server.policy, device, rule)["client"]
        if holder and holder != client and not take:
            raise HostError(f"{busid} is in use by {holder}", "revoke it there first, or add --take")

    def _reload(self) -> str:
        from router.usbip.policy.file import load_policy

        self._server.set_policy(load_policy(self._policy))
        return f"{self._policy}: {len(self._server.policy.rules)} rules\n"


class _Asker:
    """One connection: reads a line, answers, and ends."""

    def __init__(
        self,
        loop: event_loop.Loop,
        sock: socket.socket,
        answer: Callable[[list[str]], str],
        ended: Callable[[_Asker], None],
    ) -> None:
        self._ended = ended
        self._loop = loop
        self._socket = sock
        self._answer = answer
        self._in = bytearray()
        self._out = b""
        self._timer = loop.call_later(_REQUEST_TIMEOUT_S, self._close)
        loop.watch(sock.fileno(), event_loop.IN, self._ready, self._fail)

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, OSError):
            log(f"a request on the control socket: {error_text(error)}")
        self._close()

    def _close(self) -> None:
        self._ended(self)
        self._timer.cancel()
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()

    def _ready(self, _: int) -> None:
        try:
            if not self._out:
                part = self._socket.recv(_MAX_REQUEST)
                self._in += part
                if not part or len(self._in) > _MAX_REQUEST:
                    self._close()
                    return
                if b"\n" not in self._in:
                    return
                self._out = self._reply(self._in.split(b"\n")[0].decode("utf-8", "replace").split())
            self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            pass
        if self._out:
            self._loop.watch(self._socket.fileno(), event_loop.OUT, self._ready, self._fail)
        else:
            self._close()

    def _reply(self, words: list[str]) -> bytes:
        try:
            return b"ok\n" + self._answer(words).encode("utf-8", "backslashreplace")
        except RouterError as error:
            where = f"{error.where}: " if error.where else ""
            text = f"error {error.exit_code}\n{where}{error.message}\n{error.hint or ''}\n"
            return text.encode("utf-8", "backslashreplace")


def ask(words: list[str], path: str = SOCKET, timeout: float = 10.0) -> str:
    """A running server's answer. RouterError if none runs, or what it says against the request."""
    from router.usbip.runtime.options import UsageError

    sock = net.connect(net.Address("unix", path, 0), timeout)
    data = b""
    with sock:
        try:
            sock.sendall(" ".join(words).encode("utf-8", "surrogateescape") + b"\n")
            while part := sock.recv(65536):
                data += part
        except OSError as error:
            raise HostError(f"the server does not answer: {error_text(error)}", "see its log") from error
    head, _, text = data.decode("utf-8", "replace").partition("\n")
    if head == "ok":
        return text
    message, _, hint = text.partition("\n")
    kind = UsageError if head == "error 2" else HostError
    raise kind(message or "the server ended without an answer", hint.strip() or None)
