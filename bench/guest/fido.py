# SPDX-License-Identifier: BSD-2-Clause
"""Talks with a security key by hidraw (FIDO CTAP 2.1, 11.2: CTAPHID)."""

import os
import select
import struct

from bench.guest.sysfs import routed, wait

FRAME, BROADCAST, INITIAL = 64, 0xFFFFFFFF, 0x80
PING, CBOR, INIT = 0x01, 0x10, 0x06
GET_INFO = b"\x04"


def talk(count: int, timeout_s: float) -> None:
    """Open a channel, PING `count` random bytes, ask for authenticatorGetInfo.

    Prints (whether the channel's answer has our nonce, whether the bytes came back, the CBOR answer).
    """
    names = wait(lambda: routed("/sys/class/hidraw", "/vhci_hcd"), timeout_s)
    file = os.open("/dev/" + names[0], os.O_RDWR)
    nonce, sent = os.urandom(8), os.urandom(count)
    answer = ask(file, BROADCAST, INIT, nonce, timeout_s)
    (channel,) = struct.unpack_from(">I", answer, 8)
    print((answer[:8] == nonce, ask(file, channel, PING, sent, timeout_s) == sent, info(file, channel, timeout_s)))


def info(file: int, channel: int, timeout_s: float) -> bytes:
    """What the key says about itself: a status byte and CBOR."""
    return ask(file, channel, CBOR, GET_INFO, timeout_s)


def ask(file: int, channel: int, command: int, data: bytes, timeout_s: float) -> bytes:
    """Sends a message and returns its answer."""
    write(file, struct.pack(">IBH", channel, INITIAL | command, len(data)) + data[:57])
    for number, at in enumerate(range(57, len(data), 59)):
        write(file, struct.pack(">IB", channel, number) + data[at : at + 59])
    frame = read(file, timeout_s)
    got, answered, length = struct.unpack_from(">IBH", frame)
    if (got, answered) != (channel, INITIAL | command):
        raise ValueError(f"an answer of channel {got:x} and command {answered:x}")
    content = frame[7:]
    while len(content) < length:
        content += read(file, timeout_s)[5:]
    return content[:length]


def write(file: int, frame: bytes) -> None:
    """A report OUT; hidraw wants its number first, 0 for a device without numbers."""
    os.write(file, b"\0" + frame.ljust(FRAME, b"\0"))


def read(file: int, timeout_s: float) -> bytes:
    """A report IN."""
    if not select.select([file], [], [], timeout_s)[0]:
        raise TimeoutError("the key does not answer")
    return os.read(file, FRAME)
