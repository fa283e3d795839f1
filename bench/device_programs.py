"""Programs that `router bench devices` runs in guests to use a device: each prints what it saw as a Python literal.

They talk to the kernel's own interfaces (evdev, tty, usbfs, ALSA's ioctls), so that a guest needs no further package
and what is judged is the device as any program sees it. `MARK` is a part of the sysfs path of the controllers that
count: "/vhci_hcd" for what came over USB/IP. A program that waits for the other side prints `ready` first.
"""

from __future__ import annotations

FIND = """
import os, struct, time
def routed(folder, mark=MARK):
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if mark in os.path.realpath(folder + "/" + name)]
def wait(look, seconds):
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return found
def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
"""

FACTS = f"""{FIND}
BASE = "/sys/bus/usb/devices"
def device():
    for name in routed(BASE):
        base = BASE + "/" + name
        if read(base + "/idVendor") + ":" + read(base + "/idProduct") == DEVICE and read(base + "/bConfigurationValue"):
            return name
def driver(name):
    link = BASE + "/" + name + "/driver"
    return os.path.basename(os.readlink(link)) if os.path.islink(link) else ""
def bound():
    return {{n: driver(n) for n in routed(BASE) if n.startswith(name + ":")}}
name = wait(device, SECONDS)
if name:
    # Between two drivers' claims nothing is bound; a composite device gets its drivers one after another.
    wait(lambda: not DRIVER or DRIVER in bound().values(), SETTLE)
    base = BASE + "/" + name
    with open(base + "/descriptors", "rb") as file:
        descriptors = file.read()
    print(dict(
        name=name, speed=read(base + "/speed"), config=int(read(base + "/bConfigurationValue")),
        product=read(base + "/product"), descriptors=descriptors, drivers=bound(),
        node="/dev/bus/usb/%03d/%03d" % (int(read(base + "/busnum")), int(read(base + "/devnum"))),
    ))
else:
    print(None)
"""
"""Waits for `DEVICE` ("vvvv:pppp") and for `DRIVER` on one of its interfaces ("" for none)."""

INPUT = f"""{FIND}
import select
names = wait(lambda: routed("/sys/class/input"), 5)
files = [os.open("/dev/input/" + n, os.O_RDWR) for n in names if n.startswith("event")]
print("ready", flush=True)
seen, end = [], time.monotonic() + SECONDS
while files and len(seen) < COUNT and time.monotonic() < end:
    for file in select.select(files, [], [], 0.2)[0]:
        data = os.read(file, 24 * 64)
        for at in range(0, len(data), 24):
            kind, code, value = struct.unpack_from("<16xHHi", data, at)
            # Not the ends of reports, scan codes, or what the kernel repeats by itself.
            if kind in (1, 2, 3) and (kind, value) != (1, 2):
                seen.append((kind, code, value))
for file in files if LED is not None else ():
    os.write(file, struct.pack("16xHHi16xHHi", 17, LED, 1, 0, 0, 0))
print(seen)
"""
"""Input events of the routed devices: (type, code, value), at most COUNT. Then lights LED, unless it is None."""

TTY_OPEN = f"""{FIND}
import fcntl, select
def line(path):
    file = os.open(path, os.O_RDWR | os.O_NOCTTY)
    os.system("stty -F %s raw -echo" % path)
    return file
def take(file, count, seconds):
    got, end = b"", time.monotonic() + seconds
    while len(got) < count and time.monotonic() < end:
        if select.select([file], [], [], 0.2)[0]:
            got += os.read(file, 4096)
    return got
def give(file, data):
    while data:
        data = data[os.write(file, data):]
    fcntl.ioctl(file, 0x5409, 1)  # TCSBRK, which waits until it is sent (asm-generic/ioctls.h)
"""
TTY_ECHO = f"""{TTY_OPEN}
file = line(PATH)
print("ready", flush=True)
got = take(file, COUNT, SECONDS)
give(file, bytes(255 - byte for byte in got))
print(len(got))
"""
"""Returns what it reads from a serial line, every bit inverted."""

