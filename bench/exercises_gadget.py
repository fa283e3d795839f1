"""What is done with gadgets: devices that the server's own kernel plays, on its emulated controller dummy_hcd."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench import device_programs as programs
from bench.device_models import Device, NotTried, Outcome
from bench.device_stand import Stand
from bench.exercises import DISK, MiB, ping, use_disk
from bench.exercises_input import EV_KEY, expect
from bench.usbtest import usbtest
from router.errors import MachineError

DEVICE = "1209:0001"
FOLDER = "/sys/kernel/config/usb_gadget/bench"
TTY = "n=0; until ls {names} 2>/dev/null; do n=$((n+1)); [ $n -lt 50 ] || exit 1; sleep 0.2; done"
BOOT_KEYBOARD = bytes.fromhex(
    "05010906a101050719e029e71500250175019508810295017508810395057501050819012905910295017503910395067508"
    "150025650507190029658100c0"
)
"""The report descriptor of a boot keyboard (HID 1.11, appendix B.1)."""

Functions = Mapping[str, Mapping[str, str]]
"""A configuration's functions by their names in configfs, each with its attributes."""


def set_up(device: str, configurations: tuple[Functions, ...], modules: tuple[str, ...], extra: str = "") -> str:
    """A shell script that makes the gadget and plugs it into dummy_hcd (Documentation/usb/gadget_configfs.rst).

    extra: commands in the gadget's folder before any function is put into a configuration.
    """
    vendor, _, product = device.partition(":")
    lines = [
        "set -e",
        f"for m in dummy_hcd libcomposite {' '.join(modules)}; do modprobe $m; done",
        "[ -d /sys/kernel/config/usb_gadget ] || mount -t configfs none /sys/kernel/config",
        f"mkdir {FOLDER}; cd {FOLDER}",
        f"echo 0x{vendor} >idVendor; echo 0x{product} >idProduct; echo 0x0200 >bcdUSB",
        "mkdir strings/0x409; echo bench >strings/0x409/product; echo 0001 >strings/0x409/serialnumber",
    ]
    for number, functions in enumerate(configurations, 1):
        lines.append(f"mkdir configs/c.{number}")
        for name, attributes in functions.items():
            lines.append(f"mkdir functions/{name}")
            lines += [f"{value} >functions/{name}/{attribute}" for attribute, value in attributes.items()]
            lines.append(extra)
            lines.append(f"ln -s functions/{name} configs/c.{number}/")
    lines.append("udc=$(ls /sys/class/udc | grep dummy); echo $udc >UDC")
    return "\n".join(lines)


TAKE_DOWN = f"""
[ -d {FOLDER} ] || exit 0
cd {FOLDER}
echo >UDC 2>/dev/null
rm configs/*/*.*
if [ -d functions/uvc.0 ]; then
    cd functions/uvc.0
    rm control/class/*/h streaming/class/*/h streaming/header/h/u
    rmdir control/header/h streaming/header/h streaming/uncompressed/u/1 streaming/uncompressed/u
    cd ../..
fi
rmdir configs/* functions/* strings/*
cd ..
rmdir bench
"""


def gadget(
    stand: Stand, modules: tuple[str, ...], *configurations: Functions, device: str = DEVICE, extra: str = ""
) -> None:
    """Plug a gadget into the server."""
    stand.on_end(lambda: stand.run("server", TAKE_DOWN))
    stand.run("server", set_up(device, configurations, modules, extra), 30)


def medium(stand: Stand) -> tuple[Functions, str, Callable[[int, int], str]]:
    """A disk's function, whose medium is a file of random bytes in the server; its SHA-256, and that of a range."""
    path = "/tmp/lun"
    fill = f"dd if=/dev/urandom of={path} bs=1M count={DISK // MiB} 2>/dev/null; sha256sum {path}"
    made = stand.run("server", fill, 60).split()[0]
    stand.on_end(lambda: stand.run("server", f"rm -f {path}"))

    def part(start: int, size: int) -> str:
        block = 1 << 16
        read = f"dd if={path} bs={block} skip={start // block} count={size // block} 2>/dev/null | sha256sum"
        return stand.run("server", read, 60).split()[0]

    return {"mass_storage.0": {"lun.0/removable": "echo 1", "lun.0/file": f"echo {path}"}}, made, part


def mass_storage(stand: Stand) -> Outcome:
    """A disk that is a file in the server."""
    function, before, part = medium(stand)
    gadget(stand, ("usb_f_mass_storage",), function)
    stand.attached(DEVICE, "usb-storage")
    return use_disk(stand, before, part)


