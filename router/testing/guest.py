# SPDX-License-Identifier: BSD-2-Clause
"""One guest of the system that a test uses."""

from __future__ import annotations

import base64
import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from router import files
from router.display import safe, safe_lines
from router.errors import MachineError
from router.testing.console import GuestConsole
from router.testing.setup import BOOT_TIMEOUT_S, SPLIT
from router.usb.actions import why_not
from router.usb.find import matches
from router.usb.view import snapshot

if TYPE_CHECKING:
    from router.testing.system import Router

COMMAND_TIMEOUT_S = 120.0
"""For a command: an emulated guest on a busy computer takes long for little."""
WAIT_TIMEOUT_S = 120.0
"""For what a test waits for in a guest: the same."""
ANSWER_TIMEOUT_S = 10.0
"""For a guest that starts: what it was asked too early is asked again."""
POLL_S = 0.5
SWITCHED = "/run/router/switched"
"""Is there in the guest once its init is that of its own root (guest-images/common/init)."""
MAX_LOOP_S = 600.0
"""For the loop of a wait in a guest; a longer wait takes several."""
MAX_SHOWN = 4000
"""Characters of a command's output in a failure: its end."""
CHUNK_BYTES = 12 << 10
"""Of a file that is copied into a guest: as base64, twice, it fits into a request (64 KiB)."""
WAIT = """\
now() {{ read -r t _ </proc/uptime; echo "${{t%.*}}"; }}
code=0; end=$(($(now) + {seconds}))
until ({command}
) >{file} 2>&1; do [ "$(now)" -lt $end ] || {{ code=99; break; }}; sleep 0.25; done
cat {file}; rm -f {file}; exit $code
"""
"""Prints what the last try said. The time is the guest's own, since its boot (proc_uptime(5))."""
DEVICES = """
for d in /sys/bus/usb/devices/[0-9]*-*; do
  case $d in *:*) continue;; esac
  [ -r "$d/idVendor" ] || continue
  name=$(cat "$d/manufacturer" "$d/product" 2>/dev/null | tr '\\n' ' ')
  echo "${d##*/} $(cat "$d/idVendor"):$(cat "$d/idProduct") $name"
done
"""
"""A line for each device but root hubs (Documentation/ABI/testing/sysfs-bus-usb)."""


class GuestFailure(AssertionError):
    """Something in a guest is not as the test wants it; the message shows what the guest said."""


@dataclass(frozen=True)
class Result:
    """A command that has ended. output: standard output and standard error, as one stream in their order."""

    code: int
    output: bytes

    @property
    def stdout(self) -> str:
        """The output as text; standard error is in it."""
        return self.output.decode(errors="replace")


@dataclass(frozen=True)
class UsbDevice:
    """A USB device that a guest sees. place: Linux's name for where it is (`1-1`). id: `0627:0001`."""

    place: str
    id: str
    name: str


@dataclass(frozen=True)
class BlockDevice:
    """A disk that a guest sees. path: `/dev/sda`. size: in bytes."""

    path: str
    size: int


def shown(said: str) -> str:
    """The end of what a guest said, indented and safe to print."""
    text = said.rstrip()
    cut = "…" if len(text) > MAX_SHOWN else ""
    return "  " + safe_lines(cut + text[-MAX_SHOWN:] or "(nothing)", "  ")


