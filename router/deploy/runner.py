# SPDX-License-Identifier: BSD-2-Clause
"""The deployment, on the computer that the board is wired to: lock, prompt, load, verify, start, watch."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import re
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from router import files
from router.console.serial_port import SerialPort
from router.deploy import script, state
from router.deploy.advice import explain
from router.deploy.boot import Watcher
from router.deploy.events import Reporter, stoppable
from router.deploy.holder import set_clocks
from router.deploy.job import Job
from router.deploy.plan import Payload, compile_pattern, take_payload
from router.deploy.tftp.server import TftpEvent, TftpServer
from router.deploy.uboot import UBoot
from router.deploy.ymodem import Sender
from router.errors import HostError, MachineError, RouterError, Stopped, reason
from router.lab import power
from router.lab.board import Board
from router.lab.taken import Taken, taken
from router.seeds import fill

MAX_TFTP_TRIES = 3  # unanswered requests (`T `) after which the boot loader must be asking another port


def deploy(job: Job, reporter: Reporter) -> None:
    """Bring the job's board up; raises a RouterError when it does not come up. The lock and the line are freed."""
    with stoppable("the board's lock and serial line are free"), _taken(job, reporter) as board:
        bring_up(job, board, reporter)
    reporter.say("result", ok=True)


def bring_up(job: Job, taken: Taken, reporter: Reporter) -> None:
    """Bring up a board that is ours already; raises a RouterError when it does not come up."""
    board, plan = taken.board, job.plan
    job = dataclasses.replace(job, board=board)
    with _sent(job) as job, taken.line(plan.baud, _log(job)) as line:
        uboot = UBoot(
            line,
            board.prompt or plan.prompt,
            board.stop_keys.encode(),
            lambda text: reporter.say("command", text=text),
            board.autoboot,
        )
        _reach(job, taken, uboot, reporter)
        state.forget(board.name)
        try:
            with _tftp(job, taken, reporter) as tftp:
                _prepare(job, uboot, reporter, tftp)
                for item in job.plan.payloads:
                    _load(job, item, uboot, line, reporter, tftp)
                for command in plan.prepare:
                    uboot.check(command)
                if job.options.save:
                    uboot.check("saveenv", 30)
        except RouterError:
            with contextlib.suppress(MachineError):  # the first error is the one to tell
                uboot.abandon()
            raise
        _watch(job, uboot, line, reporter)


def dry_run(job: Job) -> list[str]:
    """Every command that `deploy` would send, and what else it would do, one line each."""
    folder = None
    if job.board.labgrid is not None:
        from router.lab.labgrid.place import preview

        board, folder = preview(job.board)
        job = dataclasses.replace(job, board=board)
    board, plan = job.board, job.plan
    lines = [f"# board {board.name} ({board.kind}) on {board.serial} at {board.baud or plan.baud} baud"]
    if job.options.power and power.can(board, "cycle"):
        lines += [f"$ {command}" for command in power.commands(board, "cycle")]
    else:
        lines.append("# uses the prompt if one answers, else asks for a reset")
    if board.load == "tftp":
        place = f"tftp port {board.tftp.port}: "
        if board.tftp.root or folder is not None:
            place = f"{board.tftp.root}/" if board.tftp.root else f"the place's TFTP folder: {folder}"
        lines += [f"# serves {place}{script.served_name(item, board)} ({item.size} bytes)" for item in plan.payloads]
    for section, steps in script.all_steps(job, folder):
        lines.append(f"# {section}")
        lines += [f"=> {step.command}" for step in steps]
    lines += [f"# waits for '{item.name}': {item.pattern}" for item in plan.milestones]
    return lines


def _reach(job: Job, taken: Taken, uboot: UBoot, reporter: Reporter) -> None:
    actions = taken.actions if job.options.power else ()
    with reporter.step("prompt") as said:
        if "cycle" in actions:
            taken.switch("cycle")
            uboot.catch(job.options.catch_seconds)
            said.append("after a power cycle")
        elif uboot.at_prompt(2.0):
            said.append("was there already")
        elif "on" in actions:
            taken.switch("on")
            uboot.catch(job.options.catch_seconds)
            said.append("after switching it on")
        else:
            reporter.say("ask", text=f"reset the board '{taken.board.name}' now (its reset button, or its power)")
            uboot.catch(job.options.catch_seconds)
            said.append("after a reset")


