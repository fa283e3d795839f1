# SPDX-License-Identifier: BSD-2-Clause
"""The CBMC proofs of tests/vmm/c/prove*.c, and bugs planted in what they are about that each of them must find."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cbmc import ARRAYS, Proof, check_found, check_proved
from tests.vmm.cc import PROGRAMS, ROOT

VMM, COMMON = ROOT / "vmm", ROOT / "common"
SWITCH, SWITCH_CORE = ROOT / "vswitch" / "pd", ROOT / "vswitch" / "core"
INCLUDES = (VMM, COMMON, PROGRAMS)
OFFLOAD = (
    PROGRAMS / "prove_offload.c",
    *(VMM / f"{name}.c" for name in ("segment", "virtqueue")),
    *(COMMON / f"{name}.c" for name in ("netq", "account")),
)
SOURCES = (PROGRAMS / "prove.c", VMM / "virtqueue.c", VMM / "mmio.c", COMMON / "netq.c")
SWITCH_PORTS, SWITCH_ENTRIES = 3, 2
"""Of the switch's proofs: receivers of one frame, and entries of a ring."""
TIMEOUT_S = 1200.0
"""Each takes a second to a minute on a quiet computer."""


def proof(name: str, unwind: int, *bounds: str, sources: tuple[Path, ...] = SOURCES) -> Proof:
    """One harness. A chain may lead into one indirect table, so `walk` calls itself once."""
    flags = (
        ARRAYS,
        "-DVIRTQ_MAX_SEGS=4",
        "--object-bits",
        "12",
        "--unwind",
        str(unwind),
        "--unwindset",
        "walk:3",
        *bounds,
    )
    return Proof(f"prove_{name}", sources, INCLUDES, flags)


def switch_proof(name: str, *unwind: str) -> Proof:
    """One harness of the switch between the rings. unwind: loops that run more or less often than over the ports."""
    bounds = (
        *(ARRAYS, f"-DVSWITCH_MAX_PORTS={SWITCH_PORTS}", f"-DNETQ_ENTRIES={SWITCH_ENTRIES}u"),
        *("--unwind", str(SWITCH_PORTS + 1), "--unwindset", ",".join(unwind)),
    )
    includes = (SWITCH, SWITCH_CORE, COMMON, PROGRAMS)
    return Proof(f"prove_{name}", (PROGRAMS / "prove_forward.c",), includes, bounds)