def talk(stand: Stand) -> Outcome:
    """Bytes both ways over the gadget's serial line."""
    stand.run("server", TTY.format(names="/dev/ttyGS0"))
    path = stand.run("client", TTY.format(names="/dev/ttyACM0")).split()[0]
    count = 8192
    finish = stand.begin("server", programs.TTY_ECHO, 20, PATH="/dev/ttyGS0", COUNT=count)
    got = stand.program("client", programs.TTY_TALK, 40, PATH=path, COUNT=count, SECONDS=20)
    expect(finish(), count, "bytes in the server")
    expect(got, (count, True), "bytes back in the client")
    return Outcome(f"{count} random bytes to the server and, inverted, back: the same")


def serial(stand: Stand) -> Outcome:
    """A serial line to a tty of the server."""
    gadget(stand, ("usb_f_acm",), {"acm.0": {}})
    stand.attached(DEVICE, "cdc_acm")
    return talk(stand)


def composite(stand: Stand) -> Outcome:
    """A device of several functions, each with a driver of its own."""
    function, before, part = medium(stand)
    gadget(stand, ("usb_f_mass_storage", "usb_f_acm"), {**function, "acm.0": {}})
    stand.attached(DEVICE, "usb-storage")
    read, line = use_disk(stand, before, part), talk(stand)
    # The drivers bind one after another.
    stand.attached(DEVICE, "cdc_acm")
    return Outcome(f"{read.done}; {line.done}")


def printer(stand: Stand) -> Outcome:
    """A printer, whose paper is a file of the server."""
    gadget(stand, ("usb_f_printer",), {"printer.0": {}})
    stand.run("client", "modprobe usblp")
    stand.attached(DEVICE, "usblp")
    stand.run("server", TTY.format(names="/dev/g_printer0"))
    count = 64 << 10
    finish = stand.begin("server", programs.PAPER, 20, PATH="/dev/g_printer0", COUNT=count)
    page = f"head -c {count} /dev/urandom >/tmp/page && cat /tmp/page >/dev/usb/lp0 && sha256sum /tmp/page"
    sent = stand.run("client", page, 30).split()[0]
    expect(finish(), count, "bytes on the paper")
    expect(stand.run("server", "sha256sum /tmp/paper").split()[0], sent, "the page's SHA-256")
    return Outcome("printed 64 KiB of random bytes: SHA-256 is the same in the server")


def network(function: str, driver: str) -> Callable[[Stand], Outcome]:
    """The exercise of a network adapter of that function."""

    def exercise(stand: Stand) -> Outcome:
        stand.run("client", f"modprobe {driver}")
        gadget(stand, (f"usb_f_{function}",), {f"{function}.0": {}})
        name = f"$(cat {FOLDER}/functions/{function}.0/ifname)"
        stand.run("server", f"ip address add 10.99.0.1/24 dev {name}; ip link set {name} up")
        stand.attached(DEVICE, driver)
        return ping(stand, "10.99.0.2/24", "10.99.0.1")

    return exercise


def keyboard(stand: Stand) -> Outcome:
    """A keyboard whose keys a program of the server presses, and whose lamp it sees."""
    octal = "".join(f"\\{byte:03o}" for byte in BOOT_KEYBOARD)
    attributes = {
        "protocol": "echo 1",
        "subclass": "echo 1",
        "report_length": "echo 8",
        "report_desc": f"printf '{octal}'",
    }
    gadget(stand, ("usb_f_hid",), {"hid.0": attributes})
    stand.attached(DEVICE, "usbhid")
    stand.run(
        "client", "n=0; until ls /sys/class/input/event*/device/capabilities/led; do n=$((n+1)); [ $n -lt 9 ]; done"
    )
    wanted = [(EV_KEY, 30, 1), (EV_KEY, 30, 0), (EV_KEY, 48, 1), (EV_KEY, 48, 0)]
    finish = stand.begin("client", programs.INPUT, 10, COUNT=len(wanted), LED=1)
    send = [bytes([0, 0, key, 0, 0, 0, 0, 0]) for key in (4, 0, 5, 0)]
    lit = b"\x02"
    words = {"PATH": "/dev/hidg0", "SEND": send, "EXPECT": lit, "SECONDS": 8}
    lamps = stand.program("server", programs.REPORTS, 30, **words)
    expect([event for event in finish() if event[0] == EV_KEY], wanted, "keys")
    done = "2 keys pressed and released: the input events are those, in order; caps lock's lamp"
    if lit not in lamps:
        return Outcome(f"{done} does not", (f"of the lamps' reports only {lamps} came",))
    return Outcome(f"{done} reaches the server")


