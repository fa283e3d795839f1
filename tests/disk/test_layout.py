# SPDX-License-Identifier: BSD-2-Clause
"""What a disk's table is to be: nothing that is wanted overlaps, and what does not match is never lost unsaid."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.description.models import Description
from router.description.values import PART_UNIT
from router.disk.layout import Disk, Partition, Signature, Wanted, lay_out, owner_of, type_of, wanted_on
from router.errors import DescriptionError
from router.usbip.protocol.disks import disk_of, part_name
from tests.support.systems import described

MIB = 1 << 20
GUESTS = ("server", "a", "b")


def partition(name: str = "data-a", start: int = 1, size: int = 4, guest: str = "a", **more: str) -> Partition:
    """name: without what it says of its guest."""
    name = part_name(name, owner_of(guest)) if name else ""
    return Partition(name, start * MIB, size * MIB, **({"kind": type_of(guest), "ident": "ID"} | more))


def test_new_disks_stand_one_after_the_other_at_whole_mebibytes() -> None:
    wanted = [Wanted("data-a", "a", 4 * MIB), Wanted("data-b", "b", 2 * MIB)]
    layout = lay_out(Disk(16 * MIB, 512), wanted, GUESTS)
    assert [(disk_of(one.name), one.start, one.size, one.kind) for one in layout.partitions] == [
        ("data-a", MIB, 4 * MIB, type_of("a")),
        ("data-b", 5 * MIB, 2 * MIB, type_of("b")),
    ]
    assert type_of("a") != type_of("b") and (layout.kept, layout.lost) == ((), ())


def test_what_matches_stays_where_it_is_and_the_rest_goes_around_it() -> None:
    there = partition("data-b", 3, 4, "b")
    wanted = [Wanted("data-a", "a", 4 * MIB), Wanted("data-b", "b", 4 * MIB)]
    layout = lay_out(Disk(16 * MIB, 512, "X", (there,)), wanted, GUESTS)
    assert layout.kept == (there,) and layout.lost == ()
    assert [(disk_of(one.name), one.start // MIB) for one in layout.partitions] == [("data-b", 3), ("data-a", 7)]


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        (partition(size=3), "the partition 'data-a' of 'a', 3 MiB, which is to have 4 MiB"),
        (partition(guest="b"), "the partition 'data-a' of 'b', 4 MiB, which is to be of 'a'"),
        (
            Partition("data-a", MIB, 4 * MIB, "0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
            "the partition 'data-a', 4 MiB, which is to be of 'a'",
        ),
        (partition("old"), "the partition 'old' of 'a', 4 MiB"),
        (
            Partition("data-a", MIB, 4 * MIB, type_of("a")),
            f"the partition 'data-a' of 'a', 4 MiB, which is to be called 'data-a:{owner_of('a')}'",
        ),
        (partition("", kind="X"), "the partition without a name, 4 MiB"),
    ],
)
def test_a_partition_that_does_not_match_is_said_with_what_is_different(found: Partition, lost: str) -> None:
    layout = lay_out(Disk(16 * MIB, 512, "X", (found,)), [Wanted("data-a", "a", 4 * MIB)], GUESTS)
    assert layout.lost == (lost,) and layout.kept == ()
    (new,) = layout.new
    assert new.ident == "" and new.kind == type_of("a")


def test_of_two_partitions_with_one_name_the_second_is_said() -> None:
    twins = (partition(), partition(start=6))
    layout = lay_out(Disk(16 * MIB, 512, "X", twins), [Wanted("data-a", "a", 4 * MIB)], GUESTS)
    assert layout.kept == twins[:1] and layout.lost == ("the partition 'data-a' of 'a', 4 MiB",)


def test_what_else_stands_on_the_disk_is_said_unless_it_is_in_a_partition_that_stays() -> None:
    disk = Disk(16 * MIB, 512, "X", (partition(),), (Signature("iso", 0x8001), Signature("inner", 2 * MIB)))
    assert lay_out(disk, [Wanted("data-a", "a", 4 * MIB)], GUESTS).lost == ("iso",)


def test_a_disk_that_is_too_small_is_refused_with_what_is_free_and_what_is_needed() -> None:
    wanted = [Wanted("data-a", "a", 4 * MIB), Wanted("data-b", "b", 4 * MIB)]
    with pytest.raises(DescriptionError) as caught:
        lay_out(Disk(9 * MIB, 512), wanted, GUESTS, "disk.img")
    assert caught.value.message == "too small: 'data-b' needs 4 MiB, and 3 MiB in one piece are free"
    assert caught.value.hint == "the disk has 9 MiB; all its parts and its table need 10 MiB"
    assert caught.value.where == "disk.img"
    lay_out(Disk(10 * MIB, 512), wanted, GUESTS)
    lay_out(Disk(10 * MIB, 4096), wanted, GUESTS)


@given(
    st.lists(st.integers(1, 6), max_size=6),
    st.lists(st.tuples(st.integers(0, 40 * 2048), st.integers(1, 6 * 2048)), max_size=4),
    st.integers(2, 48),
)
def test_no_two_partitions_overlap_and_all_lie_within_the_disk(
    sizes: list[int], there: list[tuple[int, int]], disk_size: int
) -> None:
    wanted = [Wanted(f"d{index}", "a", size * MIB) for index, size in enumerate(sizes)]
    found = []
    at = PART_UNIT
    for index, (gap, length) in enumerate(there):
        # Of what is there some match: the names and sizes of the wanted come up again.
        size = wanted[index].size if index < len(wanted) and length % 2 else length * 512
        found.append(Partition(part_name(f"d{index}", owner_of("a")), at + gap * 512, size, type_of("a"), "ID"))
        at = found[-1].end
    size = max(disk_size * MIB, at + PART_UNIT)
    disk = Disk(size, 512, "X", tuple(found))
    try:
        layout = lay_out(disk, wanted, GUESTS)
    except DescriptionError as error:
        assert error.message.startswith("too small")
        return
    places = layout.partitions
    assert {one.name for one in places} == {one.part for one in wanted}
    assert all(first.end <= second.start for first, second in itertools.pairwise(places))
    assert all(one.start >= PART_UNIT and one.end <= size - 33 * 512 for one in layout.new)
    assert all(one.start % PART_UNIT == 0 for one in layout.new)
    assert len(layout.kept) + len(layout.lost) == len(found)


def on(*disks: tuple[str, dict[str, str]]) -> Description:
    entries = [{"name": name, "to": "a", "on": match, "size": "4 MiB"} for name, match in disks]
    guests = {"server": {"image": "usb-server", "passthrough": ["pcie@3f000000"]}, "a": {"image": "usb-client"}}
    return described({"system": "x", "board": "qemu", "guests": guests, "disks": entries})


def test_the_disks_of_one_physical_disk_are_those_with_one_on() -> None:
    description = on(("x", {"path": "1-1"}), ("y", {"path": "1-2"}), ("z", {"path": "1-1"}))
    assert [one.name for one in wanted_on(description, "z")] == ["x", "z"]
    with pytest.raises(DescriptionError) as caught:
        wanted_on(description, None)
    assert caught.value.message.endswith("are on 2 physical disks, which fit by different 'on': x and z; y")
    with pytest.raises(DescriptionError, match="there is no disk 'w'"):
        wanted_on(description, "w")
    with pytest.raises(DescriptionError, match="has no disks"):
        wanted_on(on(), None)
