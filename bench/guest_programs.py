"""Python programs that a measurement runs inside guests: small, and with no module that a guest's CPython lacks."""

from __future__ import annotations

import base64

TCP_SERVER = """
import socket
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("", PORT))
server.listen(4)
zeros = bytes(1 << 18)
while True:
    peer, _ = server.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    mode = peer.recv(1)
    try:
        while mode == b"s":
            peer.sendall(zeros)
        while mode == b"e":
            data = peer.recv(48)
            if not data:
                break
            peer.sendall(data)
    except OSError:
        pass
    peer.close()
"""
"""Sends zeros (`s`) or echoes (`e`), one connection at a time."""

CLIENT = """
import os, socket, time
def connect(mode):
    end = time.monotonic() + 60
    while True:
        peer = socket.socket()
        try:
            peer.connect((SERVER, PORT))
            break
        except OSError:
            # The server's Python may be starting still.
            peer.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(mode)
    return peer
def some(count):
    if not count:
        raise EOFError("the server has closed the connection")
    return count
def echo(times):
    peer, taken = connect(b"e"), []
    for _ in range(times):
        start, got = time.monotonic(), 0
        peer.sendall(bytes(48))
        while got < 48:
            got += some(len(peer.recv(48)))
        taken.append(time.monotonic() - start)
    peer.close()
    for value in taken:
        print("echo", value)
def counted(name):
    with open("/sys/class/net/eth0/statistics/rx_" + name) as file:
        return int(file.read())
def tcp(size):
    peer, got, buffer = connect(b"s"), 0, bytearray(1 << 20)
    while got < 1 << 20:
        got += some(peer.recv_into(buffer))
    packets, octets = counted("packets"), counted("bytes")
    start, got = time.monotonic(), 0
    while got < size:
        got += some(peer.recv_into(buffer))
    taken = time.monotonic() - start
    print("frame", (counted("bytes") - octets) / (counted("packets") - packets))
    peer.close()
    print("tcp", got / taken)
def rest():
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("3")
    time.sleep(0.5)
def disk(size):
    rest()
    file, got = os.open(DISK, os.O_RDONLY), 0
    buffer = bytearray(1 << 20)
    start = time.monotonic()
    while got < size:
        read = os.readv(file, [buffer])
        if not read:
            break
        got += read
    print("disk", got / (time.monotonic() - start))
    os.close(file)
def write(size):
    rest()
    file, got, buffer = os.open(DISK, os.O_WRONLY), 0, bytes(1 << 20)
    start = time.monotonic()
    while got < size:
        got += os.write(file, buffer)
    os.fsync(file)
    print("write", got / (time.monotonic() - start))
    os.close(file)
"""
"""What a client can measure; each prints `name value`, in seconds or bytes/s.

`frame` is the mean length of the frames that arrived, counted before the stack merges any: above the MTU, they are
segmented ones. Disks begin with empty caches and after a rest, and are to be read to their end: the kernel reads ahead
of the reader, and a measurement that stops before the end pays for what it does not count.
"""

ROUTE = f"""{CLIENT}
echo(100)
for _ in range(ROUNDS):
    tcp(SIZE)
    disk(SIZE)
"""
"""Echo times, then TCP and disk throughput in turn."""

TCP_ONLY = f"""{CLIENT}
for _ in range(ROUNDS):
    tcp(SIZE)
"""
DISK_ONLY = f"""{CLIENT}
for _ in range(ROUNDS):
    disk(SIZE)
    write(SIZE)
"""

OFFLOADS = """
import array, fcntl, socket, struct
SIOCETHTOOL = 0x8946
OFF = (0x2C, 0x24, 0x1F, 0x17, 0x15)
stream = socket.socket()
for command in reversed(OFF) if ON else OFF:
    value = array.array("I", (command, ON))
    try:
        fcntl.ioctl(stream, SIOCETHTOOL, struct.pack("16sP8x", b"eth0", value.buffer_info()[0]))
    except OSError:
        pass
"""
"""All offloads on or off, by linux/ethtool.h: SGRO, SGSO, STSO, STXCSUM, SRXCSUM. What a device does not have cannot be
changed; the frames' length shows what became of it."""


def shell(program: str, background: bool = False, **constants: object) -> str:
    """A shell command that runs a program with its constants set; in the background it returns at once."""
    head = "".join(f"{name} = {value!r}\n" for name, value in constants.items())
    packed = base64.b64encode((head + program).encode()).decode()
    name = f"/tmp/bench-{abs(hash(packed)) % 10**6}.py"
    run = f"mkdir -p /tmp; echo {packed} | base64 -d > {name}; python3 -I -S {name}"
    return f"{run} >/dev/null 2>&1 </dev/null &" if background else run