def sound(stand: Stand) -> Outcome:
    """A sound card: what the client plays, the server records."""
    rates = {"c_srate": "echo 48000", "p_srate": "echo 48000", "c_ssize": "echo 2", "p_ssize": "echo 2"}
    isochronous(stand, ("usb_f_uac2",), {"uac2.0": rates})
    stand.attached(DEVICE, "snd-usb-audio")
    recorder = stand.begin(
        "server", programs.PCM, 20, MARK="/dummy_udc", CARD="", DIRECTION="c", RATE=48_000, FRAMES=24_000
    )
    player = stand.begin("client", programs.PCM, 20, CARD="", DIRECTION="p", RATE=48_000, FRAMES=48_000)
    for what, finish in (("playing", player), ("recording", recorder)):
        frames, state, _ = finish()
        if state:
            raise MachineError(f"both drivers bind; {what} stopped at frame {frames}: {state}")
    return Outcome("played 1 s, of which the server recorded half a second; the contents were not compared")


def isochronous(stand: Stand, modules: tuple[str, ...], functions: Functions, extra: str = "") -> None:
    """Plug in a gadget that needs isochronous endpoints; NotTried where dummy_hcd does not take it.

    dummy_hcd is loaded afresh then: after a gadget that did not fit, it does not notice the next one. (Not after each
    gadget, because the ones that are network adapters do not outlive that.)
    """
    try:
        gadget(stand, modules, functions, extra=extra)
    except MachineError as error:
        stand.undo()
        said = (
            stand.run("server", "rmmod dummy_hcd; dmesg | grep -e 'udc.*failed' | tail -n 1").strip().partition("] ")[2]
        )
        raise NotTried(f"the server's kernel does not plug it in ({said}): {NO_ISO}") from error


NO_ISO = "dummy_hcd has no isochronous endpoints"

CAMERA = """
cd functions/uvc.0
mkdir control/header/h streaming/uncompressed/u streaming/uncompressed/u/1 streaming/header/h
echo 16 >streaming/uncompressed/u/1/wWidth
echo 16 >streaming/uncompressed/u/1/wHeight
echo 333333 >streaming/uncompressed/u/1/dwFrameInterval
ln -s streaming/uncompressed/u streaming/header/h/u
for s in fs hs; do ln -s streaming/header/h streaming/class/$s/h; done
for s in fs ss; do ln -s control/header/h control/class/$s/h; done
cd ../..
"""


def camera(stand: Stand) -> Outcome:
    """A camera for which no program of the server makes pictures."""
    isochronous(stand, ("usb_f_uvc",), {"uvc.0": {}}, CAMERA)
    try:
        stand.attached(DEVICE, "uvcvideo", 5)
    except MachineError as error:
        if stand.seen is not None:
            raise
        raise NotTried("f_uvc plugs in only once a program in the server answers its control requests") from error
    return Outcome("its driver binds", ("no picture was asked for: nobody makes one in the server",))


GADGET = ("dummy_hcd", "libcomposite")
GADGETS = (
    Device("gadget zero", "source, sink and loopback; usbtest", usbtest(gadget), (*GADGET, "usb_f_ss_lb", "usbtest")),
    Device("gadget mass storage", "disk, bulk-only", mass_storage, (*GADGET, "usb_f_mass_storage")),
    Device("gadget ACM", "serial line (CDC)", serial, (*GADGET, "usb_f_acm")),
    Device("gadget ECM", "network adapter (CDC)", network("ecm", "cdc_ether"), (*GADGET, "usb_f_ecm")),
    Device("gadget NCM", "network adapter (CDC)", network("ncm", "cdc_ncm"), (*GADGET, "usb_f_ncm")),
    Device("gadget RNDIS", "network adapter", network("rndis", "rndis_host"), (*GADGET, "usb_f_rndis")),
    Device("gadget HID", "keyboard", keyboard, (*GADGET, "usb_f_hid")),
    Device("gadget printer", "printer", printer, (*GADGET, "usb_f_printer")),
    Device("gadget composite", "disk and serial line in one", composite, (*GADGET, "usb_f_mass_storage", "usb_f_acm")),
    Device("gadget UAC2", "sound card", sound, (*GADGET, "usb_f_uac2")),
    Device("gadget UVC", "camera", camera, (*GADGET, "usb_f_uvc")),
)
