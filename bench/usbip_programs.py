"""Python programs that `router bench usbip` runs in its guests; each prints `name value`, in seconds."""

from __future__ import annotations

LISTENING = """
import os, sys, time
try:
    os.unlink("/tmp/serve.log")
except OSError:
    pass
start = time.monotonic()
os.system(COMMAND + " >/tmp/serve.log 2>&1 </dev/null & echo $! >/tmp/serve.pid")
while time.monotonic() < start + 30:
    try:
        with open("/tmp/serve.log") as log:
            if "listening" in log.read():
                break
    except OSError:
        pass
    time.sleep(0.01)
else:
    sys.exit("it does not listen")
print("listening", time.monotonic() - start)
"""
"""Starts a daemon with its output in /tmp/serve.log and its process in /tmp/serve.pid."""

ATTACH = """
import os, sys, time
def disk():
    for name in os.listdir("/sys/block"):
        if name.startswith("sd") and "vhci_hcd" in os.readlink("/sys/block/" + name):
            return name
start = time.monotonic()
if os.system(COMMAND + " >/dev/null 2>&1"):
    sys.exit("cannot attach")
while not disk() and time.monotonic() < start + 30:
    time.sleep(0.005)
print("attach", time.monotonic() - start)
while not os.path.exists("/dev/" + disk()):
    time.sleep(0.05)
"""
"""Runs a command that attaches a disk, until there is its block device."""

READS = """
import array, os, time
disk = [n for n in os.listdir("/sys/block") if n.startswith("sd") and "vhci_hcd" in os.readlink("/sys/block/" + n)][0]
room = array.array("B", bytes((1 << 20) + 4096))
skip = -room.buffer_info()[0] % 4096
large = memoryview(room)[skip:skip + (1 << 20)]
small = large[:4096]
file = os.open("/dev/" + disk, os.O_RDWR | os.O_DIRECT)
def moved(name, call, count):
    start = time.monotonic()
    for number in range(count):
        call(file, [large], number << 20)
    print(name, time.monotonic() - start)
os.preadv(file, [large], 0)
moved("sequential", os.preadv, SEQUENTIAL)
moved("write", os.pwritev, SEQUENTIAL)
taken, place, blocks = [], 1, SIZE // 4096
begin = time.monotonic()
for _ in range(RANDOM):
    place = (place * 1103515245 + 12345) % 2147483648
    start = time.monotonic()
    os.preadv(file, [small], place % blocks * 4096)
    taken.append(time.monotonic() - start)
print("random", time.monotonic() - begin)
print("read latency", sorted(taken)[RANDOM // 2])
"""
"""Reads and writes of 1 MiB one after another, reads of 4 KiB at pseudo-random places; all O_DIRECT, one at a time."""

EXCHANGE_SERVER = """
import socket
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("", PORT))
server.listen(4)
zeros, room = bytes(8192), bytearray(8192)
while True:
    peer, _ = server.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        turns = eval(peer.recv(200))
        peer.sendall(b".")
        while True:
            for asked, answered in turns:
                got = 0
                while got < asked:
                    size = peer.recv_into(room)
                    if not size:
                        raise OSError
                    got += size
                peer.sendall(zeros[:answered])
    except OSError:
        pass
    peer.close()
"""
"""A connection says first, as a Python list, the sizes of the messages to come and of their answers, in turn."""

EXCHANGE_CLIENT = """
import socket, sys, time
sys.path.insert(0, "/usr/lib/router/usbip.pyz")
def connect(port):
    peer = socket.socket()
    peer.settimeout(20)
    peer.connect((SERVER, port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer
room = bytearray(8192)
def exchange(peer, request, size):
    peer.sendall(request)
    got = 0
    while got < size:
        count = peer.recv_into(room)
        if not count:
            raise EOFError("the server has closed the connection")
        got += count
def middle(values):
    return sorted(values)[len(values) // 2]
def times(call, count=200):
    taken = []
    for _ in range(count):
        start = time.monotonic()
        call()
        taken.append(time.monotonic() - start)
    return middle(taken)
# A 4 KiB read by bulk-only transport: command (48 + 31 bytes), data (48 + 4096 back), status (48 + 13 back).
def bare(sizes):
    peer = connect(PORT)
    peer.sendall(repr(sizes).encode())
    peer.recv(1)
    requests = [(bytes(asked), answered) for asked, answered in sizes]
    def all_of_them():
        for request, answered in requests:
            exchange(peer, request, answered)
    taken = times(all_of_them)
    peer.close()
    return taken
print("tcp read", bare([(79, 48), (48, 4144), (48, 61)]))
print("tcp one", bare([(48, 66)]))
from router.usbip import urb, wire
from router.usbip.client.exchange import import_steps, run_steps
for _ in range(50):
    device = connect(URB_PORT)
    try:
        found = run_steps(device, wire.pack_import_request(BUSID), import_steps(BUSID))
        break
    except Exception:
        # The session before may be ending still.
        device.close()
        time.sleep(0.1)
number = 0
def transfer():
    global number
    number += 1
    setup = bytes((0x80, 6, 0, 1, 0, 0, 18, 0))
    exchange(device, urb.pack_submit(urb.Submit(number, found.devid, urb.IN, 0, 18, b"", setup)), 66)
print("kernel urb", times(transfer))
device.close()
time.sleep(1)
"""
"""Bare TCP with the sizes of a read, and one URB to the device itself: medians."""
