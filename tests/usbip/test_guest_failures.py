# SPDX-License-Identifier: BSD-2-Clause
"""What breaks, broken on real kernels: a server killed under a file system, a disk pulled out; other sockets."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator

import pytest

pytest.importorskip("router.guests")

from tests.support.patience import PATIENCE
from tests.usbip.lab import QEMU, Lab

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.packages,
    pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed"),
]

SIZE = 16 << 20
SERVE = "exec router-usbip serve --policy /tmp/policy --release --engine"
ROUTED = "ls -l /sys/block | sed -n 's/.*vhci_hcd.*block\\/\\(sd.\\)$/\\1/p' | grep sd"
# Writes new files one after another, and notes each once fsync has acknowledged it.
WRITER = """
import os
for number in range(10000):
    data = b"%08d" % number * 4096
    file = os.open("/mnt/%d" % number, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(file, data)
    os.fsync(file)
    os.close(file)
    with open("/tmp/acknowledged", "w") as note:
        note.write("%d" % (number + 1))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "disk.img").write_bytes(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(SIZE // 32)))
    running = Lab(folder, ["-object", "throttle-group,id=slow,x-bps-total=2000000"])
    running.qmp(
        "blockdev-add",
        driver="throttle",
        **{"throttle-group": "slow", "node-name": "medium"},
        file={"driver": "raw", "file": {"driver": "file", "filename": str(folder / "disk.img")}},
    )
    yield running
    running.close()


@pytest.fixture
def stick(lab: Lab) -> Iterator[Lab]:
    """The guest with the disk plugged in, at 2-1; afterwards nothing runs in it."""
    plug(lab)
    yield lab
    lab.stop_all()
    lab.run("for p in $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'); do usbip detach -p $p; done")
    lab.wait_for("! usbip port 2>/dev/null | grep -q '^Port'")
    lab.qmp("device_del", id="stick")
    lab.wait_for("! [ -e /sys/bus/usb/devices/2-1 ]")


def plug(lab: Lab) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            lab.qmp("device_add", driver="usb-storage", bus="xhci.0", port="1", drive="medium", id="stick")
            break
        except AssertionError:
            # QEMU lets go of an unplugged device's medium a little later than the guest sees it go.
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    lab.wait_for("[ -e /sys/bus/usb/devices/2-1/devnum ]")


def throttle(lab: Lab, rate: int) -> None:
    lab.qmp("qom-set", path="/objects/slow", property="limits", value={"bps-total": rate})


def check_that_a_killed_server_loses_nothing(stick: Lab) -> None:
    """What fsync acknowledged is on the disk after the server was killed under a file system."""
    throttle(stick, 0)
    stick.run("echo 'allow any all' >/tmp/policy")
    server = stick.start(f"{SERVE} usbfs --listen 127.0.0.1", "/tmp/serve.log")
    stick.start("exec router-usbip keep-attached 127.0.0.1", "/tmp/keep.log")
    disk = stick.wait_for(ROUTED).strip()
    stick.wait_for(f"true </dev/{disk}")
    stick.run(f"modprobe crc32c_generic; modprobe ext4; mke2fs /dev/{disk} >/dev/null 2>&1")
    stick.run(f"mkdir -p /mnt; mount -t ext4 /dev/{disk} /mnt")
    program = base64.b64encode(WRITER.encode()).decode()
    stick.run(f"rm -f /tmp/acknowledged; echo {program} | base64 -d >/tmp/writer.py")
    writer = stick.start("exec python3 -I -S /tmp/writer.py", "/tmp/writer.log")
    stick.wait_for("[ -s /tmp/acknowledged ] && [ $(cat /tmp/acknowledged) -gt 20 ]")
    stick.run(f"kill -9 {server}")
    # The file system finds its disk gone in the middle of a write.
    stick.wait_for(f"! kill -0 {writer} 2>/dev/null")
    said = stick.run("cat /tmp/writer.log")
    assert "OSError" in said and "No space" not in said
    acknowledged = int(stick.run("cat /tmp/acknowledged"))
    assert 20 < acknowledged < 10000
    stick.run("umount -l /mnt")
    stick.start(f"{SERVE} usbfs --listen 127.0.0.1", "/tmp/serve.log")
    # No message says that the server is back: the client asks.
    stick.wait_for("[ $(grep -c 'attached 2-1' /tmp/keep.log) = 2 ]")
    disk = stick.wait_for(ROUTED).strip()
    stick.wait_for(f"true </dev/{disk}")
    stick.run(f"mount -t ext4 -o ro /dev/{disk} /mnt")
    found = stick.run(f"cd /mnt; n=0; while [ $n -lt {acknowledged} ]; do sha256sum $n; n=$((n+1)); done", 5 * PATIENCE)
    stick.run("umount /mnt")
    wanted = [f"{hashlib.sha256(b'%08d' % number * 4096).hexdigest()}  {number}" for number in range(acknowledged)]
    assert found.splitlines() == wanted


def check_that_a_pulled_disk_comes_back(stick: Lab, engine: str) -> None:
    """A disk that is pulled out in the middle of a read is attached to the same port once it is back."""
    throttle(stick, 2_000_000)
    stick.run("echo 'allow any path 2-1 port 3' >/tmp/policy")
    stick.start(f"{SERVE} {engine} --listen 127.0.0.1", "/tmp/serve.log")
    stick.start("exec router-usbip keep-attached 127.0.0.1", "/tmp/keep.log")
    disk = stick.wait_for(ROUTED).strip()
    stick.wait_for(f"true </dev/{disk}")
    reader = stick.start(
        f"dd if=/dev/{disk} of=/dev/null bs=64k iflag=direct; echo ended with $?; true", "/tmp/reader.log"
    )
    sectors = f"set -- $(cat /sys/block/{disk}/stat); echo $3"
    before = int(stick.run(sectors))
    stick.wait_for(f"[ $({sectors}) -gt {before + 500} ]")
    assert stick.code(f"kill -0 {reader}")[0] == 0, "it is still reading"
    stick.qmp("device_del", id="stick")
    stick.wait_for("grep -q 'ended with' /tmp/reader.log")
    assert "ended with 1" in stick.run("cat /tmp/reader.log")
    stick.wait_for("grep -q 'detached 2-1 port 3' /tmp/keep.log && ! usbip port 2>/dev/null | grep -q '^Port'")
    throttle(stick, 0)
    plug(stick)
    stick.wait_for("[ $(grep -c 'attached 2-1 port 3' /tmp/keep.log) = 2 ]")
    disk = stick.wait_for(ROUTED).strip()
    stick.wait_for(f"true </dev/{disk}")
    content = hashlib.sha256((stick.folder / "disk.img").read_bytes()).hexdigest()
    assert stick.run(f"sha256sum /dev/{disk}").split()[0] == content
    assert "Traceback" not in stick.run("cat /tmp/serve.log /tmp/keep.log")


@pytest.mark.parametrize("engine", ["kernel", "usbfs"])
@pytest.mark.parametrize("address", ["vsock:1", "unix:/tmp/usbip.sock"])
def test_the_kernels_take_sockets_that_are_not_tcp(stick: Lab, engine: str, address: str) -> None:
    throttle(stick, 0)
    client = "vsock:1" if address == "vsock:1" else "unix"
    stick.run(f"modprobe vsock_loopback; echo 'allow {client} all' >/tmp/policy")
    stick.start(f"{SERVE} {engine} --listen {address}", "/tmp/serve.log")
    stick.wait_for("grep -q 'exported 2-1' /tmp/serve.log")
    stick.start(f"exec router-usbip keep-attached {address}", "/tmp/keep.log")
    disk = stick.wait_for(ROUTED).strip()
    stick.wait_for(f"true </dev/{disk}")
    content = hashlib.sha256((stick.folder / "disk.img").read_bytes()).hexdigest()
    assert stick.run(f"sha256sum /dev/{disk}").split()[0] == content


def test_a_host_that_is_a_str_can_be_connected_to(lab: Lab) -> None:
    """The interpreter takes such a host through a codec that a trimmed library may lack."""
    program = (
        "import socket; server = socket.create_server(('127.0.0.1', 0)); "
        "print(socket.create_connection(server.getsockname()).getpeername()[0])"
    )
    assert lab.run(f'python3 -I -S -c "{program}"') == "127.0.0.1\n"


def test_a_usb_3_controllers_port_has_two_names(stick: Lab) -> None:
    stick.run("echo 'allow any path 1-1' >/tmp/policy")
    stick.start(f"{SERVE} kernel --listen 127.0.0.1", "/tmp/serve.log")
    stick.wait_for("grep -q 'exported' /tmp/serve.log")
    assert "exported 2-1 46f4:0001" in stick.run("cat /tmp/serve.log")


def test_a_device_that_is_not_granted_has_milestones_when_it_comes_and_goes(stick: Lab) -> None:
    stick.run("echo 'allow any path 9-9' >/tmp/policy")
    stick.start(f"{SERVE} kernel --listen 127.0.0.1", "/tmp/serve.log")
    stick.wait_for("grep -q 'plugged 2-1 46f4:0001 not granted' /tmp/serve.log")
    stick.qmp("device_del", id="stick")
    stick.wait_for("grep -q 'unplugged 2-1 46f4:0001' /tmp/serve.log")
    plug(stick)
    stick.wait_for("[ $(grep -c ': plugged 2-1' /tmp/serve.log) = 2 ]")
    assert "exported" not in stick.run("cat /tmp/serve.log")


def test_a_server_killed_under_a_file_system_loses_nothing_that_fsync_acknowledged(stick: Lab) -> None:
    check_that_a_killed_server_loses_nothing(stick)


@pytest.mark.parametrize("engine", ["kernel", "usbfs"])
def test_a_disk_pulled_out_in_the_middle_of_a_read_comes_back_to_its_port(stick: Lab, engine: str) -> None:
    check_that_a_pulled_disk_comes_back(stick, engine)


@pytest.mark.long
@pytest.mark.parametrize("cycle", range(20))
def test_no_kill_of_twenty_loses_what_fsync_acknowledged(stick: Lab, cycle: int) -> None:
    check_that_a_killed_server_loses_nothing(stick)


@pytest.mark.long
@pytest.mark.parametrize("cycle", range(20))
@pytest.mark.parametrize("engine", ["kernel", "usbfs"])
def test_a_disk_pulled_out_twenty_times_comes_back_each_time(stick: Lab, engine: str, cycle: int) -> None:
    check_that_a_pulled_disk_comes_back(stick, engine)


ATTACHES = 3
RESET = re.compile(r"\] \S+ (\S+): reset .*USB device")
"""The first word is the driver: usb, usbip-host, usbfs."""


@pytest.mark.parametrize("engine", ["kernel", "usbfs"])
@pytest.mark.parametrize(
    ("busid", "used"),
    [("2-1", f"d=$({ROUTED}) && true </dev/$d"), ("1-2", "grep -q vhci_hcd /proc/bus/input/devices")],
    ids=["disk", "keyboard"],
)
def test_an_attach_resets_a_device_once_at_most_on_either_side(stick: Lab, engine: str, busid: str, used: str) -> None:
    throttle(stick, 0)
    stick.run("echo 'allow any all' >/tmp/policy")
    stick.qmp("device_add", driver="usb-kbd", bus="xhci.0", port="2", id="keys")
    try:
        stick.start(f"{SERVE} {engine} --listen 127.0.0.1", "/tmp/serve.log")
        stick.wait_for(f"grep -q 'exported {busid}' /tmp/serve.log")
        stick.run("modprobe vhci-hcd; echo attaches begin >/dev/kmsg")
        for number in range(ATTACHES):
            if number:
                stick.run("usbip detach -p $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p')")
                stick.wait_for("! ls -l /sys/block /sys/class/input | grep -q vhci_hcd")
            stick.wait_for(f"usbip attach -r 127.0.0.1 -b {busid}")
            stick.wait_for(used)
        # While the last one is attached: the reset after a session makes the device ready for the next attach.
        said = stick.run("dmesg").rpartition("attaches begin")[2]
    finally:
        stick.qmp("device_del", id="keys")
        stick.wait_for("! [ -e /sys/bus/usb/devices/1-2 ]")
    resets = Counter(RESET.findall(said))
    print(f"{ATTACHES} attaches of {busid} by the engine {engine}: resets {dict(resets)}")
    # Each client finds the device as after power-on, so the server does reset it.
    assert 1 <= resets[busid] <= ATTACHES
    assert all(count <= ATTACHES for count in resets.values())
