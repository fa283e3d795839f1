# SPDX-License-Identifier: BSD-2-Clause
"""A network namespace of the test's own with a tap in it, and Debian's U-Boot in QEMU with its serial line on a pty."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest

from tests.support.patience import PATIENCE, wait_until

UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
HOST, BOARD, PREFIX = "10.213.7.1", "10.213.7.2", 24

SETUP = f"""
set -e
ip link set lo up
ip tuntap add dev tap0 mode tap
ip addr add {HOST}/{PREFIX} dev tap0
ip link set tap0 up
echo ready
exec cat
"""


class Namespace:
    """Run commands in the namespace with `argv(...)`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def argv(self, *command: str) -> list[str]:
        return ["nsenter", "--target", str(self._pid), "--net", *command]

    def popen(self, *command: str, **options: object) -> subprocess.Popen[str]:
        return subprocess.Popen(self.argv(*command), text=True, **options)  # type: ignore[call-overload,no-any-return]


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A fresh network namespace; skips where this machine does not allow one, or has no tap devices."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace with a tap needs root")
    if not Path("/dev/net/tun").exists():
        pytest.skip("this kernel has no /dev/net/tun")
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", SETUP],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None and holder.stderr is not None
        if holder.stdout.readline().strip() != "ready":
            pytest.skip(f"no network namespace here: {holder.stderr.read().strip()[:120]}")
        try:
            yield Namespace(holder.pid)
        finally:
            holder.terminate()


@contextlib.contextmanager
def qemu(net: Namespace, *options: str, memory: str = "1G", machine: str = "virt") -> Iterator[str]:
    """Debian's U-Boot in QEMU; yields the serial line's pty. The machine is gone at exit."""
    if not UBOOT.exists() or not shutil.which("qemu-system-aarch64"):
        pytest.skip("u-boot-qemu or qemu-system-arm is not installed")
    command = ["timeout", "900", "qemu-system-aarch64", "-machine", machine, "-cpu", "cortex-a53", "-m", memory]
    command += ["-bios", str(UBOOT), "-display", "none", "-monitor", "none", "-serial", "pty"]
    command += ["-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-device,netdev=n"]
    with net.popen(*command, *options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield _pty(process)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _pty(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if match := re.search(r"redirected to (/dev/pts/\d+)", line):
            return match.group(1)
    raise AssertionError(f"QEMU did not start: {said}")


def lab_file(folder: Path, serial: str, **extra: object) -> Path:
    """A lab file with the board `virt` on that serial line."""
    entry: dict[str, object] = {
        "board": "qemu",
        "serial": serial,
        "network": {"board": f"{BOARD}/{PREFIX}", "server": HOST},
    }
    path = folder / "boards.yaml"
    path.write_text(json.dumps({"boards": {"virt": entry | extra}}))
    return path


def router(
    net: Namespace | None,
    *arguments: str,
    timeout: float = 5 * PATIENCE,
    until: str = "",
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in the namespace when there is one.

    until: its input, which is empty, stays open until this was shown.
    """
    program = [sys.executable, "-c", "import sys; from router.cli import main; sys.exit(main())", *arguments]
    command = net.argv(*program) if net else program
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=err, env={**os.environ, **(env or {})}
        ) as process,
    ):

        def said(file: IO[str]) -> str:
            # By another descriptor than the child's, whose place in the file is the child's.
            return Path(f"/proc/self/fd/{file.fileno()}").read_text(errors="replace")

        try:
            shown = wait_until(lambda: until in said(out) or process.poll() is not None, timeout, 0.1)
            process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
        done = subprocess.CompletedProcess(command, process.returncode, said(out), said(err))
    print(f"router {' '.join(arguments)}: {done.returncode}", done.stdout, done.stderr, sep="\n")
    assert shown, f"not shown: {until}"
    return done