class Guest:
    """A guest by its name. Times are in seconds; every wait ends in GuestFailure, with what the guest said."""

    def __init__(self, router: Router, name: str) -> None:
        self.name = name
        self._router = router

    def __repr__(self) -> str:
        return f"<guest {self.name}>"

    @property
    def address(self) -> str:
        """Its IP address on the virtual Ethernet."""
        with self._router.connect() as connection:
            rows = connection.state()["guests"]
        return next(str(row["address"]) for row in rows if row["name"] == self.name)

    def run(self, command: str, timeout: float = COMMAND_TIMEOUT_S, *, check: bool = True) -> Result:
        """Run a shell command. check: GuestFailure when its exit code is not 0.

        MachineError when it does not end in time, or the guest is gone.
        """
        __tracebackhide__ = True
        with self._router.connect() as connection:
            code, output = connection.execute(self.name, command, timeout)
        if check and code:
            said = output.decode(errors="replace")
            raise GuestFailure(f"{self.name}: exit code {code}: {safe(command)}\n{shown(said)}")
        return Result(code, output)

    def wait_for(self, command: str, timeout: float = WAIT_TIMEOUT_S) -> Result:
        """Repeat a shell command, a few times a second, until its exit code is 0: that time's result."""
        __tracebackhide__ = True
        file = f"/tmp/.wait-{uuid.uuid4().hex}"
        end = time.monotonic() + timeout
        while True:
            seconds = min(max(0.0, end - time.monotonic()), MAX_LOOP_S)
            loop = WAIT.format(command=command, seconds=int(seconds), file=file)
            done = self.run(loop, seconds + COMMAND_TIMEOUT_S, check=False)
            if done.code == 0:
                return done
            if time.monotonic() >= end:
                raise GuestFailure(f"{self.name}: not within {timeout:g} s: {safe(command)}\n{shown(done.stdout)}")

    def usb_devices(self) -> tuple[UsbDevice, ...]:
        """The USB devices that the guest's Linux sees, without root hubs."""
        lines = self.run(DEVICES).stdout.splitlines()
        parts = [line.split(" ", 2) for line in lines if line.count(" ") >= 2]
        return tuple(UsbDevice(place, ids, name.strip()) for place, ids, name in parts)

    def wait_for_device(self, device: str, timeout: float = WAIT_TIMEOUT_S) -> UsbDevice:
        """Wait until the guest's Linux sees a USB device: its id (`0627:0001`), or part of its name."""
        __tracebackhide__ = True
        pattern = shlex.quote(device.lower())
        self._wait_for_list(f"{{ {DEVICES} }} | tr A-Z a-z | grep -F -- {pattern}", device, timeout)
        for found in self.usb_devices():
            if device.lower() in f"{found.id} {found.name}".lower():
                return found
        raise GuestFailure(f"{self.name}: '{device}' was there, and has gone again\n{shown(self._usb())}")

    def wait_for_no_device(self, device: str, timeout: float = WAIT_TIMEOUT_S) -> None:
        """Wait until the guest's Linux sees no such USB device any more."""
        pattern = shlex.quote(device.lower())
        self.wait_for(f"! ( {{ {DEVICES} }} | tr A-Z a-z | grep -F -- {pattern} )", timeout)

    def disks(self) -> tuple[BlockDevice, ...]:
        """The disks that the guest sees, with a medium in them."""
        each = (
            'for d in /sys/block/sd* /sys/block/nvme*n*; do [ -e "$d" ] && echo "${d##*/} $(cat $d/size)"; done; true'
        )
        pairs = (line.split() for line in self.run(each).stdout.splitlines())
        return tuple(BlockDevice(f"/dev/{name}", 512 * int(sectors)) for name, sectors in pairs if sectors != "0")

    def sha256(self, path: str, timeout: float = 5 * COMMAND_TIMEOUT_S) -> str:
        """The SHA-256 of a file or disk of the guest, in hexadecimal."""
        return self.run(f"sha256sum {shlex.quote(path)}", timeout).stdout.split()[0]

    def copy(self, source: Path, target: str) -> None:
        """Copy a file of this computer into the guest, as `target`. It is there once it is whole."""
        data = source.read_bytes()
        aside = shlex.quote(f"{target}.part")
        self.run(f": >{aside}")
        for start in range(0, len(data), CHUNK_BYTES):
            chunk = base64.b64encode(data[start : start + CHUNK_BYTES]).decode()
            self.run(f"echo {chunk} | base64 -d >>{aside}")
        whole = f'[ "$(sha256sum {aside} | cut -c 1-64)" = {files.sha256_of(data)} ]'
        self.run(f"{whole} && mv {aside} {shlex.quote(target)}")

    def fetch(self, source: str, target: Path) -> Path:
        """Copy a file of the guest to this computer; `target`. MachineError over 64 MiB."""
        name = shlex.quote(source)
        done = self.run(f"cat {name} 2>/dev/null || {{ cat {name} >/dev/null; exit 1; }}", 5 * COMMAND_TIMEOUT_S)
        files.write(target, done.output)
        return target

    @contextmanager
    def console(self) -> Iterator[GuestConsole]:
        """The guest's console, as a person has it: `send` and `expect`."""
        with self._router.connect() as connection:
            console = GuestConsole(self.name)
            typing = connection.console(self.name, console.take)
            console.typing = typing
            try:
                yield console
            finally:
                typing.close()

    def said(self) -> str:
        """What its console has said since the boot; of much, the end. MachineError if another computer keeps it."""
        logs = {path.name: path for path in self._router.logs}
        names = [name for name in (f"{self.name}.early.log", f"{self.name}.console.log") if name in logs]
        if not names:
            raise MachineError("no console of it is kept on this computer", where=self.name)
        return "".join(logs[name].read_text(errors="replace") for name in names)

    def restart(self, timeout: float = BOOT_TIMEOUT_S) -> None:
        """Restart the guest's Linux and wait until it is up again. On seL4 its monitor does it (`on_exit: restart`)."""
        self._router.needs("restart_guest")
        since, end = self._router.next_event, time.monotonic() + timeout
        if self._router.mode == SPLIT:
            self._router.machine.reset(self.name)
        else:
            self.run("(sleep 1; reboot -f) >/dev/null 2>&1 &")
            self._router.wait_for_event("restarting", self.name, since=since, timeout=timeout)
        self._router.wait_for_event("userspace", self.name, since=since, timeout=end - time.monotonic())
        while not self._succeeds("true", end):
            time.sleep(POLL_S)

    def reset(self) -> None:
        """Press its reset button and do not wait until it is up again (split runs): its Linux can end nothing first."""
        self._router.needs("reset")
        self._router.machine.reset(self.name)

    def kill(self) -> None:
        """Cut its power (split runs): what it has not written is lost, and the system has ended.

        `router.restart()` boots the system again, which the test must do before it returns.
        """
        self._router.needs("kill")
        self._router.machine.kill(self.name)

    def wait_for_root(self, timeout: float = BOOT_TIMEOUT_S) -> None:
        """Wait until the guest lives in its own root file system (`root:` in the description), so that commands run
        there. GuestFailure when it stays in its initramfs."""
        __tracebackhide__ = True
        end = time.monotonic() + timeout
        while not self._succeeds(f"[ -e {SWITCHED} ]", end):
            starts = [*self._router.events("userspace", self.name), *self._router.events("no_root", self.name)]
            last = max(starts, key=lambda event: event.number, default=None)
            if last is not None and last.name == "no_root":
                raise GuestFailure(f"{self.name}: no root file system: {safe(last.detail)}")
            if time.monotonic() > end:
                said = "\n".join(map(str, self._router.events(guest=self.name)))
                raise GuestFailure(f"{self.name}: not in its root within {timeout:g} s; its events:\n{shown(said)}")
            time.sleep(POLL_S)

    def _succeeds(self, command: str, end: float) -> bool:
        """Whether a short command succeeds now. A guest that does not answer is an error only after `end`: a command
        that came before its agent was up is lost."""
        try:
            return self.run(command, ANSWER_TIMEOUT_S, check=False).code == 0
        except MachineError:
            if time.monotonic() > end:
                raise
            return False

    def _wait_for_list(self, command: str, device: str, timeout: float) -> None:
        __tracebackhide__ = True
        try:
            self.wait_for(command, timeout)
        except GuestFailure:
            why = f"{self.name}: no USB device '{device}' within {timeout:g} s{self._reason(device)}"
            raise GuestFailure(f"{why}\n{shown(self._usb())}") from None

    def _usb(self) -> str:
        lines = [f"{each.place} {each.id} {each.name}" for each in self.usb_devices()]
        return "\n".join(["its USB devices:", *(lines or ["none"])])

    def _reason(self, device: str) -> str:
        """What the server knows of the device, for a failure."""
        seen = snapshot(self._router.connect)
        found = matches(seen, device)
        if not found:
            known = ", ".join(f"{each.vidpid} ({safe(each.name)})" for each in seen.devices) or "none"
            return f": no server has it; their devices: {known}"
        held = [f"'{each.holder}' has it" if each.holder else why_not(seen, each) for each in found]
        return f": {'; '.join(map(safe, held))}"
