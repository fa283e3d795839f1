"""What is done with each of QEMU's USB devices over the route, and judged by what arrives at the other end."""

from __future__ import annotations

import array
import hashlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from bench import device_programs as programs
from bench.device_models import Device, Outcome
from bench.device_stand import SOUND, Stand
from bench.exercises_input import expect, keyboard, keyboard_behind_hub, mouse, tablet, wacom
from bench.smart_card import RESET, SmartCard
from router.errors import MachineError
from router.usbip.protocol.descriptors import BULK

MiB = 1 << 20
DISK = 12 * MiB

# Storage

FIND_DISK = (
    "n=0; until d=$(ls -l /sys/block | sed -n 's/.*vhci_hcd.*block\\/\\(sd.\\)$/\\1/p' | grep sd); do n=$((n+1)); "
    '[ $n -lt 75 ] || { echo timed out: no disk appeared; exit 1; }; sleep 0.2; done; echo "$d"'
)


def use_disk(stand: Stand, before: str, medium: Callable[[int, int], str]) -> Outcome:
    """Read all of a disk and write a part. before: SHA-256 of its contents; medium: that of a range, asked later."""
    disk = f"/dev/{stand.run('client', FIND_DISK, 40).strip()}"
    expect(stand.run("client", f"sha256sum {disk}", 90).split()[0], before, "the disk's contents")
    start, size = 4 * MiB, 2 * MiB
    made = stand.run(
        "client",
        f"dd if=/dev/urandom of=/tmp/new bs=1M count={size // MiB} 2>/dev/null && "
        f"dd if=/tmp/new of={disk} bs=64k seek={start >> 16} oflag=direct 2>/dev/null && sync && sha256sum /tmp/new",
        90,
    ).split()[0]
    expect(medium(start, size), made, "what was written")
    return Outcome(f"read {DISK // MiB} MiB, wrote {size // MiB} MiB: SHA-256 is the same on both sides")


def image(stand: Stand) -> tuple[Path, str]:
    """A disk image of random bytes and its SHA-256."""
    path = stand.folder / f"disk-{time.monotonic_ns():x}.img"
    data = os.urandom(DISK)
    path.write_bytes(data)
    stand.on_end(path.unlink)
    return path, hashlib.sha256(data).hexdigest()


def range_of(path: Path) -> Callable[[int, int], str]:
    """SHA-256 of a range of an image."""
    return lambda start, size: hashlib.sha256(path.read_bytes()[start : start + size]).hexdigest()


def disk(kind: str, device: str) -> Callable[[Stand], Outcome]:
    """The exercise of a disk of that kind, with usb-storage in the client."""

    def exercise(stand: Stand) -> Outcome:
        path, before = image(stand)
        stand.plug(f"{kind}:{path}")
        stand.attached(device, "usb-storage")
        return use_disk(stand, before, range_of(path))

    return exercise


def uas(stand: Stand) -> Outcome:
    """A disk without bulk-only transport, at SuperSpeed."""
    path, before = image(stand)
    stand.plug(f"uas:{path}")
    if "uas" not in stand.attached("46f4:0003").drivers.values():
        said = stand.run("client", "dmesg | grep 'support streams' | tail -n 1").strip()
        if said:
            raise MachineError(f"{NO_STREAMS} ({said.partition('] ')[2]})")
        raise MachineError("the driver uas did not bind")
    return use_disk(stand, before, range_of(path))


NO_STREAMS = (
    "UAS at SuperSpeed needs bulk streams, which USB/IP and vhci do not have, and the device has no bulk-only setting"
)


# Lines


class Line:
    """A unix socket that QEMU connects a serial line to."""

    def __init__(self, stand: Stand) -> None:
        self.path = stand.folder / f"line-{time.monotonic_ns():x}"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(1)
        self._server.settimeout(10)
        stand.on_end(self._server.close)

    def talk(self, data: bytes, seconds: float) -> bytes:
        """Send data and take as much."""
        got = b""
        end = time.monotonic() + seconds
        with self._server.accept()[0] as stream:
            stream.settimeout(seconds)
            stream.sendall(data)
            stream.settimeout(0.2)
            while len(got) < len(data) and time.monotonic() < end:
                try:
                    got += stream.recv(65536)
                except TimeoutError:
                    continue
        return got


