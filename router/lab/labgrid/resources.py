# SPDX-License-Identifier: BSD-2-Clause
"""What a place's exporters offer, as a board of ours uses it: a serial URL, power commands, a TFTP folder.

Resource classes, their parameters and the SSH forwarding of isolated exporters are labgrid's own (its reference).
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from router.errors import DescriptionError, HostError, MachineError
from router.lab.board import Labgrid, Power
from router.lab.labgrid.session import modules
from router.words import listing, quoted

SERIAL = "NetworkSerialPort"
TFTP = "RemoteTFTPProvider"
POWER = (
    *("NetworkPowerPort", "NetworkUSBPowerPort", "NetworkSiSPMPowerPort", "PDUDaemonPort", "TasmotaPowerPort"),
    *("NetworkYKUSHPowerPort", "NetworkSysfsGPIO"),
)
"""What `labgrid-client power` can switch (its ClientSession.power)."""
POWER_BY_SSH = ("NetworkUSBPowerPort", "NetworkSiSPMPowerPort", "NetworkYKUSHPowerPort", "NetworkSysfsGPIO")
"""Of these, those that labgrid's drivers switch by a command on the exporter's host."""

NEGOTIATION_TIMEOUT_S = 20
"""For the exporter's program to agree to the line's settings (RFC 2217); pyserial's 3 s are short for a busy host."""

HOST = r"(?!-)[\w.:-]+"
PROXY = r"(?!-)[\w.:@-]+"
FOLDER = r"(?!-)[\w./+@-]*"
PREFIX = r"[\w./+-]*"
ARGUMENT = r"(?!-)[\w.:/@+-]*"
"""What an exporter may send where labgrid or U-Boot uses it in a shell command, an argument of ssh, or a URL."""

Offer = tuple[str, str, Any]
"""The name in the place, the path in the lab, and labgrid's ResourceEntry."""


def serial_of(offers: Iterable[Offer], labgrid: Labgrid) -> Offer:
    """The place's serial port, or the one that the lab file names; DescriptionError or MachineError without."""
    ports = [each for each in offers if each[2].cls == SERIAL]
    if not ports:
        raise MachineError(
            f"place '{labgrid.place}' has no serial port now",
            hint="does its exporter run? `labgrid-client -p PLACE show` lists what the place matches",
        )
    if labgrid.serial is not None:
        ports = [each for each in ports if each[0] == labgrid.serial]
    if len(ports) != 1:
        names = [name for name, _, entry in offers if entry.cls == SERIAL]
        raise DescriptionError(
            f"place '{labgrid.place}' has the serial ports {quoted(names)}",
            hint=f"labgrid: {{place: {labgrid.place}, serial: NAME}} in the lab file picks {listing(names)}",
        )
    return ports[0]


def resource_of(offer: Offer) -> Any:
    """labgrid's Resource of an offer, as its drivers take it."""
    target, factory = modules("labgrid.target", "labgrid.factory")
    name, path, entry = offer
    try:
        made = factory.target_factory.make_resource(target.Target("router"), entry.cls, name, entry.args)
    except Exception as error:  # an exporter may send anything
        raise MachineError(f"labgrid cannot use this resource: {error}", where=path) from None
    made.extra = entry.extra
    return made


def url_of(resource: Any) -> str:
    """The URL under which pyserial opens a NetworkSerialPort, through an SSH forward where the exporter wants one."""
    where = "the place's serial port"
    _check("host", resource.host, HOST, where)
    _check_proxy(getattr(resource, "extra", None), where)
    (proxy,) = modules("labgrid.util.proxy")
    try:
        host, port = proxy.proxymanager.get_host_and_port(resource)
    except Exception as error:
        raise HostError(f"no connection to the exporter {resource.host}: {error}") from None
    if port is None:
        raise MachineError("the exporter has not opened the serial port", hint="its log says why", where=resource.host)
    host = f"[{host}]" if ":" in host else host
    # The exporter decides on flow control lines; a board may be reset by them.
    if resource.protocol == "rfc2217":
        return f"rfc2217://{host}:{port}?ign_set_control&timeout={NEGOTIATION_TIMEOUT_S}"
    return f"socket://{host}:{port}"


def power_of(offers: Iterable[Offer], labgrid: Labgrid, coordinator: str) -> Power | None:
    """The commands that switch the place's power port; None when it has none that labgrid-client switches."""
    ports = [each for each in offers if each[2].cls in POWER]
    if not ports:
        return None
    for _, path, entry in ports:
        _check_proxy(entry.extra, path)
        if entry.cls in POWER_BY_SSH:
            _check("host", entry.args.get("host"), HOST, path)
            for name, value in entry.args.items():
                if isinstance(value, str):
                    _check(name, value, ARGUMENT, path)
    # Variables that would have it read an environment file of the user's, with other places in it.
    client = ["env", *(f"--unset=LG_{name}" for name in ("ENV", "STATE", "INITIAL_STATE"))]
    client += [sys.executable, "-P", "-m", "labgrid.remote.client", "-x", coordinator, "-p", labgrid.place, "power"]
    on, off, cycle = (shlex.join([*client, action]) for action in ("on", "off", "cycle"))
    return Power(on=on, off=off, cycle=cycle)


def tftp_of(offers: Iterable[Offer]) -> Offer | None:
    """The place's TFTP folder, if it has one."""
    return next((each for each in offers if each[2].cls == TFTP), None)


def prefix_of(offer: Offer) -> str:
    """What a board puts before the name of a file in this folder to ask for it; MachineError when that is unusable."""
    external = _check("external", offer[2].args.get("external"), PREFIX, offer[1]).strip("/")
    return f"{external}/" if external else ""


def stage(offer: Offer) -> Callable[[Mapping[str, Path]], str]:
    """What puts files into this folder, as labgrid's TFTPProviderDriver does: over SSH, with a link in it.

    MachineError when the exporter's values cannot be used in the commands for that.
    """
    _, path, entry = offer
    prefix = prefix_of(offer)
    _check("internal", entry.args.get("internal"), FOLDER, path)
    _check("host", entry.args.get("host"), HOST, path)
    resource = resource_of(offer)
    (managed,) = modules("labgrid.util.managedfile")

    def put(files: Mapping[str, Path]) -> str:
        for name, path in files.items():
            try:
                # Never in place, as labgrid links files on a common disk: a TFTP server may not read our private copy.
                one = managed.ManagedFile(str(path), resource, detect_nfs=False)
                one.sync_to_resource(symlink=str(PurePosixPath(resource.internal) / name))
            except Exception as error:  # ExecutionError, ManagedFileError, and what ssh's absence raises
                raise HostError(
                    f"cannot put {name} into the TFTP folder of {resource.host}: {error}",
                    hint=f"labgrid wants SSH to that host, /var/cache/labgrid/USER there, and a writable"
                    f" {resource.internal}",
                    where=offer[1],
                ) from None
        return prefix

    return put


def _check(name: str, value: object, pattern: str, where: str) -> str:
    """An exporter's value; MachineError unless it is a string of the pattern."""
    if not isinstance(value, str) or re.fullmatch(pattern, value, re.ASCII) is None:
        raise MachineError(
            f"the exporter's `{name}` cannot be used: {ascii(value)[:80]}",
            hint=f"router takes what matches {pattern}; the exporter's configuration has it",
            where=where,
        )
    return value


def _check_proxy(extra: Mapping[str, Any] | None, where: str) -> None:
    """The host through which an isolated exporter is reached; labgrid gives it to ssh."""
    if extra and extra.get("proxy") is not None:
        _check("proxy", extra["proxy"], PROXY, where)