class _Tftp:
    """How the files are offered: our server or a folder of another, and what has been asked of ours.

    prefix: what stands before their names in a request.
    """

    def __init__(self, port: int, server: TftpServer | None, prefix: str = "") -> None:
        self.port = port
        self.server = server
        self.prefix = prefix
        self.requests = threading.Event()


@contextlib.contextmanager
def _tftp(job: Job, taken: Taken, reporter: Reporter) -> Iterator[_Tftp | None]:
    board = job.board
    if board.load != "tftp" or board.network is None:
        yield None
        return
    served = {script.served_name(item, board): job.path(item) for item in job.plan.payloads}
    if taken.stage is not None:
        with reporter.step("stage"):
            prefix = taken.stage(served)
        yield _Tftp(69, None, prefix)
        return
    if job.options.served is not None:
        yield _Tftp(board.tftp.port, None)
        return
    if board.tftp.root is not None:
        _publish(Path(board.tftp.root), served)
        yield _Tftp(69, None)
        return
    handle: list[_Tftp] = []

    def listener(event: TftpEvent) -> None:
        if event.kind == "request":
            handle[0].requests.set()
        report_transfer(reporter, event)

    peers = frozenset[str]()
    if board.network.board != "dhcp":
        peers = frozenset({str(ipaddress.IPv4Interface(board.network.board).ip)})
    server = TftpServer(
        served,
        address=board.network.server,
        port=board.tftp.port,
        peers=peers,
        listener=listener,
        max_blksize=board.tftp.blksize,
        max_window=board.tftp.window,
    )
    with server:
        handle.append(_Tftp(server.port, server))
        yield handle[0]


def report_transfer(reporter: Reporter, event: TftpEvent) -> None:
    """Say what a TFTP server of ours does."""
    if event.kind == "request":
        reporter.say("note", text=f"TFTP {event.name}: {event.size} bytes, {event.text or 'no options'}")
    elif event.kind == "progress":
        reporter.say("progress", name=event.name, done=event.done, size=event.size)
    elif event.kind == "sent":
        rate = event.size / max(event.seconds, 1e-6) / 1e6
        also = f", {event.text}" if event.text else ""
        reporter.say("note", text=f"TFTP sent {event.size} bytes in {event.seconds:.2f} s, {rate:.1f} MB/s{also}")
    else:
        reporter.say("warning", text=f"TFTP {event.kind} {event.peer} {event.name} {event.text}".strip())


def _publish(root: Path, served: dict[str, Path]) -> None:
    """Copy the files into the folder of a TFTP server that runs already: aside first, then renamed."""
    for name, path in served.items():
        target = root / name
        try:
            # Others may write there as well: a name of its own for the file aside, which follows no link.
            with files.written_aside(target) as aside:
                shutil.copyfile(path, aside)
        except OSError as error:
            raise HostError(
                f"cannot put the file into the TFTP folder: {error.strerror}",
                hint="is it writable for you, and is there room? `df` and `ls -ld` tell",
                where=str(target),
            ) from None


def withdraw(job: Job) -> list[str]:
    """Take the deployment's files out of an existing TFTP folder again; their names."""
    root = job.board.tftp.root
    gone = []
    for item in job.plan.payloads if root is not None else ():
        target = Path(root or "") / script.served_name(item, job.board)
        if target.exists():
            target.unlink()
            gone.append(str(target))
    return gone


def _prepare(job: Job, uboot: UBoot, reporter: Reporter, tftp: _Tftp | None) -> None:
    plan = job.plan
    with reporter.step("board") as said:
        if plan.identity is not None:
            text = uboot.banner + "\n" + uboot.run(script.IDENTIFY).output
            if not compile_pattern(plan.identity, plan.system).search(text):
                shown = next((line for line in text.splitlines() if line.startswith(("board", "Model", "U-Boot"))), "")
                raise MachineError(
                    f"this is another board: nothing it says matches {plan.identity!r}"
                    + (f" ({shown[:80]})" if shown else ""),
                    hint=f"the system was built for '{plan.board}'; is `serial` the right device?",
                    where=job.board.name,
                )
        memory = uboot.run(script.MEMORY)
        if memory.status == 0:
            script.check_memory(memory.output, plan.payloads)
        said.append(plan.board)
    if tftp is None:
        return
    with reporter.step("network"):
        for step in script.network_steps(job.board, tftp.port):
            uboot.check(step.command, step.seconds)
        if tftp.server is not None and job.board.network is not None and job.board.network.board == "dhcp":
            found = re.search(r"(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})", uboot.check("printenv ipaddr"))
            tftp.server.peers = frozenset({found.group(1)} if found else ())