PROOFS = {
    "guest_memory": proof("guest_memory", 4),
    "decoding": proof("decoding", 4),
    "rings": proof("rings", 4),
    "ring": proof("ring", 4),
    "virtqueue": proof("virtqueue", 8),
    # Fewer entries than steps, so that the tickets go round.
    "pool": proof("pool", 8, "-DNETQ_ENTRIES=4u"),
    # A receiver's device changes nothing that was judged: any metadata and bytes of a frame of up to 60
    # bytes.
    "segments": proof("segments", 35, sources=OFFLOAD),
    "completion": proof("completion", 35, sources=OFFLOAD),
    # What the guest finds is what was judged: any metadata and features, frames of up to 126 bytes in up to two
    # buffers of up to 127 bytes each.
    "deliver": Proof(
        "prove_deliver",
        (PROGRAMS / "prove_deliver.c",),
        INCLUDES,
        ("-DVIRTQ_MAX_SEGS=4", "--object-bits", "12", "--unwind", "4"),
    ),
    # The switch passes on what was judged, only where it may go, and loses nothing uncounted: any state, entries,
    # judgements and returns. One port's frames with up to three receivers, and two entries in each ring.
    "forward": switch_proof("forward", f"judge_front.0:{SWITCH_ENTRIES + 1}", f"forward_from.0:{SWITCH_ENTRIES + 2}"),
    "returns": switch_proof("returns", f"collect_returns.0:{SWITCH_ENTRIES + 1}"),
}
FORWARD = SWITCH / "forward.c"
BUGS = [
    ("guest_memory", VMM / "mem.h", "gpa - ram->base > ram->size - len", "gpa - ram->base > ram->size", "inside"),
    ("decoding", VMM / "mmio.c", "(iss >> 16) & 0x1f", "(iss >> 16) & 0x3f", "a register"),
    ("decoding", VMM / "mmio.c", "access->sign_extend && access->size < 8", "access->sign_extend", "keeps the value"),
    ("rings", VMM / "virtqueue.c", "6 + 2ull * q->size", "4 + 2ull * q->size", "bounds in q.avail"),
    ("virtqueue", VMM / "virtqueue.c", "if (index >= entries)", "if (index > entries)", "dereference failure"),
    ("virtqueue", VMM / "virtqueue.c", "count == VIRTQ_MAX_SEGS ||", "count > VIRTQ_MAX_SEGS ||", "bound"),
    ("ring", COMMON / "netq.c", "if (used > NETQ_ENTRIES)", "if (used > NETQ_ENTRIES + 1)", "no more room"),
    ("pool", COMMON / "netq.c", "if (need > pool->size - start)", "if (need > pool->size)", "inside the pool"),
    ("pool", COMMON / "netq.c", "if (need >= oldest)", "if (need > oldest + 64)", "no two pieces overlap"),
    ("pool", COMMON / "netq.c", "!pool->busy[ticket]", "false", "a ticket that is not out"),
    ("segments", VMM / "segment.c", "~(FIN | PSH)", "~(FIN | PSH | 0x10)", "none is lost"),
    (
        "deliver",
        VMM / "virtio_net_rx.c",
        "skip + place + i - done, &sum[i]",
        "skip + place - done, &sum[i]",
        "checksum",
    ),
    ("deliver", VMM / "virtio_net_rx.c", "h = (struct header){0};", "h.flags = 0;", "the metadata that was judged"),
    ("deliver", VMM / "virtio_net_rx.c", "done += n;", "done += n + skip;", "the whole frame"),
    ("completion", VMM / "virtio_net_rx.c", "frame->csum_offset + 2u", "frame->csum_offset", "within the frame"),
    ("forward", FORWARD, "frame->length <= size - frame->offset", "frame->length <= size", "inside the sender's pool"),
    ("forward", FORWARD, ".gso_size = offload.gso_size", ".gso_size = frame->gso_size", "the metadata"),
    ("forward", FORWARD, "f->held[port] < NETQ_ENTRIES && ", "", "how many frames a receiver has"),
    ("forward", FORWARD, " && netq_room(&f->rx[port]) != 0", "", "is overwritten"),
    ("forward", FORWARD, "f->dropped++;\n            forward_give_back", "forward_give_back", "counted as dropped"),
    ("forward", FORWARD, "forward_give_back(f, port, front->frame.ticket);", ";", "no ticket is lost"),
    ("returns", FORWARD, "][frame.ticket] == 0) {", "][frame.ticket] != me) {", "no receiver has the frame"),
    ("returns", FORWARD, "NETQ_SWITCH && f->resets[port] != 0", "NETQ_SWITCH", "no more RSTs come back"),
    ("returns", FORWARD, "i < NETQ_ENTRIES && netq_look", "netq_look", "unwinding assertion"),
]


@pytest.mark.timeout(TIMEOUT_S + 100)
@pytest.mark.parametrize("name", PROOFS)
def test_the_model_checker_finds_no_counterexample(name: str) -> None:
    check_proved(PROOFS[name], TIMEOUT_S)


@pytest.mark.timeout(TIMEOUT_S + 100)
@pytest.mark.parametrize(
    ("name", "file", "right", "wrong", "broken"), [pytest.param(*bug, id=f"{bug[0]}: {bug[4]}") for bug in BUGS]
)
def test_the_model_checker_finds_a_planted_bug(
    tmp_path: Path, name: str, file: Path, right: str, wrong: str, broken: str
) -> None:
    check_found(PROOFS[name].with_bug(tmp_path, file, right, wrong), broken, TIMEOUT_S)
