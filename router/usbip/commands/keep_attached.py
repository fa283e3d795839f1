# SPDX-License-Identifier: BSD-2-Clause
"""The verb `keep-attached`: keep attached what a server grants."""

from __future__ import annotations

import os
import signal

from router.errors import DescriptionError, HostError
from router.usbip.client.disks import follow_disks
from router.usbip.client.keep_attached import KeepAttached
from router.usbip.client.vhci import STATE_DIR, Vhci
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log, milestone
from router.usbip.runtime.net import parse_address
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.runtime.pipe import AnsweringPipe

USAGE = """usage: usbip keep-attached [--config FILE] [SERVER] [--ports N] [--usb 2|3] [OPTION…]

Attaches whatever SERVER grants to this machine, and attaches it again when server or device come back.

  --config FILE     lines `server ADDRESS`, `ports N`, `usb 2|3`, `validate yes|no`; /etc/router/usb-attach where no
                    SERVER is given
  --ports N         use the virtual ports 1 to N only
  --usb 2           a USB 2 controller: leaves super-speed devices alone
  --only BUSID      this device only; repeatable
  --max-sectors N   how much a USB disk may move in one command, in 512-byte sectors (2048 by default, 0: leave it)
  --tcp-port PORT   another port than 3240
  --validate        judge all that SERVER returns before the kernel sees it, for a server that is not trusted
  --fit             leave one virtual controller of --ports and --usb: this machine's are all for this program
  --detach          on the way out, detach what was attached
  --agent FOLDER    answer `usbip ports --json` for the control agent whose pipes are in that folder
  --confine USER    run as USER, with nothing that keeping devices attached does not need

Ends on SIGTERM and SIGINT.
"""

CONFIG = "/etc/router/usb-attach"
MAX_SECTORS = 2048


def parse_attach(text: str, file: str) -> dict[str, str]:
    """The settings in a usb-attach file: server, ports, usb, validate. DescriptionError names the wrong line."""
    settings: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        where = f"{file}:{number}"
        if len(words) != 2 or words[0] not in ("server", "ports", "usb", "validate"):
            raise DescriptionError(
                f"{line.strip()!r} is not understood",
                "write server ADDRESS, ports N, usb 2|3 or validate yes|no",
                where,
            )
        if words[0] in settings:
            raise DescriptionError(f"{words[0]!r} is there twice", "keep one of the two", where)
        name, value = words
        if (
            (name == "usb" and value not in ("2", "3"))
            or (name == "validate" and value not in ("yes", "no"))
            or (name == "ports" and not (value.isascii() and value.isdecimal() and len(value) < 6))
        ):
            raise DescriptionError(f"{name} cannot be {value!r}", "write ports N, usb 2|3 or validate yes|no", where)
        settings[words[0]] = words[1]
    return settings


def render_attach(server: str, ports: int = 0, usb: int = 3, validate: bool = False) -> str:
    """The usb-attach file for a guest: which server, how many virtual ports (0: all), of which USB version (2 or 3).

    validate: check what the server answers before the guest's kernel sees it.
    """
    text = f"server {server}\n" + (f"ports {ports}\n" if ports else "") + f"usb {usb}\n"
    text += "validate yes\n" if validate else ""
    parse_attach(text, "usb-attach")
    return text


def fit_controllers(vhci: Vhci, keeper: KeepAttached) -> None:
    """Devices are attached even where this fails: the keeper uses its own ports only, whatever else exists."""
    from router.usbip.client.controllers import fit

    try:
        fit(vhci, keeper.limit, keeper.usb)
    except HostError as error:
        log(error.message)


def confine_keeper(vhci: Vhci, user: str) -> None:
    """Keeps the virtual controllers, their devices and the notes of what is attached. May raise HostError."""
    from router.usbip.confinement import Needs, confine
    from router.usbip.confinement.seccomp import CONNECT

    os.makedirs(vhci.state_dir, mode=0o700, exist_ok=True)
    for missing in confine(Needs(user, [vhci.state_dir, *vhci.folders()], CONNECT)):
        milestone(f"unhardened: {missing}")


def start_agent(loop: event_loop.Loop, vhci: Vhci, folder: str) -> AnsweringPipe | None:
    """What answers the control agent. To be called before this process confines itself."""
    from router.usbip.commands.ports import ports_json
    from router.usbip.runtime.pipe import answer_agent
    from router.usbip.runtime.proc import InitsMounts

    mounts = InitsMounts()
    return answer_agent(loop, "ports", lambda: ports_json(vhci, mounts), folder)


def run(_: str, argv: list[str]) -> int:
    options = Options(
        argv,
        {
            "--config": "config",
            "--ports": "ports",
            "--usb": "usb",
            "--only": "only",
            "--max-sectors": "max-sectors",
            "--tcp-port": "tcp-port",
            "-t": "tcp-port",
            "--sysfs": "sysfs",
            "--state": "state",
            "--agent": "agent",
            "--confine": "confine",
        },
        {"--detach": "detach", "--validate": "validate", "--fit": "fit"},
    )
    settings: dict[str, str] = {}
    if options.words:
        settings["server"] = options.words[0]
    if not options.words or "config" in options.all:
        file = options.get("config", CONFIG)
        try:
            with open(file, encoding="utf-8") as config:
                settings = parse_attach(config.read(), file) | settings
        except OSError as error:
            raise DescriptionError(
                f"cannot read it: {error.strerror}", "name a SERVER, or a file by --config", file
            ) from error
    for name in ("ports", "usb"):
        if name in options.all:
            settings[name] = str(options.number(name, 0))
    if "server" not in settings or len(options.words) > 1:
        raise UsageError("keep-attached takes one SERVER", "see --help")
    if settings.get("usb", "3") not in ("2", "3"):
        raise UsageError("--usb is 2 or 3", "see --help")
    sysfs = Sysfs(options.get("sysfs", "/sys"))
    vhci = Vhci(sysfs, options.get("state", STATE_DIR))
    vhci.check()
    loop = event_loop.Loop()
    agent: AnsweringPipe | None = None
    keeper = KeepAttached(
        loop,
        parse_address(settings["server"], options.number("tcp-port", 3240)),
        vhci,
        int(settings.get("ports", "0")),
        int(settings.get("usb", "3")),
        set(options.all["only"]) if "only" in options.all else None,
        "validate" in options.flags or settings.get("validate") == "yes",
    )
    try:
        follow_disks(loop, sysfs, options.number("max-sectors", MAX_SECTORS))
        loop.on_signal(signal.SIGTERM, loop.stop)
        loop.on_signal(signal.SIGINT, loop.stop)
        if "agent" in options.all:
            agent = start_agent(loop, vhci, options.get("agent"))
        if "confine" in options.all:
            if "fit" in options.flags:
                fit_controllers(vhci, keeper)
            # Before anything that the server says is looked at.
            confine_keeper(vhci, options.get("confine"))
            keeper.start()
        else:
            keeper.start()
            if "fit" in options.flags:
                fit_controllers(vhci, keeper)
        loop.run()
    finally:
        if agent:
            agent.close()
        keeper.close(detach="detach" in options.flags)
        loop.close()
    return 0