def _load(job: Job, item: Payload, uboot: UBoot, line: SerialPort, reporter: Reporter, tftp: _Tftp | None) -> None:
    step = script.load_step(job.board, item, tftp.prefix if tftp is not None else "")
    with reporter.step(f"load {item.file}") as said:
        sent = False

        def upload(output: str) -> None:
            nonlocal sent
            if tftp is not None:
                deaf = tftp.server is not None and tftp.port != 69 and not tftp.requests.is_set()
                if deaf and output.count("T ") >= MAX_TFTP_TRIES:
                    uboot.abandon()
                    raise _load_error("Retry count exceeded", step.command, job.board, tftp)
                if "Retry count exceeded" in output or "Not retrying" in output:
                    uboot.abandon()
                    raise _load_error(output, step.command, job.board, tftp)
                return
            if sent or not re.search(r"Ready for binary.*[\r\n]", output):
                return
            sent = True
            heard = re.split(r"[\r\n]", output)[-1].encode()
            sender = Sender(
                line, lambda done: reporter.say("progress", name=item.file, done=done, size=item.size), heard
            )
            data = job.path(item).read_bytes()
            sender.send(script.served_name(item, job.board), data)

        reply = uboot.run(step.command, step.seconds, quiet=step.quiet, watch=upload)
        loaded = script.bytes_of(reply.output)
        if reply.status != 0 or (loaded is not None and loaded < item.size):
            raise _load_error(reply.output, step.command, job.board, tftp)
        said.append(f"{item.size} bytes")
    with reporter.step(f"verify {item.file}") as said:
        said.append(_verify(item, uboot, loaded))


def _load_error(output: str, command: str, board: Board, tftp: _Tftp | None) -> MachineError:
    error = explain(output, command)
    network = board.network
    if tftp is None or tftp.server is None or network is None or tftp.requests.is_set() or "tim" not in error.message:
        return error
    if tftp.port != 69:
        hint = f"no request reached port {tftp.port}: a firewall, or a boot loader that ignores tftpdstp (use port 69)"
    else:
        hint = f"no request reached {network.server} port 69: cable, addresses, or a firewall on this host"
    return MachineError(error.message, hint=hint, where=error.where)


def _verify(item: Payload, uboot: UBoot, loaded: int | None) -> str:
    step = script.verify_step(item)
    reply = uboot.run(step.command, step.seconds)
    found = script.crc_of(reply.output)
    if reply.status == 0 and found is not None:
        if found != item.crc32:
            raise MachineError(
                f"{item.file} arrived damaged: crc32 {found:08x} in the board's memory, {item.crc32:08x} in the file",
                hint="something else writes there, or the memory or the network is faulty; try once more",
                where=f"U-Boot: {step.command}",
            )
        return f"crc32 {found:08x}"
    if "Unknown command" not in reply.output:
        raise explain(reply.output, step.command)
    if loaded is None:
        raise MachineError(
            f"{item.file} cannot be verified: this boot loader has no crc32 and tells no length",
            hint="a U-Boot with CONFIG_CMD_CRC32 is needed",
            where=f"U-Boot: {step.command}",
        )
    return f"{loaded} bytes (this boot loader has no crc32)"


