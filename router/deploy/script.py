# SPDX-License-Identifier: BSD-2-Clause
"""The U-Boot commands of a deployment, decided before any is sent: `--dry-run` prints what the runner sends. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from router.deploy.job import Job
from router.deploy.plan import Payload
from router.errors import MachineError
from router.lab.board import Board

WRITES_A_SECOND = 300_000  # bytes/s: a slow link, for time limits only
UBOOT_ROOM = 4 << 20  # bytes below its own code that U-Boot uses for stack and heap

IDENTIFY = "printenv board board_name fdtfile soc"
MEMORY = "bdinfo"


@dataclass(frozen=True, slots=True)
class UBootStep:
    """One command. seconds: how long it may take, quiet: how long in silence."""

    command: str
    seconds: float = 10.0
    quiet: float | None = None


def served_name(item: Payload, board: Board) -> str:
    """The name under which TFTP offers a payload: short, different for different contents, and for each board.

    What boards get of one build differs: each has seeds of its own in it.
    """
    owner, base = (re.sub(r"[^\w.-]", "_", text)[-40:] for text in (board.name, item.file.rsplit("/", 1)[-1]))
    return f"router-{item.sha256[:12]}-{owner}-{base}"


def network_steps(board: Board, port: int) -> list[UBootStep]:
    """Set up the network for this session only; nothing is saved."""
    network = board.network
    if network is None:
        return []
    steps = [UBootStep(f"setenv ethact {network.device}")] if network.device else []
    if network.board == "dhcp":
        steps += [UBootStep("setenv autoload no"), UBootStep("dhcp", seconds=60.0)]
    else:
        interface = ipaddress.IPv4Interface(network.board)
        steps += [UBootStep(f"setenv ipaddr {interface.ip}"), UBootStep(f"setenv netmask {interface.netmask}")]
    steps.append(UBootStep(f"setenv serverip {network.server}"))
    if network.gateway:
        steps.append(UBootStep(f"setenv gatewayip {network.gateway}"))
    # netretry: give up instead of starting over for ever. tftptimeout, in milliseconds: the default is five seconds.
    steps += [UBootStep("setenv netretry no"), UBootStep("setenv tftptimeout 1000")]
    steps.append(UBootStep(f"setenv tftpblocksize {board.tftp.blksize}"))
    if board.tftp.window > 1:
        steps.append(UBootStep(f"setenv tftpwindowsize {board.tftp.window}"))
    if port != 69:
        steps.append(UBootStep(f"setenv tftpdstp {port}"))
    return steps


def load_step(board: Board, item: Payload, prefix: str = "") -> UBootStep:
    """The command that loads one payload. prefix: of its name in the TFTP folder."""
    if board.load == "tftp":
        limit = 30 + item.size / WRITES_A_SECOND
        return UBootStep(f"tftpboot {item.address:#x} {prefix}{served_name(item, board)}", seconds=limit, quiet=20.0)
    return UBootStep(f"loady {item.address:#x}", seconds=60 + item.size / 1000)


def verify_step(item: Payload) -> UBootStep:
    """The command whose output `crc_of` reads."""
    return UBootStep(f"crc32 {item.address:#x} {item.size:#x}", seconds=30 + item.size / 10_000_000)


def all_steps(job: Job, folder: str | None = None) -> list[tuple[str, list[UBootStep]]]:
    """Everything that would be sent, by section; the TFTP port is the wanted one.

    folder: what stands before the files' names where a TFTP folder of labgrid's has them.
    """
    plan, board = job.plan, job.board
    sections: list[tuple[str, list[UBootStep]]] = []
    if plan.identity:
        sections.append(("identify", [UBootStep(IDENTIFY)]))
    sections.append(("memory", [UBootStep(MEMORY)]))
    if board.load == "tftp":
        port = board.tftp.port if board.tftp.root is None and folder is None else 69
        sections.append(("network", network_steps(board, port)))
    for item in plan.payloads:
        sections.append((f"load {item.file}", [load_step(board, item, folder or ""), verify_step(item)]))
    if plan.prepare:
        sections.append(("prepare", [UBootStep(command) for command in plan.prepare]))
    if job.options.save:
        sections.append(("save", [UBootStep("saveenv", seconds=30.0)]))
    return [*sections, ("start", [UBootStep(plan.start)])]


def crc_of(output: str) -> int | None:
    """The checksum in the output of `crc32`, or None when it has none."""
    match = re.search(r"==>\s*([0-9a-fA-F]{8})\b", output)
    return int(match.group(1), 16) if match else None


def bytes_of(output: str) -> int | None:
    """How many bytes a load command says it has loaded."""
    if match := re.search(r"Bytes transferred = (\d{1,12})\b", output):
        return int(match.group(1))
    if match := re.search(r"## Total Size\s{0,9}=\s{0,9}0x[0-9a-fA-F]{1,16} = (\d{1,12}) Bytes", output):
        return int(match.group(1))
    return None


def check_memory(output: str, payloads: tuple[Payload, ...]) -> None:
    """See from `bdinfo` that every payload lies in RAM and clear of U-Boot; MachineError otherwise.

    Both layouts are read: `-> start = 0x…` with `-> size = 0x…`, as U-Boot prints it since 2009, and nothing else; a
    board whose `bdinfo` has neither is not checked.
    """
    starts = [int(text, 16) for text in re.findall(r"->\s{0,9}start\s{0,9}=\s{0,9}(0x[0-9a-fA-F]{1,16})\b", output)]
    sizes = [int(text, 16) for text in re.findall(r"->\s{0,9}size\s{0,9}=\s{0,9}(0x[0-9a-fA-F]{1,16})\b", output)]
    banks = [(start, start + size) for start, size in zip(starts, sizes, strict=False) if size]
    if not banks:
        return
    moved = re.search(r"relocaddr\s{0,9}=\s{0,9}(0x[0-9a-fA-F]{1,16})\b", output)
    own = int(moved.group(1), 16) if moved else None
    for item in payloads:
        first, last = item.address, item.address + item.size
        if not any(start <= first and last <= end for start, end in banks):
            memory = ", ".join(f"[{start:#x}, {end:#x})" for start, end in banks)
            raise MachineError(
                f"{item.file} [{first:#x}, {last:#x}) does not fit this board's memory {memory}",
                hint="is this the board that the system was built for?",
            )
        if own is not None and first < own + UBOOT_ROOM and last > own - UBOOT_ROOM:
            raise MachineError(
                f"{item.file} [{first:#x}, {last:#x}) would overwrite the boot loader at {own:#x}",
                hint="the load address is a board fact; was the system built for another board?",
            )