def serial(kind: str, device: str, prepare: str = "true") -> Callable[[Stand], Outcome]:
    """The exercise of a serial line of that kind, with ftdi_sio in the client."""

    def exercise(stand: Stand) -> Outcome:
        line = Line(stand)
        stand.run("client", f"modprobe ftdi_sio; {prepare}")
        stand.plug(f"{kind}:{line.path}")
        stand.attached(device, "ftdi_sio")
        tty = "n=0; until ls /dev/ttyUSB* 2>/dev/null; do n=$((n+1)); [ $n -lt 25 ] || exit 1; sleep 0.2; done"
        path = stand.run("client", tty).split()[0]
        sent = os.urandom(4096)
        finish = stand.begin("client", programs.TTY_ECHO, 20, PATH=path, COUNT=len(sent))
        got = line.talk(sent, 25)
        expect(finish(), len(sent), "bytes in the client")
        if got != bytes(255 - byte for byte in sent):
            raise MachineError(f"of {len(sent)} bytes back to the host, {len(got)} arrived, and not the same")
        return Outcome("4096 random bytes to the client and, inverted, back: the same")

    return exercise


# What has no driver in the client: transfers from a program


def ccid(stand: Stand) -> Outcome:
    """A card reader with a card in it, which the bench plays."""
    path = stand.folder / f"card-{time.monotonic_ns():x}"
    card = SmartCard(path)
    stand.on_end(card.close)
    stand.plug(f"ccid:{path}")
    seen = stand.attached("08e6:4433")
    command = bytes.fromhex("00a4040005a000000001")
    out, into = (seen.endpoint(0, BULK, way) for way in (True, False))
    words = {"NODE": seen.node, "INTERFACE": 0, "OUT": out, "IN": into, "APDU": command}
    answers = stand.program("client", programs.CCID, 30, **words)
    expect(answers["power"][3], RESET, "the answer to reset")
    expect(answers["apdu"][3], command[::-1] + b"\x90\x00", "the card's answer")
    return Outcome("slot status, power on, one command by usbfs: the card's answer to reset and its answer arrive")


def mtp(stand: Stand) -> Outcome:
    """A media player with one file."""
    folder = stand.folder / f"mtp-{time.monotonic_ns():x}"
    folder.mkdir()
    data = os.urandom(100_000)
    (folder / "song.bin").write_bytes(data)
    stand.plug(f"mtp:{folder}")
    seen = stand.attached("46f4:0004")
    out, into = (seen.endpoint(0, BULK, way) for way in (True, False))
    answer = stand.program("client", programs.MTP, 40, NODE=seen.node, INTERFACE=0, OUT=out, IN=into)
    expect((answer["opened"], answer["about"]), (0x2001, 0x2001), "responses")
    if "QEMU".encode("utf-16-le") not in answer["information"]:
        raise MachineError("the device information does not name QEMU")
    expect(hashlib.sha256(b"".join(answer["contents"])).digest(), hashlib.sha256(data).digest(), "the file")
    return Outcome("OpenSession, GetDeviceInfo, GetObject of a file of 100 kB by usbfs: its contents are the same")


# Network


def ping(stand: Stand, mine: str, to: str) -> Outcome:
    """Echo requests over the client's routed network interface, from the address `mine` (with its prefix)."""
    name = stand.run(
        "client",
        "n=0; until i=$(ls -l /sys/class/net | sed -n 's/.*vhci_hcd.*net\\/\\(.*\\)$/\\1/p' | grep .); do "
        "n=$((n+1)); [ $n -lt 50 ] || { echo timed out: no network interface; exit 1; }; sleep 0.2; done; echo $i",
    ).strip()
    stand.run("client", f"ip address add {mine} dev {name} && ip link set {name} up && sleep 1")
    count, size = 20, 1200
    same = stand.program("client", programs.PING, 80, TO=to, COUNT=count, SIZE=size)
    lost = () if same == count else (f"{count - same} of {count} echo requests lost",)
    if not same:
        raise MachineError("timed out: no echo request was answered")
    return Outcome(f"link up; ARP, and {same} of {count} echo requests of {size} random bytes come back the same", lost)


def net(stand: Stand) -> Outcome:
    """A network adapter on QEMU's user-mode network, which is closed to the outside."""
    stand.qmp.execute("netdev_add", type="user", id="slirp", restrict=True)
    stand.on_end(lambda: stand.qmp.execute("netdev_del", id="slirp"))
    stand.qmp.execute("netdev_add", type="hubport", hubid=7, id="slirp-port", netdev="slirp")
    stand.on_end(lambda: stand.qmp.execute("netdev_del", id="slirp-port"))
    stand.plug("net")
    stand.attached("0525:a4a2", "cdc_ether")
    return ping(stand, "10.0.2.15/24", "10.0.2.2")


# Sound


def audio(stand: Stand) -> Outcome:
    """A loudspeaker, whose sound QEMU writes to a file."""
    if NATIVE not in stand.notes:
        stand.notes[NATIVE] = play_natively(stand)
    play(stand, "client", "/vhci_hcd", lambda: stand.attached(SPEAKER, "snd-usb-audio"))
    heard, gaps = in_order(stand.sound.read_bytes()[WAV_HEAD:])
    native, native_gaps = stand.notes[NATIVE]
    if not heard:
        raise MachineError("nothing that was played is in QEMU's file")
    told = f"{100 * heard // FRAMES} % of the frames are in QEMU's file, in order, with {gaps} gaps"
    done = f"played {FRAMES // RATE} s of 48 kHz stereo: {told}"
    missing = f"sound is missing; without USB/IP {100 * native // FRAMES} % of it are there, with {native_gaps} gaps"
    return Outcome(done, (missing,) if heard < 0.99 * FRAMES else ())