TTY_TALK = f"""{TTY_OPEN}
file = line(PATH)
sent = os.urandom(COUNT)
give(file, sent)
got = take(file, COUNT, SECONDS)
print((len(got), got == bytes(255 - byte for byte in sent)))
"""
"""Sends random bytes and judges what comes back from `TTY_ECHO`."""

USBFS = """
import array, fcntl, os, struct
def claim(interface):
    file = os.open(NODE, os.O_RDWR)
    fcntl.ioctl(file, 0x8004550F, struct.pack("=I", interface))  # USBDEVFS_CLAIMINTERFACE
    return file
def bulk(file, endpoint, data, timeout=4000):
    buffer = array.array("B", data)
    where = buffer.buffer_info()[0]
    # USBDEVFS_BULK; its result is how many bytes went over
    count = fcntl.ioctl(file, 0xC0185502, bytearray(struct.pack("=III4xQ", endpoint, len(buffer), timeout, where)))
    return buffer[:count].tobytes()
"""
"""Bulk transfers through usbfs's blocking ioctl (linux/usbdevice_fs.h)."""

CCID = f"""{USBFS}
def exchange(kind, data=b"", number=[0]):
    number[0] += 1
    # CCID 1.1, 6.1: type, length, slot, sequence, three bytes of the message's own
    bulk(file, OUT, struct.pack("<BIBB3x", kind, len(data), 0, number[0]) + data)
    answer = bulk(file, IN, bytes(1024))
    size, _, sequence, status, error = struct.unpack_from("<xIBBBB", answer)
    return sequence == number[0], status, error, answer[10:10 + size]
file = claim(INTERFACE)
print(dict(status=exchange(0x65), power=exchange(0x62), apdu=exchange(0x6F, APDU) if APDU else None))
"""
"""PC_to_RDR_GetSlotStatus, IccPowerOn (answered by the card's ATR) and XfrBlock."""

MTP = f"""{USBFS}
def operation(code, *words, number=[0]):
    number[0] += 1
    # PTP (ISO 15740) container: length, type 1 command, 2 data, 3 response, code, transaction
    words = struct.pack("<%dI" % len(words), *words)
    bulk(file, OUT, struct.pack("<IHHI", 12 + len(words), 1, code, number[0]) + words)
    data = b""
    while True:
        part = bulk(file, IN, bytes(16384))
        length, kind, answer, _ = struct.unpack_from("<IHHI", part)
        while len(part) < length:
            part += bulk(file, IN, bytes(16384))
        if kind == 3:
            return answer, data
        data = part[12:length]
file = claim(INTERFACE)
opened, _ = operation(0x1002, 1)
about, information = operation(0x1001)
listed, handles = operation(0x1007, 0xFFFFFFFF, 0, 0xFFFFFFFF)
count = struct.unpack_from("<I", handles)[0]
contents = [operation(0x1009, handle)[1] for handle in struct.unpack_from("<%dI" % count, handles, 4)]
print(dict(opened=opened, about=about, information=information, contents=contents))
"""
"""OpenSession, GetDeviceInfo, GetObjectHandles, and GetObject of each."""

PING = """
import os, socket, struct, time
def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
stream = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
stream.settimeout(2)
same = 0
for number in range(COUNT):
    body = os.urandom(SIZE)
    head = struct.pack("!BBHHH", 8, 0, 0, 77, number)
    stream.sendto(struct.pack("!BBHHH", 8, 0, checksum(head + body), 77, number) + body, (TO, 0))
    end = time.monotonic() + 2
    try:
        while time.monotonic() < end:
            packet = stream.recv(65536)
            if packet[20] == 0 and struct.unpack_from("!HH", packet, 24) == (77, number):
                same += packet[28:] == body
                break
    except OSError:
        pass
print(same)
"""
"""Echo requests with random data of SIZE bytes (even): how many came back the same."""

