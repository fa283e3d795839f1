# SPDX-License-Identifier: BSD-2-Clause
"""Real kernels: both halves of USB/IP in one Debian arm64 guest, ours and Debian's C tools in all pairings."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("router.guests")

from tests.support.closed_guest import check_confined
from tests.usbip.lab import QEMU, Lab

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.packages,
    pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed"),
]

# As the guests' own scripts start them.
SERVE, KEEP = "exec router-usbip serve --confine usbip", "exec router-usbip keep-attached --confine usbip"
DISK, KEYBOARD = "2-1", "1-2"
SIZE = 32 << 20
SOON, STARTED = 3.0, 1.5
"""Seconds, in the guest, for a keyboard from plugging it in to the client's kernel, and for the daemon to listen."""
# Waits in the background for one event of the keyboard on a virtual port.
KEY_WAIT = (
    "rm -f /tmp/key; event=$(sed -n '/vhci_hcd/,/^$/s/.*\\(event[0-9]*\\).*/\\1/p' /proc/bus/input/devices); "
    "timeout 120 dd if=/dev/input/$event bs=24 count=1 of=/tmp/key 2>/dev/null & "
    "until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q input/$event; do usleep 100000; done"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "disk.img").write_bytes(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(SIZE // 32)))
    running = Lab(
        folder,
        [
            *("-drive", f"if=none,id=disk,file={folder / 'disk.img'},format=raw"),
            *("-device", "usb-storage,bus=xhci.0,port=1,drive=disk,id=stick"),
            *("-device", "usb-kbd,bus=xhci.0,port=2,id=keys"),
        ],
    )
    yield running
    running.close()


@pytest.fixture(autouse=True)
def clean(lab: Lab) -> Iterator[None]:
    """After each test: nothing runs, nothing is attached, each device has its own driver."""
    yield
    # Clients first: a server that ends would have its clients try again.
    lab.stop_all()
    detach_all(lab)
    for busid in (DISK, KEYBOARD):
        lab.code(f"! [ -e /sys/bus/usb/drivers/usbip-host/{busid} ] || usbip unbind -b {busid}")


@pytest.fixture
def serve(lab: Lab) -> int:
    """Our server with everything granted, its process id; all is given back afterwards."""
    lab.run("echo 'allow any all' >/tmp/policy")
    process = lab.start(f"{SERVE} --policy /tmp/policy --listen 127.0.0.1 --release", "/tmp/serve.log")
    lab.wait_for(f"grep -q 'exported {DISK}' /tmp/serve.log && grep -q 'exported {KEYBOARD}' /tmp/serve.log")
    return process


def attached_disk(lab: Lab) -> str:
    """Waits for a disk on a virtual port; its name (sda)."""
    return lab.wait_for("ls -l /sys/block | sed -n 's/.*vhci_hcd.*block\\/\\(sd.\\)$/\\1/p' | grep sd").strip()


def checksum(lab: Lab, disk: str = "sda") -> str:
    return lab.run(f"sha256sum /dev/{disk}").split()[0]


def source(lab: Lab) -> str:
    return hashlib.sha256((lab.folder / "disk.img").read_bytes()).hexdigest()


def detach_all(lab: Lab) -> None:
    lab.run("for p in $(usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'); do usbip detach -p $p; done")
    lab.wait_for("! usbip port 2>/dev/null | grep -q '^Port'")
    # A port is free before its device has gone, which may still be in the middle of its enumeration. The same hub's
    # next device waits for that.
    lab.wait_for("! ls -d /sys/devices/platform/vhci_hcd.*/usb*/[0-9]*-[1-9]* 2>/dev/null")


def test_debians_client_lists_attaches_and_reads_from_our_server(lab: Lab, serve: int) -> None:
    listing = lab.run("usbip list -r 127.0.0.1")
    assert f"{DISK}: unknown vendor : unknown product (46f4:0001)" in listing
    assert "(08/06/50)" in listing
    lab.run(f"usbip attach -r 127.0.0.1 -b {DISK}")
    attached_disk(lab)
    assert checksum(lab) == source(lab)
    detach_all(lab)
    lab.wait_for(f"usbip list -r 127.0.0.1 2>/dev/null | grep -q ' {DISK}:'")


def test_debians_client_neither_sees_nor_gets_what_is_not_granted(lab: Lab, serve: int) -> None:
    lab.run(f"echo 'allow any class hid' >/tmp/policy; kill -HUP {serve}")
    lab.wait_for(f"grep -q 'withdrawn {DISK}' /tmp/serve.log")
    listing = lab.run("usbip list -r 127.0.0.1 2>/dev/null")
    assert (f"{KEYBOARD}:" in listing, f"{DISK}:" in listing) == (True, False)
    code, output = lab.code(f"usbip attach -r 127.0.0.1 -b {DISK}")
    assert (code, "Device not found" in output) == (1, True)


def test_our_client_lists_attaches_and_reads_from_debians_server(lab: Lab) -> None:
    lab.run(f"usbip bind -b {DISK}")
    lab.start("exec usbipd -4", "/tmp/usbipd.log")
    lab.wait_for("router-usbip list -r 127.0.0.1 | grep -q ' 2-1:'")
    lab.run(f"router-usbip attach -r 127.0.0.1 -b {DISK} -p 3")
    attached_disk(lab)
    assert "Port 17: <Port in Use> at Super Speed(5000Mbps)" in lab.run("router-usbip port")
    assert checksum(lab) == source(lab)
    lab.run("router-usbip detach -p 17")
    lab.wait_for("! [ -e /sys/block/sda ]")
    lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    attached_disk(lab)
    assert "has no watch" in lab.run("cat /tmp/keep.log")


def test_our_client_follows_our_server_through_hot_plug_and_replug(lab: Lab, serve: int) -> None:
    lab.run(f"echo 'allow any path {KEYBOARD} port 5' >/tmp/policy; kill -HUP {serve}")
    lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    lab.wait_for(f"grep -q 'attached {KEYBOARD} port 5' /tmp/keep.log")
    took: list[float] = []
    while len(took) < 5 and min(took, default=SOON) >= SOON:  # what else this computer does only adds to it
        lab.qmp("device_del", id="keys")
        lab.wait_for(f"[ $(grep -c 'detached {KEYBOARD} port 5' /tmp/keep.log) = {len(took) + 1} ]")
        lab.qmp("device_add", driver="usb-kbd", bus="xhci.0", port="2", id="keys")
        began = time.monotonic()
        lab.wait_for(f"[ $(grep -c 'attached {KEYBOARD} port 5' /tmp/keep.log) = {len(took) + 2} ]")
        lab.wait_for("grep -q vhci_hcd /proc/bus/input/devices")
        took.append(time.monotonic() - began)
    assert min(took) < SOON, took
    lab.run(KEY_WAIT)
    lab.qmp("send-key", keys=[{"type": "qcode", "data": "a"}])
    lab.wait_for("[ -s /tmp/key ]")


def test_a_killed_server_takes_nothing_from_its_clients(lab: Lab) -> None:
    lab.run("echo 'allow any all' >/tmp/policy")
    server = lab.start(f"{SERVE} --policy /tmp/policy --listen 127.0.0.1", "/tmp/serve.log")
    lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    attached_disk(lab)
    lab.run(f"kill -9 {server}")
    assert checksum(lab) == source(lab)
    lab.start(f"{SERVE} --policy /tmp/policy --listen 127.0.0.1 --release", "/tmp/serve.log")
    lab.wait_for("grep -q listening /tmp/serve.log")
    lab.run("sleep 3")
    assert checksum(lab) == source(lab)
    assert lab.run("grep -c attached /tmp/keep.log").strip() == "2"


def test_a_client_that_died_finds_its_device_free_at_once(lab: Lab, serve: int) -> None:
    keeper = lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    attached_disk(lab)
    lab.run(f"kill {keeper}")
    detach_all(lab)
    lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    attached_disk(lab)
    assert checksum(lab) == source(lab)


@pytest.mark.parametrize("engine", ["kernel", "usbfs"])
def test_both_daemons_keep_one_capability_and_can_get_no_other(lab: Lab, engine: str) -> None:
    lab.run("echo 'allow any all' >/tmp/policy")
    server = lab.start(f"{SERVE} --engine {engine} --policy /tmp/policy --listen 127.0.0.1 --release", "/tmp/serve.log")
    lab.wait_for(f"grep -q 'exported {DISK}' /tmp/serve.log")
    keeper = lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    lab.wait_for(f"grep -q 'attached {DISK}' /tmp/keep.log")
    check_confined(lab.code, "serve")
    check_confined(lab.code, "keep-attached")
    for process in (server, keeper):
        limits = lab.run(f"cat /proc/{process}/limits").splitlines()
        assert [line.split()[-3:-1] for line in limits if "core" in line or "Max processes" in line] == [["0", "0"]] * 2
    # This kernel has all that can be asked for.
    assert "not confined" not in lab.run("cat /tmp/serve.log /tmp/keep.log")


def test_a_confined_server_ends_for_a_controller_that_comes_later_and_the_next_one_has_it(lab: Lab, serve: int) -> None:
    controller = lab.run("basename $(dirname $(realpath /sys/bus/usb/devices/usb1))").strip()
    driver = "/sys/bus/pci/drivers/xhci_hcd"
    lab.run(f"echo {controller} >{driver}/unbind")
    lab.wait_for(f"grep -q 'withdrawn {DISK}' /tmp/serve.log")
    lab.run(f"kill -0 {serve}; echo {controller} >{driver}/bind")
    lab.wait_for(f"! kill -0 {serve}")
    assert "another USB controller is there" in lab.run("cat /tmp/serve.log")
    lab.start(f"{SERVE} --policy /tmp/policy --listen 127.0.0.1 --release", "/tmp/serve.log")
    lab.wait_for(f"grep -q 'exported {DISK}' /tmp/serve.log && grep -q 'exported {KEYBOARD}' /tmp/serve.log")
    lab.run(f"usbip attach -r 127.0.0.1 -b {DISK}")
    assert checksum(lab, attached_disk(lab)) == source(lab)


def test_the_daemon_is_up_soon_and_small(lab: Lab) -> None:
    lab.run("echo 'allow any path 9-9' >/tmp/policy")
    took: list[float] = []
    while len(took) < 8 and min(took, default=STARTED) >= STARTED:  # what else this computer does only adds to it
        lab.stop_all()
        began = time.monotonic()
        process = lab.start(f"{SERVE} --policy /tmp/policy --listen 127.0.0.1", "/tmp/serve.log")
        lab.wait_for("grep -q listening /tmp/serve.log")
        took.append(time.monotonic() - began)
        memory = int(lab.run(f"sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{process}/status"))
        assert memory < 20000
    assert min(took) < STARTED, took


def test_usbfs_serves_a_disk_and_a_keyboard_without_usbip_host(lab: Lab) -> None:
    lab.run("echo 'allow any all' >/tmp/policy")
    lab.start(
        f"{SERVE} --engine usbfs --stats --pcap /tmp/capture --policy /tmp/policy --listen 127.0.0.1 --release",
        "/tmp/serve.log",
    )
    lab.wait_for(f"grep -q 'exported {DISK}' /tmp/serve.log")
    lab.run(f"usbip attach -r 127.0.0.1 -b {DISK}")
    # Debian's tool fails on a port whose device is still being enumerated ("open vhci_driver").
    disk = attached_disk(lab)
    lab.run(f"usbip attach -r 127.0.0.1 -b {KEYBOARD}")
    assert checksum(lab, disk) == source(lab)
    lab.run(
        "dd if=/dev/urandom of=/tmp/new bs=1M count=4 2>/dev/null; "
        f"dd if=/tmp/new of=/dev/{disk} bs=1M seek=8 oflag=direct; sync"
    )
    assert lab.run(
        f"dd if=/dev/{disk} bs=1M skip=8 count=4 iflag=direct 2>/dev/null | cmp - /tmp/new && echo same"
    ).endswith("same\n")
    assert (
        lab.run("sha256sum </tmp/new").split()[0]
        == hashlib.sha256((lab.folder / "disk.img").read_bytes()[8 << 20 : 12 << 20]).hexdigest()
    )
    lab.wait_for("grep -q vhci_hcd /proc/bus/input/devices")
    lab.run(KEY_WAIT)
    lab.qmp("send-key", keys=[{"type": "qcode", "data": "a"}])
    lab.wait_for("[ -s /tmp/key ]")
    rows = lab.run("router-usbip stats").splitlines()
    reads = next(row.split() for row in rows if row.startswith(f"{DISK} ") and " in " in row and "bulk" in row)
    assert int(reads[5]) > SIZE
    assert "in use by 127.0.0.1" in lab.run("router-usbip status")
    assert int(lab.run("wc -c </tmp/capture")) > SIZE


def test_usbfs_follows_unplug_and_replug_and_a_lost_client(lab: Lab) -> None:
    lab.run("echo 'allow any path 1-2 port 4' >/tmp/policy")
    lab.start(f"{SERVE} --engine usbfs --policy /tmp/policy --listen 127.0.0.1 --release", "/tmp/serve.log")
    keeper = lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    lab.wait_for("grep -q vhci_hcd /proc/bus/input/devices")
    lab.qmp("device_del", id="keys")
    lab.wait_for("grep -q 'detached 1-2 port 4' /tmp/keep.log")
    lab.qmp("device_add", driver="usb-kbd", bus="xhci.0", port="2", id="keys")
    lab.wait_for("[ $(grep -c 'attached 1-2 port 4' /tmp/keep.log) = 2 ]")
    # A device that is detached in the middle of its enumeration keeps the kernel waiting for many seconds.
    lab.wait_for("grep -q vhci_hcd /proc/bus/input/devices")
    lab.run(f"kill {keeper}")
    detach_all(lab)
    lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    lab.wait_for("grep -q 'attached 1-2 port 4' /tmp/keep.log && grep -q vhci_hcd /proc/bus/input/devices")
    assert "Traceback" not in lab.run("cat /tmp/serve.log")


def test_through_the_judging_relay_a_real_kernel_works_as_ever(lab: Lab, serve: int) -> None:
    lab.start(f"{KEEP} --validate 127.0.0.1", "/tmp/keep.log")
    disk = attached_disk(lab)
    assert checksum(lab, disk) == source(lab)
    lab.wait_for("grep -q vhci_hcd /proc/bus/input/devices")
    assert "cut" not in lab.run("cat /tmp/keep.log")


def test_a_gadget_of_the_kernel_is_a_serial_line_over_usbip(lab: Lab) -> None:
    """dummy_hcd plugs a CDC-ACM gadget into a controller of the kernel's own; its bytes go through USB/IP and back."""
    lab.run(
        "modprobe dummy_hcd; modprobe libcomposite; modprobe usb_f_acm; mount -t configfs none /sys/kernel/config; "
        "cd /sys/kernel/config/usb_gadget; mkdir g; cd g; echo 0x1209 >idVendor; echo 0x0abc >idProduct; "
        "mkdir strings/0x409 configs/c.1 functions/acm.0; ln -s functions/acm.0 configs/c.1; "
        "ls /sys/class/udc | grep dummy >UDC"
    )
    lab.run("echo 'allow any device 1209:0abc' >/tmp/policy")
    for engine in ("kernel", "usbfs"):
        process = lab.start(
            f"{SERVE} --engine {engine} --policy /tmp/policy --listen 127.0.0.1 --release",
            "/tmp/serve.log",
        )
        keeper = lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
        lab.wait_for("ls -l /sys/class/tty | grep -q vhci_hcd.*ttyACM")
        tty = lab.run("ls -l /sys/class/tty | sed -n 's/.*vhci_hcd.*\\(ttyACM.\\)$/\\1/p'").strip()
        lab.run(f"stty -F /dev/{tty} raw -echo; stty -F /dev/ttyGS0 raw -echo")
        lab.run(
            "dd if=/dev/urandom of=/tmp/sent bs=1k count=8 2>/dev/null; "
            "timeout 120 dd if=/dev/ttyGS0 of=/tmp/got bs=1 count=8192 2>/dev/null & sleep 0.3; "
            f"cat /tmp/sent >/dev/{tty}; wait"
        )
        assert lab.run("sha256sum </tmp/got") == lab.run("sha256sum </tmp/sent")
        lab.run(f"kill {keeper}")
        detach_all(lab)
        lab.run(f"kill {process}")
        lab.wait_for(f"! kill -0 {process} 2>/dev/null")
    lab.run("echo >/sys/kernel/config/usb_gadget/g/UDC")


def test_virtual_devices_are_real_to_the_kernel(lab: Lab) -> None:
    lab.run("echo 'allow any all' >/tmp/policy; dd if=/dev/urandom of=/tmp/disk bs=1M count=8 2>/dev/null")
    lab.start(
        f"{SERVE} --policy /tmp/policy --listen 127.0.0.1 --engine none --virtual disk:/tmp/disk "
        "--virtual keyboard:Hello --virtual serial --virtual audio",
        "/tmp/serve.log",
    )
    lab.wait_for("grep -q 'exported 90-4' /tmp/serve.log")
    lab.start(f"{KEEP} 127.0.0.1", "/tmp/keep.log")
    disk = attached_disk(lab)
    before = lab.run("sha256sum </tmp/disk")
    assert lab.run(f"sha256sum </dev/{disk}") == before
    lab.run(f"dd if=/dev/urandom of=/dev/{disk} bs=64k count=32 oflag=direct && sync")
    assert lab.run(f"sha256sum </dev/{disk}") == lab.run("sha256sum </tmp/disk") != before
    assert "Virtual keyboard" in lab.run("cat /proc/bus/input/devices")
    lab.wait_for("[ -c /dev/ttyACM0 ]")
    lab.run(
        "stty -F /dev/ttyACM0 raw -echo; exec 3<>/dev/ttyACM0; echo there and back >&3; read line <&3; "
        "[ \"$line\" = 'there and back' ]"
    )
    assert "Virtual microphone" in lab.run("cat /proc/asound/cards")