NATIVE = "sound without USB/IP"
SPEAKER = "46f4:0002"
RATE, FRAMES, WAV_HEAD = 48_000, 96_000, 44


def play(stand: Stand, guest: str, mark: str, ready: Callable[[], object]) -> None:
    """Plug the loudspeaker in, wait for it, play, and let QEMU write what it has; MachineError when playing stops."""
    stand.qmp.execute("device_add", driver="usb-audio", bus="usb.0", port="1", id="speaker", audiodev=SOUND)
    stand.on_end(lambda: stand.qmp.execute("device_del", id="speaker"))
    ready()
    finish = stand.begin(guest, programs.PCM, 30, MARK=mark, CARD="", DIRECTION="p", RATE=RATE, FRAMES=FRAMES)
    played, state, _ = finish()
    if state:
        raise MachineError(f"playing stopped at frame {played}: {state}")
    time.sleep(1)


def play_natively(stand: Stand) -> tuple[int, int]:
    """What of the sound arrives when the server itself plays it: how much of it TCG's clock and QEMU let through."""
    stand.use("none")
    stand.run("server", "modprobe snd-usb-audio")
    try:
        card = "n=0; until ls /dev/snd/pcm*p; do n=$((n+1)); [ $n -lt 50 ] || exit 1; sleep 0.2; done"
        play(stand, "server", "/pci", lambda: stand.run("server", card))
        return in_order(stand.sound.read_bytes()[WAV_HEAD:])
    finally:
        stand.undo()
        stand.run("server", "rmmod snd-usb-audio")
        stand.use(stand.engine)


def in_order(data: bytes) -> tuple[int, int]:
    """Of the saw-tooth that `programs.PCM` plays: how many frames follow the one before, and how often one does not.

    data: stereo S16 samples. QEMU's volume scales them, so that their heights count relative to the greatest. Silence
    is neither.
    """
    samples = array.array("h", data[: len(data) // 4 * 4])
    peak = max(samples, default=0)
    follows = gaps = 0
    last = -1
    for left, right in zip(samples[::2], samples[1::2], strict=True):
        step = round(127 * left / peak) if peak else 0
        if not left and not right and (last in (-1, 0)):
            continue
        if abs(left + right) <= 2 and step == (last + 1) % 128:
            follows += 1
        elif last >= 0:
            gaps += 1
        last = step
    return follows, gaps


# Hubs


def hub(stand: Stand) -> Outcome:
    """The hub itself."""
    stand.plug("hub")
    stand.run(
        "server", "n=0; until [ -e /sys/bus/usb/devices/1-1 ]; do n=$((n+1)); [ $n -lt 25 ] || exit 1; sleep 0.2; done"
    )
    time.sleep(3)
    listed = stand.run("client", "router-usbip list -r $(sed -n 's/^SERVER=//p' /etc/router/guest.conf)")
    if "0409:55aa" in listed:
        raise MachineError("the server offers a hub")
    return Outcome("its rule allows it; the server does not list it", refused=HUB)


HUB = "USB/IP exports no hubs, and the daemon leaves them to the server; what is plugged into one is exported"


BRAILLE = "modprobe usbserial; echo 0403 fe72 >/sys/bus/usb-serial/drivers/ftdi_sio/new_id"

QEMU_DEVICES = (
    Device("usb-kbd", "keyboard", keyboard),
    Device("usb-mouse", "mouse", mouse),
    Device("usb-tablet", "tablet", tablet),
    Device("usb-wacom-tablet", "graphics tablet", wacom),
    Device("usb-storage", "disk, bulk-only", disk("storage", "46f4:0001")),
    Device("usb-bot", "disk, bulk-only, SCSI disk behind it", disk("bot", "46f4:0001")),
    Device("usb-uas", "disk, USB attached SCSI", uas),
    Device("usb-serial", "serial adapter (FTDI)", serial("serial", "0403:6001")),
    Device("usb-braille", "braille display (FTDI)", serial("braille", "0403:fe72", BRAILLE)),
    Device("usb-ccid", "card reader, ccid-card-passthru", ccid),
    Device("usb-mtp", "media player", mtp),
    Device("usb-net", "network adapter", net),
    Device("usb-audio", "loudspeaker", audio),
    Device("usb-hub", "hub of 8 ports", hub),
    Device("usb-kbd behind usb-hub", "keyboard", keyboard_behind_hub),
)
