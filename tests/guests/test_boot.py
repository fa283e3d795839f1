# SPDX-License-Identifier: BSD-2-Clause
"""Each image boots in QEMU (TCG), says its milestones, answers on the control channel and powers off."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.description.guest_image import OwnParts, extend_definitions, load_definition
from router.errors import MachineError
from router.guests.cpio import build_overlay
from router.guests.image import GuestImage, build_image
from router.linux_boot import HEADER_SIZE, min_memory, read_kernel_header
from router.machines.agent import AgentChannel
from router.plan.guests import UNLESS_NAMED
from tests.support.closed_guest import Ask, check_confined, check_kernel, check_root
from tests.support.patience import PATIENCE, wait_until

pytestmark = [pytest.mark.qemu, pytest.mark.packages]
QEMU = "qemu-system-aarch64"
BOOT_SECONDS = 300.0


class Console:
    """Everything that the guest writes on hvc0, gathered by a thread, to be waited on."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._text = ""
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._gather)
        self._thread.start()

    def expect(self, pattern: str, timeout: float = BOOT_SECONDS) -> re.Match[str]:
        """The first match of `pattern` in all that was written, or a failure that shows the last lines."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                if match := re.search(pattern, self._text):
                    return match
                if not self._news.wait(max(0.0, deadline - time.monotonic())):
                    pytest.fail(f"no {pattern!r} within {timeout} s; the console ends with:\n{self._text[-2000:]}")

    def send(self, text: str) -> None:
        """Types on the console."""
        self._connection.sendall(text.encode())

    def join(self) -> None:
        """Waits until the guest has closed the console."""
        self._thread.join(PATIENCE)

    def _gather(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            while data := self._connection.recv(4096):
                with self._news:
                    self._text += data.decode(errors="replace")
                    self._news.notify_all()


class Guest:
    """A running guest: its console, its control channel, and the QEMU process."""

    def __init__(self, console: Console, agent: AgentChannel, process: subprocess.Popen[bytes]) -> None:
        self.console = console
        self.agent = agent
        self.process = process


def machine(image: GuestImage, initrd: Path, arguments: str) -> list[str]:
    """QEMU's command line for a virt machine without devices that boots `image` with these kernel arguments.

    It has the least memory that a description may give such a guest.
    """
    if shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not installed")
    with image.kernel.open("rb") as file:
        kernel = read_kernel_header(file.read(HEADER_SIZE), image.kernel.stat().st_size)
    least = min_memory(kernel.memory, image.initramfs.stat().st_size) >> 20
    words = [QEMU, "-M", "virt,gic-version=2,highmem=off", "-cpu", "cortex-a53", "-m", str(least), "-nodefaults"]
    return [
        *words,
        "-nographic",
        "-no-reboot",
        "-kernel",
        str(image.kernel),
        "-initrd",
        str(initrd),
        "-append",
        " ".join([arguments, *UNLESS_NAMED]),
    ]


@contextlib.contextmanager
def running(image: GuestImage, files: dict[str, bytes], folder: Path, devices: list[str]) -> Iterator[Guest]:
    """Boots `image` with an overlay of `files` on QEMU's virt machine, laid out as the project's qemu board is."""
    initrd = folder / "initrd"
    initrd.write_bytes(image.initramfs.read_bytes() + build_overlay(files))
    listeners = []
    words = machine(image, initrd, "console=hvc0 quiet")
    words += ["-global", "virtio-mmio.force-legacy=false", "-netdev", "user,id=net,restrict=on"]
    words += ["-device", "virtio-net-device,netdev=net,bus=virtio-mmio-bus.0", *devices]
    with contextlib.ExitStack() as stack:
        for slot, name in ((1, "hvc0"), (2, "hvc1")):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / name))
            listener.listen(1)
            listener.settimeout(PATIENCE)
            listeners.append(listener)
            words += ["-chardev", f"socket,id={name},path={folder / name}"]
            words += ["-device", f"virtio-serial-device,id=s{slot},max_ports=1,bus=virtio-mmio-bus.{slot}"]
            words += ["-device", f"virtconsole,chardev={name},bus=s{slot}.0"]
        process = stack.enter_context(subprocess.Popen(["timeout", "500", *words], stdin=subprocess.DEVNULL))
        stack.callback(process.terminate)
        connections = [stack.enter_context(listener.accept()[0]) for listener in listeners]
        console = Console(connections[0])
        try:
            yield Guest(console, AgentChannel(connections[1], image.name), process)
        finally:
            process.terminate()
            process.wait(PATIENCE)
            console.join()


def config(role: str) -> bytes:
    return f"GUEST={role}\nROLE={role}\nIP=10.77.0.2\nPREFIX=24\nMTU=1400\nSERVER=10.77.0.2\n".encode()


@pytest.fixture(scope="module")
def server(guest_image: Callable[[str], GuestImage], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    folder = tmp_path_factory.mktemp("server")
    disk = folder / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    files = {"etc/router/guest.conf": config("server"), "etc/router/usb-policy": b"allow any class mass-storage\n"}
    devices = ["-device", "qemu-xhci", "-drive", f"if=none,id=disk,file={disk},format=raw"]
    devices += ["-device", "usb-storage,drive=disk"]
    with running(guest_image("usb-server"), files, folder, devices) as guest:
        yield guest


def test_the_server_comes_up_and_its_daemon_exports_the_disk(server: Guest) -> None:
    server.console.expect(r"router: guest server: userspace up")
    server.console.expect(r"router: guest server: usbipd listening 10\.77\.0\.2:3240")
    server.console.expect(r"router: guest server: exported \d-\d 46f4:0001")


def test_the_agent_runs_commands_while_the_console_stays_a_shell(server: Guest) -> None:
    assert server.agent.hello(BOOT_SECONDS) == "server"
    assert server.agent.run("cat /sys/class/net/eth0/mtu", PATIENCE) == (0, b"1400\n")
    server.console.send("echo $((6 * 7))-on-console\n")
    server.console.expect("42-on-console", PATIENCE)


def asking(guest: Guest) -> Ask:
    def ask(command: str) -> tuple[int, str]:
        code, output = guest.agent.run(f"{{ {command}; }} 2>&1", PATIENCE)
        return code, output.decode()

    return ask


def wait_until_loaded(guest: Guest, what: str) -> None:
    """Waits for what comes once all modules are loaded."""
    command = f"for i in $(seq 300); do {what} && exit 0; sleep 0.2; done; exit 1"
    assert guest.agent.run(command, 2 * PATIENCE)[0] == 0


LOCKED = "grep -q 1 /proc/sys/kernel/modules_disabled"


def test_the_servers_root_and_kernel_are_closed_and_its_daemon_is_confined(server: Guest) -> None:
    server.console.expect("exported")
    wait_until_loaded(server, LOCKED)
    check_root(asking(server), read_only=True)
    check_kernel(asking(server), locked=True)
    check_confined(asking(server), "serve")
    assert asking(server)("cat /sys/kernel/security/lockdown") == (0, "none [integrity] confidentiality\n")


def test_the_confined_daemon_of_a_closed_root_writes_its_policy(server: Guest) -> None:
    server.console.expect("exported")
    ask = asking(server)
    disk = ask("router-usbip status | sed -n 's/ .*//p' | head -n 1")[1].strip()
    assert ask(f"router-usbip grant 10.77.0.9 {disk}")[0] == 0
    assert ask("grep -c 'allow 10.77.0.9' /etc/router/usb-policy") == (0, "1\n")
    assert ask(f"router-usbip revoke 10.77.0.9 {disk}")[0] == 0


def test_no_class_driver_has_taken_the_disk(server: Guest) -> None:
    code, loaded = server.agent.run("lsmod", PATIENCE)
    assert code == 0
    assert b"usb_storage" not in loaded


def test_a_class_driver_can_be_loaded_to_measure_in_the_image_for_that(
    guest_image: Callable[[str], GuestImage], tmp_path: Path
) -> None:
    files = {"etc/router/guest.conf": config("server"), "etc/router/usb-policy": b""}
    with running(guest_image("usb-server-tools"), files, tmp_path, []) as guest:
        guest.console.expect("usbipd listening")
        check_root(asking(guest), read_only=True)
        load = "modprobe usb-storage && lsmod | grep -c '^usb_storage'"
        assert guest.agent.run(load, PATIENCE) == (0, b"1\n")


OWN_PROGRAM = """#!/bin/sh
grep -q vfat /proc/filesystems && lsmod | grep -q ^xfs || exit 9
head -c 5000 /dev/zero | tr '\\0' x
exit 7
"""


def test_an_extended_server_has_its_modules_loaded_before_the_lock_and_a_failed_program_is_said(
    guest_image: Callable[[str], GuestImage], tmp_path: Path
) -> None:
    guest_image("usb-server")
    (tmp_path / "over/etc").mkdir(parents=True)
    (tmp_path / "over/etc/secret").touch(0o600)
    (tmp_path / "start.sh").write_text(OWN_PROGRAM)
    own = OwnParts(files=tmp_path / "over", run=tmp_path / "start.sh", place="here")
    image = build_image(load_definition("usb-server").extended("own-server", own, ("fs-xfs", "vfat")))
    files = {"etc/router/guest.conf": config("server"), "etc/router/usb-policy": b""}
    with running(image, files, tmp_path, []) as guest:
        guest.console.expect(r"router: guest server: the image's program failed with 7: x{200}\r?\n")
        ask = asking(guest)
        check_root(ask, read_only=True)
        check_kernel(ask, locked=True)
        check_confined(ask, "serve")
        assert ask("stat -c %a /etc/secret; wc -c </run/router/run.log") == (0, "600\n5000\n")


def test_the_daemon_comes_back_when_it_dies(server: Guest) -> None:
    server.console.expect("usbipd listening")
    assert server.agent.run("kill -9 $(pidof python3)", PATIENCE) == (0, b"")
    server.console.expect(r"usbipd ended(?s:.*)usbipd listening", 2 * PATIENCE)


def test_an_agent_that_dies_comes_back(server: Guest) -> None:
    # The agent's folder bears its process id.
    code, first = server.agent.run("cd /run/router && ls -d agent.*", PATIENCE)
    assert code == 0
    pid = int(first.decode().removeprefix("agent."))
    server.agent.run(f"(sleep 0.3; kill -9 {pid}) >/dev/null 2>&1 &", PATIENCE)

    def another() -> bool:
        with contextlib.suppress(MachineError):  # what is asked of the one that is killed meanwhile gets no answer
            code, second = server.agent.run("cd /run/router && ls -d agent.*", 5)
            return code == 0 and second.startswith(b"agent.") and second != first
        return False

    assert wait_until(another, 2 * PATIENCE, 0.2)


def test_poweroff_ends_the_machine(server: Guest) -> None:
    server.console.send("poweroff\n")
    assert server.process.wait(2 * PATIENCE) == 0


def test_the_client_comes_up_and_keeps_looking_for_its_server(
    guest_image: Callable[[str], GuestImage], tmp_path: Path
) -> None:
    files = {"etc/router/guest.conf": config("client"), "etc/router/usb-attach": b"server 10.77.0.2\n"}
    with running(guest_image("usb-client"), files, tmp_path, []) as guest:
        guest.console.expect(r"router: guest client: userspace up")
        assert guest.agent.hello(BOOT_SECONDS) == "client"
        code, modules = guest.agent.run(
            "for i in $(seq 100); do lsmod | grep -q ^sd_mod && break; sleep 0.1; done; lsmod", 2 * PATIENCE
        )
        assert code == 0
        assert b"vhci_hcd" in modules
        assert b"sd_mod" in modules
        assert guest.agent.run("ls /sys/devices/platform/vhci_hcd.0/attach", PATIENCE)[0] == 0
        check_root(asking(guest), read_only=False)
        check_kernel(asking(guest), locked=False)
        check_confined(asking(guest), "keep-attached")
        assert guest.agent.run("mount -t vfat none /mnt; grep -c vfat /proc/filesystems", PATIENCE)[1].endswith(
            b"\n1\n"
        )


CLOSED_CLIENT = """
summary: a client that is as closed as a server
extends: [usb-client]
read_only: true
lock_kernel: true
trees: [own]
"""


def test_a_clients_image_can_ask_for_the_same_and_keeps_its_files_where_memory_is_mounted(
    guest_image: Callable[[str], GuestImage], tmp_path: Path
) -> None:
    guest_image("usb-client")
    folder = extend_definitions(tmp_path / "definitions", {"closed-client": CLOSED_CLIENT})
    note = folder / "own/root/notes/note"
    note.parent.mkdir(parents=True)
    note.write_text("kept\n")
    files = {"etc/router/guest.conf": config("client"), "etc/router/usb-attach": b"server 10.77.0.2\n"}
    with running(build_image("closed-client", folder=folder), files, tmp_path, []) as guest:
        assert guest.agent.hello(BOOT_SECONDS) == "client"
        wait_until_loaded(guest, LOCKED)
        ask = asking(guest)
        check_root(ask, read_only=True)
        check_kernel(ask, locked=True)
        check_confined(ask, "keep-attached")
        assert ask("cat /root/notes/note; echo name >/etc/resolv.conf; cat /etc/resolv.conf") == (0, "kept\nname\n")


def test_without_virtio_consoles_the_shell_is_on_the_kernels_console(
    guest_image: Callable[[str], GuestImage], tmp_path: Path
) -> None:
    image = guest_image("usb-server")
    command = [*machine(image, image.initramfs, "console=ttyAMA0 quiet"), "-serial", "stdio"]
    process = subprocess.Popen(["timeout", "300", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if "built-in shell" in line:
                process.stdin.write("echo $((40 + 2))-serial; poweroff\n")
                process.stdin.flush()
            if "42-serial" in line:
                break
        else:
            pytest.fail("the shell on the serial line did not answer")
        assert process.wait(2 * PATIENCE) == 0


def test_a_guest_without_its_configuration_still_gives_a_shell(
    guest_image: Callable[[str], GuestImage], tmp_path: Path
) -> None:
    with running(guest_image("usb-server"), {}, tmp_path, []) as guest:
        guest.console.expect("came up without its settings")
        guest.console.send("echo $((40 + 2))-shell\n")
        guest.console.expect("42-shell", PATIENCE)
