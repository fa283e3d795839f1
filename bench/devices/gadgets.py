# SPDX-License-Identifier: BSD-2-Clause
"""What is done with gadgets over the route."""

from __future__ import annotations

from collections.abc import Callable

from bench import programs
from bench.devices.gadget import DEVICE, FOLDER, Functions, gadget, isochronous
from bench.devices.models import NotTried, Outcome, expect
from bench.devices.network import ping
from bench.devices.rig import Rig
from bench.devices.storage import DISK, use_disk
from bench.guest import hid_gadget, input_events, pcm, printer_gadget, serial_line
from bench.guest.input_events import EV_KEY
from bench.systems import MiB
from router.errors import MachineError

BOOT_KEYBOARD = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295017508810395057501050819012905910295017503910395067508"
    "150025650507190029658100c0"
)
"""The report descriptor of a boot keyboard (HID 1.11, appendix B.1)."""


def medium(rig: Rig) -> tuple[Functions, str, Callable[[int, int], str]]:
    """A disk's function, whose medium is a file of random bytes in the server; its SHA-256, and that of a range."""
    path = "/tmp/lun"
    fill = f"dd if=/dev/urandom of={path} bs=1M count={DISK // MiB} 2>/dev/null; sha256sum {path}"
    made = rig.run("server", fill, 60).split()[0]
    rig.add_cleanup(lambda: rig.run("server", f"rm -f {path}"))

    def part(start: int, size: int) -> str:
        block = 1 << 16
        read = f"dd if={path} bs={block} skip={start // block} count={size // block} 2>/dev/null | sha256sum"
        return rig.run("server", read, 60).split()[0]

    return {"mass_storage.0": {"lun.0/removable": "echo 1", "lun.0/file": f"echo {path}"}}, made, part


def mass_storage(rig: Rig) -> Outcome:
    """A disk that is a file in the server."""
    function, before, part = medium(rig)
    gadget(rig, ("usb_f_mass_storage",), function)
    rig.wait_attached(DEVICE, "usb-storage")
    return use_disk(rig, before, part)


def talk(rig: Rig) -> Outcome:
    """Bytes both ways over the gadget's serial line."""
    rig.wait_for_paths("server", "/dev/ttyGS0", 10)
    path = rig.wait_for_paths("client", "/dev/ttyACM0", 10)[0]
    count = 8192
    finish = rig.start("server", 20, serial_line.echo_inverted, path="/dev/ttyGS0", count=count, timeout_s=20)
    got = rig.program("client", 40, serial_line.talk, path=path, count=count, timeout_s=20)
    expect(finish(), count, "bytes in the server")
    expect(got, (count, True), "bytes back in the client")
    return Outcome(f"{count} random bytes to the server, which returned them inverted: all are right")


def serial(rig: Rig) -> Outcome:
    """A serial line to a tty of the server."""
    gadget(rig, ("usb_f_acm",), {"acm.0": {}})
    rig.wait_attached(DEVICE, "cdc_acm")
    return talk(rig)


def composite(rig: Rig) -> Outcome:
    """A device of several functions, each with a driver of its own."""
    function, before, part = medium(rig)
    gadget(rig, ("usb_f_mass_storage", "usb_f_acm"), {**function, "acm.0": {}})
    rig.wait_attached(DEVICE, "usb-storage")
    read, line = use_disk(rig, before, part), talk(rig)
    # The drivers bind one after another.
    rig.wait_attached(DEVICE, "cdc_acm")
    return Outcome(f"{read.done}; {line.done}")


def printer(rig: Rig) -> Outcome:
    """A printer, whose paper is a file in the server."""
    gadget(rig, ("usb_f_printer",), {"printer.0": {}})
    rig.run("client", "modprobe usblp")
    rig.wait_attached(DEVICE, "usblp")
    rig.wait_for_paths("server", "/dev/g_printer0", 10)
    count = 64 << 10
    finish = rig.start(
        "server", 20, printer_gadget.save, path="/dev/g_printer0", count=count, paper="/tmp/paper", timeout_s=20
    )
    page = f"head -c {count} /dev/urandom >/tmp/page && cat /tmp/page >/dev/usb/lp0 && sha256sum /tmp/page"
    sent = rig.run("client", page, 30).split()[0]
    expect(finish(), count, "bytes on the paper")
    expect(rig.run("server", "sha256sum /tmp/paper").split()[0], sent, "the page's SHA-256")
    return Outcome("printed 64 KiB of random bytes: SHA-256 is the same in the server")


