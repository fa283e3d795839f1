# SPDX-License-Identifier: BSD-2-Clause
"""What is done with sound devices over the route."""

from __future__ import annotations

import array
import time
from collections.abc import Callable

from bench.devices.models import Outcome
from bench.devices.rig import SOUND, Rig
from bench.guest import pcm
from router.errors import MachineError

NATIVE = "sound without USB/IP"
SPEAKER = "46f4:0002"
RATE, FRAMES, WAV_HEAD = 48_000, 96_000, 44


def audio(rig: Rig) -> Outcome:
    """A loudspeaker, whose sound QEMU writes to a file."""
    if NATIVE not in rig.native:
        rig.native[NATIVE] = play_natively(rig)
    play(rig, "client", "/vhci_hcd", lambda: rig.wait_attached(SPEAKER, "snd-usb-audio"))
    heard, gaps = in_order(rig.sound.read_bytes()[WAV_HEAD:])
    native, native_gaps = rig.native[NATIVE]
    if not heard:
        raise MachineError("nothing that was played is in QEMU's file")
    result = f"{100 * heard // FRAMES} % of the frames are in QEMU's file, in order, with {gaps} gaps"
    done = f"played {FRAMES // RATE} s of 48 kHz stereo: {result}"
    missing = f"sound is missing; without USB/IP {100 * native // FRAMES} % of it arrive, with {native_gaps} gaps"
    return Outcome(done, (missing,) if heard < 0.99 * FRAMES else ())


def play(rig: Rig, guest: str, mark: str, ready: Callable[[], object]) -> None:
    """Plug the loudspeaker in, wait until `ready` returns, play; MachineError when playing stops early."""
    rig.qmp.execute("device_add", driver="usb-audio", bus="usb.0", port="1", id="speaker", audiodev=SOUND)
    rig.add_cleanup(lambda: rig.qmp.execute("device_del", id="speaker"))
    ready()
    finish = rig.start(guest, 30, pcm.transfer, direction="p", rate=RATE, frames=FRAMES, mark=mark)
    played, state, _ = finish()
    if state:
        raise MachineError(f"playing stopped at frame {played}: {state}")
    time.sleep(1)


def play_natively(rig: Rig) -> tuple[int, int]:
    """`in_order` of what the server itself plays: how much TCG's clock and QEMU let through without USB/IP."""
    rig.use_engine("none")
    rig.run("server", "modprobe snd-usb-audio")
    try:
        play(rig, "server", "/pci", lambda: rig.wait_for_paths("server", "/dev/snd/pcm*p", 10))
        return in_order(rig.sound.read_bytes()[WAV_HEAD:])
    finally:
        rig.cleanup()
        rig.run("server", "rmmod snd-usb-audio")
        rig.use_engine(rig.engine)


def in_order(data: bytes) -> tuple[int, int]:
    """Of the sawtooth that `pcm.transfer` plays: how many frames follow the one before, and how often one does not.

    data: stereo S16 samples. QEMU's volume scales them, so heights are relative to the greatest. Silence is neither.
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