def _watch(job: Job, uboot: UBoot, line: SerialPort, reporter: Reporter) -> None:
    options, plan = job.options, job.plan
    plan = dataclasses.replace(
        plan,
        boot_seconds=options.boot_seconds or plan.boot_seconds,
        quiet_seconds=options.quiet_seconds or plan.quiet_seconds,
    )
    with reporter.step("boot") as said:
        returned = uboot.start(plan.start)
        if plan.facts is not None:
            state.remember(job.board.name, plan)
        if not plan.milestones:
            reporter.say("warning", text="the plan names no milestone: started, but not known to be up")
        seen = Watcher(plan, reporter, returned).follow(line)
        said.append(f"{len(seen)} milestones")
    if plan.facts is not None and plan.milestones:
        with reporter.step("clock") as said:
            # The board is up: whatever goes wrong here does not change that.
            try:
                count = set_clocks(plan.facts, line, state.state_folder(job.board.name) / "logs")
                said.append(f"set in {count} of {len(plan.facts.names)} guests")
            except Stopped:
                raise
            except (RouterError, OSError) as error:
                why = error.message if isinstance(error, RouterError) else reason(error)
                said.append("not set")
                reporter.say("warning", text=f"the guests' clocks could not be set: {why}")


def _sent(job: Job) -> contextlib.AbstractContextManager[Job]:
    """The job with the files that are sent: copies of our own, or those that the process with the server has made."""
    if job.options.served is None:
        return copied(job)
    folder, plan = Path(job.options.served), job.plan
    copies = {item.file: str(folder / str(number)) for number, item in enumerate(plan.payloads)}
    try:
        sums = {file: zlib.crc32(Path(copy).read_bytes()) for file, copy in copies.items()}
    except OSError as error:
        raise HostError(f"the copies of the files are gone: {error.strerror}", where=str(folder)) from None
    sent = tuple(dataclasses.replace(item, crc32=sums[item.file]) for item in plan.payloads)
    return contextlib.nullcontext(dataclasses.replace(job, files=copies, plan=dataclasses.replace(plan, payloads=sent)))


@contextlib.contextmanager
def copied(job: Job) -> Iterator[Job]:
    """The job with copies of its files: what is served is what was planned, whatever others do in the build folder.

    The guests' trees in the copies have fresh randomness. A payload's `crc32` is then the copy's; `sha256`, which names
    it, stays that of the build. The copies are in one folder, named by their number.
    DescriptionError when a file is not what was planned; HostError when there is no room for the copies.
    """
    with _scratch() as folder:
        copies = {}
        for number, item in enumerate(job.plan.payloads):
            copy = folder / str(number)
            with copy.open("wb") as stream:

                def take(chunk: bytes, stream: BinaryIO = stream) -> None:
                    try:
                        stream.write(chunk)
                        stream.flush()
                    except OSError as error:
                        raise _no_copy(error, folder) from None

                take_payload(job.path(item), item, take)
            copies[item.file] = str(copy)
        sent = tuple(_with_seeds(Path(copies[item.file]), item) for item in job.plan.payloads)
        yield dataclasses.replace(job, files=copies, plan=dataclasses.replace(job.plan, payloads=sent))


def _with_seeds(copy: Path, item: Payload) -> Payload:
    """Fill the room for seeds in a copy; the payload with the checksum that the board must then find."""
    data, trees = fill(copy.read_bytes())
    if not trees:
        return item
    try:
        copy.write_bytes(data)
    except OSError as error:
        raise _no_copy(error, copy.parent) from None
    return dataclasses.replace(item, crc32=zlib.crc32(data))


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder of ours alone (mode 0700), which goes away with all that is in it."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="router-deploy-", ignore_cleanup_errors=True)
    except OSError as error:
        raise _no_copy(error, Path(tempfile.gettempdir())) from None
    with folder as name:
        yield Path(name)


def _no_copy(error: OSError, folder: Path) -> HostError:
    return HostError(
        f"cannot copy the files that are sent to the board: {error.strerror}",
        hint="TMPDIR names another folder for temporary files",
        where=str(folder),
    )


def _log(job: Job) -> Path | None:
    return Path(job.options.log) if job.options.log else None


def _taken(job: Job, reporter: Reporter) -> contextlib.AbstractContextManager[Taken]:
    def waiting(holder: str) -> None:
        reporter.say("note", text=f"waiting for the board: {holder}")

    options = job.options
    owner = (options.owner[0], options.owner[1]) if len(options.owner) == 2 else None
    doing = f"deploying {job.plan.system}"
    return taken(job.board, doing, wait=options.wait, steal=options.steal, owner=owner, waiting=waiting)