def network(function: str, driver: str) -> Callable[[Rig], Outcome]:
    """The exercise of a network adapter of that function."""

    def exercise(rig: Rig) -> Outcome:
        rig.run("client", f"modprobe {driver}")
        gadget(rig, (f"usb_f_{function}",), {f"{function}.0": {}})
        name = f"$(cat {FOLDER}/functions/{function}.0/ifname)"
        rig.run("server", f"ip address add 10.99.0.1/24 dev {name}; ip link set {name} up")
        rig.wait_attached(DEVICE, driver)
        return ping(rig, "10.99.0.2/24", "10.99.0.1")

    return exercise


def keyboard(rig: Rig) -> Outcome:
    """A keyboard: a program in the server presses its keys and sees its LED."""
    octal = "".join(f"\\{byte:03o}" for byte in BOOT_KEYBOARD)
    attributes = {
        "protocol": "echo 1",
        "subclass": "echo 1",
        "report_length": "echo 8",
        "report_desc": f"printf '{octal}'",
    }
    gadget(rig, ("usb_f_hid",), {"hid.0": attributes})
    rig.wait_attached(DEVICE, "usbhid")
    rig.wait_for_paths("client", "/sys/class/input/event*/device/capabilities/led", 10)
    wanted = [(EV_KEY, 30, 1), (EV_KEY, 30, 0), (EV_KEY, 48, 1), (EV_KEY, 48, 0)]
    finish = rig.start("client", 10, input_events.record, count=len(wanted), led=1, timeout_s=10)
    reports = b"".join(bytes([0, 0, key, 0, 0, 0, 0, 0]) for key in (4, 0, 5, 0))
    lit = b"\x02"
    led_reports = rig.program(
        "server", 30, hid_gadget.send_reports, path="/dev/hidg0", reports=reports, size=8, expect=lit, timeout_s=8
    )
    expect([event for event in finish() if event[0] == EV_KEY], wanted, "keys")
    done = "2 keys pressed and released: the input events are right and in order; the caps-lock LED's report"
    if lit not in led_reports:
        return Outcome(f"{done} does not arrive", (f"of the LED reports only {led_reports} arrived",))
    return Outcome(f"{done} arrives at the server")


def sound(rig: Rig) -> Outcome:
    """A sound card: what the client plays, the server records."""
    rates = {"c_srate": "echo 48000", "p_srate": "echo 48000", "c_ssize": "echo 2", "p_ssize": "echo 2"}
    isochronous(rig, ("usb_f_uac2",), {"uac2.0": rates})
    rig.wait_attached(DEVICE, "snd-usb-audio")
    recorder = rig.start("server", 20, pcm.transfer, direction="c", rate=48_000, frames=24_000, mark="/dummy_udc")
    player = rig.start("client", 20, pcm.transfer, direction="p", rate=48_000, frames=48_000)
    for what, finish in (("playing", player), ("recording", recorder)):
        frames, state, _ = finish()
        if state:
            raise MachineError(f"both drivers bind; {what} stopped at frame {frames}: {state}")
    return Outcome("played 1 s, of which the server recorded half a second; the contents were not compared")


def camera(rig: Rig) -> Outcome:
    """A camera; no program in the server makes pictures."""
    isochronous(rig, ("usb_f_uvc",), {"uvc.0": {}}, programs.script("camera_function"))
    try:
        rig.wait_attached(DEVICE, "uvcvideo", 5)
    except MachineError as error:
        if rig.device is not None:
            raise
        raise NotTried("f_uvc plugs in only once a program in the server answers its control requests") from error
    return Outcome("its driver binds", ("no picture was requested, because the server has no program that makes one",))