PCM = f"""{FIND}
import array, fcntl
cards = wait(lambda: routed("/sys/class/sound"), 5) if not CARD else [CARD]
name = next(n for n in cards if n.startswith("pcm") and n.endswith(DIRECTION))
file = os.open("/dev/snd/" + name, os.O_RDWR)
# struct snd_pcm_hw_params (sound/asound.h): flags, 3 + 5 masks of 32 bytes, 12 + 9 intervals of 12, and the rest
hardware = bytearray(608)
hardware[4:100] = bytes([255]) * 96
def interval(number, low, high):
    struct.pack_into("<III", hardware, 260 + 12 * (number - 8), low, high, 4 if low == high else 0)
for number in range(8, 20):
    interval(number, 0, 0xFFFFFFFF)
hardware[4:36] = (1 << 3).to_bytes(32, "little")  # interleaved, by read and write
hardware[36:68] = (1 << 2).to_bytes(32, "little")  # S16_LE
interval(10, 2, 2)
interval(11, RATE, RATE)
struct.pack_into("<I", hardware, 512, 0xFFFFFFFF)
fcntl.ioctl(file, 0xC2604111, hardware)
period, size = (struct.unpack_from("<I", hardware, 260 + 12 * (n - 8))[0] for n in (13, 17))
software = bytearray(struct.pack("<III4xQQQQQQQ", 0, 1, 0, period, 1, 1, 1 << 62, 0, 0, 0).ljust(136, b"\\0"))
fcntl.ioctl(file, 0xC0884113, software)
fcntl.ioctl(file, 0x4140)  # prepare
print("ready", flush=True)
frames = array.array("h", (value for n in range(FRAMES) for value in ((n & 127) << 8, -((n & 127) << 8))))
if DIRECTION == "c":
    frames = array.array("h", bytes(4 * FRAMES))
at = 0
try:
    while at < FRAMES:
        part = min(FRAMES - at, 4800)
        block = bytearray(struct.pack("<qQQ", 0, frames.buffer_info()[0] + 4 * at, part))
        fcntl.ioctl(file, 0x40184150 if DIRECTION == "p" else 0x80184151, block)
        at += struct.unpack_from("<q", block)[0]
    if DIRECTION == "p":
        fcntl.ioctl(file, 0x4144)  # drain
    state = ""
except OSError as error:
    state = error.strerror
print((at, state, size))
"""
"""Plays FRAMES frames of a saw-tooth of 128 steps and its opposite ("p"), or records as many ("c")."""

USBTEST = f"""{FIND}
import errno, fcntl, array
CODE = 0xC01C5564  # _IOWR('U', 100, struct usbtest_param_32): drivers/usb/misc/usbtest.c
def case(number, iterations, length, vary, pieces):
    block = array.array("I", [number, iterations, length, vary, pieces, 0, 0])
    request = struct.pack("=iIQ", 0, CODE, block.buffer_info()[0])
    try:
        fcntl.ioctl(file, 0xC0105512, request)  # USBDEVFS_IOCTL
        return "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
file = os.open(NODE, os.O_RDWR)
for words in CASES:
    began = time.monotonic()
    print((words[0], case(*words), round(time.monotonic() - began, 2)), flush=True)
print("end")
"""
"""usbtest's cases of CASES, one row each as it ends: (number, "ok" or the error's name, seconds)."""

REPORTS = """
import os, select, time
file = os.open(PATH, os.O_RDWR)
for report in SEND:
    os.write(file, report)
got, end = [], time.monotonic() + SECONDS
while EXPECT not in got and time.monotonic() < end:
    if select.select([file], [], [], 0.2)[0]:
        got.append(os.read(file, 64))
print(got)
"""
"""Sends input reports as a HID gadget, and takes output reports until EXPECT is among them."""

PAPER = """
import os, select, time
file = os.open(PATH, os.O_RDWR)
print("ready", flush=True)
got, end = b"", time.monotonic() + SECONDS
while len(got) < COUNT and time.monotonic() < end:
    if select.select([file], [], [], 0.2)[0]:
        got += os.read(file, 4096)
with open("/tmp/paper", "wb") as paper:
    paper.write(got)
print(len(got))
"""
"""Puts what a printer gadget is sent into /tmp/paper."""
