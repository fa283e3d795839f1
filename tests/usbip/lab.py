# SPDX-License-Identifier: BSD-2-Clause
"""A lab guest: one QEMU with USB devices, both halves of USB/IP and Debian's C tools in one Debian kernel.

Needs `router.guests` for the image. The daemons are started by the tests, not by the guest's init.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from router.description.guest_image import extend_definitions
from router.guests.cpio import build_overlay, regular
from router.guests.image import build_image
from router.machines.agent import AgentChannel
from tests.support.patience import PATIENCE

QEMU = "qemu-system-aarch64"
BOOT = 400.0
"""Seconds; on a quiet computer it takes the guest about ten."""
PROGRAM = "router-usbip"
IMAGE = """\
summary: both halves of USB/IP in one guest
extends: [usb-server-tools, usb-client-tools]
read_only: false
modules:
  available:
    [dummy_hcd, libcomposite, usb_f_mass_storage, usb_f_acm, usbtest, usbmon, ext4, crc32c_generic, vsock_loopback]
"""


class Lab:
    """A running lab guest. devices: QEMU's -device and -drive words. Close it to end it."""

    def __init__(self, folder: Path, devices: list[str], memory: int = 512) -> None:
        image = build_image("usbip-lab", folder=extend_definitions(folder / "definitions", {"usbip-lab": IMAGE}))
        overlay = build_overlay({"etc/router/guest.conf": regular(b"GUEST=lab\nROLE=\nIP=127.0.0.2\n")})
        initrd = folder / "initrd"
        initrd.write_bytes(image.initramfs.read_bytes() + overlay)
        # Socket paths are limited to 108 bytes, which a test's folder may exceed.
        self._sockets = Path(tempfile.mkdtemp(prefix="lab"))
        command = [
            *(QEMU, "-M", "virt,gic-version=3,dtb-randomness=off"),
            *("-cpu", "cortex-a53", "-smp", "1", "-m", str(memory)),
            *("-nodefaults", "-nographic", "-no-reboot", "-global", "virtio-mmio.force-legacy=false"),
            *("-kernel", str(image.kernel), "-initrd", str(initrd)),
            *("-append", "console=ttyAMA0 earlycon=pl011,mmio32,0x9000000 quiet printk.devkmsg=on panic=-1"),
            *("-serial", f"file:{folder / 'console.log'}"),
            *("-chardev", f"socket,id=control,path={self._sockets}/control,server=on,wait=off"),
            *("-chardev", f"socket,id=qmp,path={self._sockets}/qmp,server=on,wait=off", "-mon", "qmp,mode=control"),
            *("-chardev", "null,id=console"),
            *("-device", "virtio-serial-device,id=first,max_ports=1,bus=virtio-mmio-bus.1"),
            *("-device", "virtconsole,bus=first.0,chardev=console"),
            *("-device", "virtio-serial-device,id=second,max_ports=1,bus=virtio-mmio-bus.2"),
            *("-device", "virtconsole,bus=second.0,chardev=control"),
            *("-device", "qemu-xhci,id=xhci,p2=8,p3=4"),
            *devices,
        ]
        self._started: list[int] = []
        self._log = (folder / "qemu.log").open("wb")
        self.folder = folder
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        try:
            self._control = self._connect("control")
            self._qmp = self._connect("qmp")
            self._qmp_file = self._qmp.makefile("rb")
            self._qmp_file.readline()
            self.qmp("qmp_capabilities")
            self.agent = AgentChannel(self._control, "lab")
            self.agent.hello(BOOT)
        except BaseException:
            self.close()
            raise

    def _connect(self, name: str) -> socket.socket:
        end = time.monotonic() + PATIENCE
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(self._sockets / name))
                sock.settimeout(PATIENCE)
                return sock
            except OSError:
                sock.close()
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """A monitor command's answer; events in between are skipped."""
        self._qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self._qmp_file.readline())
            assert "error" not in answer, answer["error"]
            if "return" in answer:
                return answer["return"]

    def run(self, command: str, timeout: float = 3 * PATIENCE) -> str:
        """The command's output; AssertionError unless it ends with 0."""
        code, output = self.agent.run(command, timeout)
        text = output.decode("utf-8", "replace")
        assert code == 0, f"{command}: exit code {code}\n{text}"
        return text

    def code(self, command: str, timeout: float = 3 * PATIENCE) -> tuple[int, str]:
        code, output = self.agent.run(command, timeout)
        return code, output.decode("utf-8", "replace")

    def start(self, command: str, log: str) -> int:
        """Starts a background command in the guest, its output in a file there; the process id."""
        # Without what an earlier one wrote there: who waits for a line would find that.
        process = int(self.run(f"rm -f {log}; {{ {command}; }} >{log} 2>&1 </dev/null & echo $!"))
        self._started.append(process)
        return process

    def stop_all(self) -> None:
        """Ends every process that `start` began, the last one first, and waits for the end of each."""
        for process in reversed(self._started):
            self.code(
                f"kill {process}; n=0; while kill -0 {process}; do n=$((n+1)); [ $n -lt 50 ] || kill -9 {process}; "
                "usleep 100000; done"
            )
        self._started.clear()

    def wait_for(self, command: str, timeout: float = PATIENCE) -> str:
        """Polls a command in the guest until it succeeds; its output. AssertionError with the logs if it does not."""
        loop = f"n=0; until {command}; do n=$((n+1)); [ $n -lt {int(timeout * 10)} ] || exit 9; usleep 100000; done"
        code, output = self.code(loop, 5 * timeout)
        if code:
            # With the stacks of what waits in the kernel.
            _, logs = self.code(
                "tail -n 15 /tmp/*.log; dmesg | tail -n 40; echo w >/proc/sysrq-trigger; dmesg | tail -n 60"
            )
            raise AssertionError(f"not within {timeout} s: {command}\n{logs}")
        return output

    def close(self) -> None:
        for name in ("_control", "_qmp_file", "_qmp"):
            if hasattr(self, name):
                getattr(self, name).close()
        self._process.kill()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._sockets)
