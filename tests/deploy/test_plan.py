# SPDX-License-Identifier: BSD-2-Clause
"""The deployment plan: written and read back, and refused when it does not hold together."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import time
from pathlib import Path

import pytest

from router.deploy import script
from router.deploy.bootimage import wrap_for_booti
from router.deploy.plan import Payload, compile_pattern, parse_plan, read_plan, take_payload, verify_file, with_patterns
from router.deploy.system import write_system
from router.errors import DescriptionError
from router.lab.board import Board
from tests.deploy.lab import FACTS, write_build
from tests.support.patience import PATIENCE


def test_a_plan_is_read_as_it_was_written(build: Path) -> None:
    plan = write_build(build, facts=FACTS, prepare=("setenv bootargs quiet",))
    assert read_plan(build) == plan
    assert not list(build.glob("*.new"))


def test_the_plan_of_a_system_names_its_milestones_and_consoles(build: Path) -> None:
    where = {"address": 0x50000000, "start": "go 0x50000000"}
    plan = write_system(build, FACTS, config="debug", **where)  # type: ignore[arg-type]
    assert read_plan(build) == plan
    assert [milestone.name for milestone in plan.milestones] == [
        "loader",
        "seL4",
        "server up",
        "client up",
        "server listening",
        "client device attached",
    ]
    assert [milestone.required for milestone in plan.milestones] == [True] * 5 + [False]
    silent = write_system(build, FACTS, config="release", address=0x50000000, start="booti")
    assert silent.milestones[0].name == "server up"
    assert silent.start == "booti 0x4fe00000 - ${fdtcontroladdr}"
    assert silent.payloads[0].file == "loader.booti" and read_plan(build) == silent


def test_of_an_own_image_only_its_vmm_is_waited_for(build: Path) -> None:
    plan = write_system(
        build, FACTS, config="release", address=0x50000000, start="go 0x50000000", own={"server", "client"}
    )
    assert [(each.name, each.required) for each in plan.milestones] == [
        ("server starts", True),
        ("client starts", True),
        ("client device attached", False),
    ]
    assert re.search(plan.milestones[0].pattern, "vmm server: the guest starts")


def change(build: Path, **changes: object) -> dict[str, object]:
    raw: dict[str, object] = json.loads((build / "deploy.json").read_text())
    return raw | changes


PAYLOAD = {"file": "a", "address": 0x1000, "size": 16, "crc32": 0, "sha256": ""}
BAD: dict[str, tuple[dict[str, object], str]] = {
    "format": ({"format": 2}, "plan format 2, this program reads 1"),
    "unknown field": ({"extra": 1}, "extra: unknown field"),
    "wrong type": ({"baud": "fast"}, "baud: int is needed, not 'fast'"),
    "truth value as a number": ({"baud": True}, "baud: int is needed, not True"),
    "no payload": ({"payloads": []}, "the plan loads no file"),
    "path upwards": ({"payloads": [PAYLOAD | {"file": "../a"}]}, "payload '../a' leaves the build folder"),
    "empty": ({"payloads": [PAYLOAD | {"size": 0}]}, "payload 'a' has 0 bytes"),
    "overlap": (
        {"payloads": [PAYLOAD, PAYLOAD | {"file": "b", "address": 0x100F}]},
        "b [0x100f, 0x101f) overlaps a [0x1000, 0x1010)",
    ),
    "pattern": ({"failures": ["("]}, "pattern '(': missing )"),
    "pattern with a count beyond all bounds": ({"failures": ["a{99999999999999999999}"]}, "pattern 'a{9999"),
    "pattern without end": ({"identity": "a" * 1001}, "it has 1001 characters, and 1000 is the most"),
    "depth": ({"prepare": json.loads("[" * 100 + "]" * 100)}, "nested too deep for a plan"),
    "command of two lines": ({"start": "go 1\nreset"}, "is not one U-Boot command"),
    "milestones of one name": ({"milestones": [{"name": "a", "pattern": "b"}] * 2}, "two milestones have one name"),
    "missing field": ({"payloads": [{"file": "a"}]}, "payloads[0].address: missing"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_plan_that_does_not_hold_together_is_refused(name: str, build: Path) -> None:
    changes, message = BAD[name]
    with pytest.raises(DescriptionError) as caught:
        parse_plan(change(build, **changes), "deploy.json")
    assert message in str(caught.value)


def test_a_folder_without_a_plan_and_a_plan_without_its_file_are_refused(build: Path, tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match=r"no deploy\.json in"):
        read_plan(tmp_path)
    (build / "loader.img").unlink()
    with pytest.raises(DescriptionError, match="cannot read: No such file or directory"):
        read_plan(build)


def test_patterns_of_the_users_own_are_checked(build: Path) -> None:
    plan = read_plan(build)
    assert with_patterns(plan, ("usb 1",), ()).milestones[-1].pattern == "usb 1"
    with pytest.raises(DescriptionError, match=r"the command line: error: pattern '\['"):
        with_patterns(plan, ("[",), ())


def test_a_pattern_that_nests_too_deep_to_compile_is_refused() -> None:
    pattern = "(" * 300 + ")" * 300
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        with pytest.raises(DescriptionError, match=r"pattern .*maximum recursion depth"):
            compile_pattern(pattern, "deploy.json")
    finally:
        sys.setrecursionlimit(before)


def test_the_name_that_is_served_depends_on_the_contents_and_on_the_board() -> None:
    one = Payload(file="x/loader image.img", address=0, size=1, crc32=0, sha256="a" * 64)
    desk = Board(name="desk", kind="fake", serial="none")
    assert script.served_name(one, desk) == f"router-{'a' * 12}-desk-loader_image.img"
    names = {
        script.served_name(item, board)
        for item in (one, dataclasses.replace(one, sha256="b" * 64))
        for board in (desk, dataclasses.replace(desk, name="rack"))
    }
    assert len(names) == 4


def test_checksums_and_lengths_are_read_as_u_boot_prints_them() -> None:
    assert script.crc_of("crc32 for 50000000 ... 500493df ==> 1A2b3c4d\n") == 0x1A2B3C4D
    assert script.crc_of("CRC32 for 50000000") is None
    assert script.bytes_of("done\nBytes transferred = 300000 (493e0 hex)") == 300000
    assert script.bytes_of("## Total Size      = 0x00030d41 = 200001 Bytes") == 200001
    assert script.bytes_of("nothing") is None


def test_an_image_for_booti_branches_to_the_loader_in_its_place() -> None:
    image = wrap_for_booti(b"LOADER", 0x7000_0000)
    assert image.address == 0x6FE0_0000
    assert image.data[0x38:0x3C] == b"ARM\x64"
    word = int.from_bytes(image.data[:4], "little")
    assert word >> 26 == 0b000101  # B
    assert image.address + (word & 0x3FFFFFF) * 4 == 0x7000_0000
    assert image.data[0x7000_0000 - image.address :] == b"LOADER"
    with pytest.raises(DescriptionError, match="not a multiple of 2 MiB"):
        wrap_for_booti(b"x", 0x7000_1000)


def test_a_file_of_another_size_is_refused_unread(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = read_plan(build)
    with (build / "loader.img").open("ab") as image:
        image.truncate(1 << 40)  # takes no room
    began = time.monotonic()
    with pytest.raises(DescriptionError, match=r"changed since it was built \(1099511627776 bytes, 300000 expected\)"):
        verify_file(build, plan.payloads[0])
    assert time.monotonic() - began < PATIENCE


def test_a_file_that_grows_while_it_is_read_is_read_no_further(build: Path) -> None:
    item = read_plan(build).payloads[0]
    taken: list[bytes] = []

    def take(chunk: bytes) -> None:
        taken.append(chunk)
        with (build / "loader.img").open("ab") as image:
            image.truncate(1 << 40)

    with pytest.raises(DescriptionError, match="changed since it was built"):
        take_payload(build / "loader.img", item, take)
    assert sum(map(len, taken)) == item.size + 1
