# SPDX-License-Identifier: BSD-2-Clause
"""Playing and recording by ALSA's ioctls (sound/asound.h)."""

import array
import fcntl
import itertools
import os
import struct
import time

from bench.guest.sysfs import routed, wait

HW_PARAMS, SW_PARAMS, PREPARE, DRAIN = 0xC2604111, 0xC0884113, 0x4140, 0x4144
WRITEI_FRAMES, READI_FRAMES = 0x40184150, 0x80184151
ACCESS_RW_INTERLEAVED, FORMAT_S16_LE = 3, 2
CHANNELS, RATE, PERIOD_SIZE, BUFFER_SIZE = 10, 11, 13, 17
"""Numbers of interval parameters, the first of which is 8 and the last 19."""
BLOCK = 4800
"""Frames of one transfer."""


def transfer(direction: str, rate: int, frames: int, mark: str = "/vhci_hcd") -> None:
    """Play ("p") a sawtooth of 128 steps on the left and its inverse on the right, or record ("c") as much.

    Stereo, S16. Prints `ready` and then (frames that were transferred, the error or "", frames of the buffer).
    """
    names = wait(lambda: routed("/sys/class/sound", mark), 5)
    name = next(each for each in names if each.startswith("pcm") and each.endswith(direction))
    file = os.open("/dev/snd/" + name, os.O_RDWR)
    size = configure(file, rate)
    fcntl.ioctl(file, PREPARE)
    print("ready", flush=True)
    heights = ((frame & 127) << 8 for frame in range(frames))
    if direction == "p":
        samples = array.array("h", (sample for height in heights for sample in (height, -height)))
    else:
        samples = array.array("h", bytes(4 * frames))
    at, error = 0, ""
    try:
        while at < frames:
            block = bytearray(struct.pack("<qQQ", 0, samples.buffer_info()[0] + 4 * at, min(frames - at, BLOCK)))
            fcntl.ioctl(file, WRITEI_FRAMES if direction == "p" else READI_FRAMES, block)
            at += struct.unpack_from("<q", block)[0]
        if direction == "p":
            fcntl.ioctl(file, DRAIN)
    except OSError as caught:
        error = caught.strerror or str(caught)
    print((at, error, size))


def capture(rate: int, frames: int, period: int, timeout_s: float, mark: str = "/vhci_hcd") -> None:
    """Record stereo S16 whose frames count up as 32-bit numbers. period: in frames, 0: as the driver likes it.

    Prints `ready` and then (frames, how often recording had to begin again because nobody fetched what came, and of
    each place where a frame is not the one before plus 1: how many are missing).
    """
    names = wait(lambda: routed("/sys/class/sound", mark), 5)
    name = next(each for each in names if each.startswith("pcm") and each.endswith("c"))
    file = os.open("/dev/snd/" + name, os.O_RDWR)
    configure(file, rate, period)
    fcntl.ioctl(file, PREPARE)
    recorded = array.array("I", bytes(4 * frames))
    print("ready", flush=True)
    at, overruns, joints = 0, 0, set()
    end = time.monotonic() + timeout_s
    while at < frames and time.monotonic() < end:
        block = bytearray(struct.pack("<qQQ", 0, recorded.buffer_info()[0] + 4 * at, min(frames - at, BLOCK)))
        try:
            fcntl.ioctl(file, READI_FRAMES, block)
        except BrokenPipeError:
            overruns += 1
            joints.add(at)
            fcntl.ioctl(file, PREPARE)
            continue
        at += struct.unpack_from("<q", block)[0]
    gaps = [now - before - 1 for before, now in itertools.pairwise(recorded[:at])]
    print((at, overruns, [gap for place, gap in enumerate(gaps, 1) if gap and place not in joints]))


def counted(path: str) -> None:
    """Print of a file of recorded frames, which count up as 32-bit numbers: how many, and what is missing where.

    Of each place where a frame is not the one before plus 1 the difference, which is negative for one that came before.
    """
    recorded = array.array("I")
    with open(path, "rb") as file:
        recorded.frombytes(file.read())
    os.unlink(path)
    gaps = [now - before - 1 for before, now in itertools.pairwise(recorded)]
    print((len(recorded), [gap for gap in gaps if gap]))


def configure(file: int, rate: int, period: int = 0) -> int:
    """Set interleaved stereo S16 at `rate`, start at one period; the frames of the buffer."""
    # struct snd_pcm_hw_params: flags, 3 + 5 masks of 32 bytes, 12 + 9 intervals of 12, and the rest.
    hardware = bytearray(608)

    def place(number: int) -> int:
        return 260 + 12 * (number - 8)

    def interval(number: int, low: int, high: int) -> None:
        is_integer = 4 if low == high else 0
        struct.pack_into("<III", hardware, place(number), low, high, is_integer)

    hardware[4:100] = bytes([255]) * 96
    for number in range(8, 20):
        interval(number, 0, 0xFFFFFFFF)
    hardware[4:36] = (1 << ACCESS_RW_INTERLEAVED).to_bytes(32, "little")
    hardware[36:68] = (1 << FORMAT_S16_LE).to_bytes(32, "little")
    interval(CHANNELS, 2, 2)
    interval(RATE, rate, rate)
    if period:
        interval(PERIOD_SIZE, period, period)
    struct.pack_into("<I", hardware, 512, 0xFFFFFFFF)
    fcntl.ioctl(file, HW_PARAMS, hardware)
    chosen, size = (int(struct.unpack_from("<I", hardware, place(number))[0]) for number in (PERIOD_SIZE, BUFFER_SIZE))
    software = struct.pack("<III4xQQQQQQQ", 0, 1, 0, chosen, 1, 1, 1 << 62, 0, 0, 0)
    fcntl.ioctl(file, SW_PARAMS, bytearray(software.ljust(136, b"\0")))
    return size
