# SPDX-License-Identifier: BSD-2-Clause
"""The capabilities that the real tool gives an image are those of its description; every right too many is found."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from router.checks import check_plan
from router.errors import HostError
from router.isolation.compare import IsolationError, differences
from router.isolation.image import RANGES, SINGLE, image_facts
from router.isolation.proof import Proof, prove
from router.microkit import capabilities
from router.microkit.capabilities import compare_reports, read_capabilities
from router.microkit.capdl import parse_specification
from router.microkit.loader_image import REPORT, call_tool, run_tool
from router.microkit.sdk import Sdk
from router.plan.domains import payload_files
from router.plan.models import SystemPlan
from tests.isolation import planted
from tests.microkit.tool import PAYLOAD, prepare_plan, sdk_or_skip
from tests.support.systems import NAMES, described, plan_of, shipped

pytestmark = pytest.mark.sel4
VERSION = "2.3.0"


def small(plan: SystemPlan) -> dict[str, int]:
    """The sizes of the payloads in these tests."""
    return {file: len(PAYLOAD) for guest in plan.guests for file in payload_files(guest).values()}


def plan_shipped(name: str, config: str | None = None) -> SystemPlan:
    """The plan of a shipped description with small payloads."""
    description = shipped(name)
    plan = plan_of(description, VERSION, sizes=small(plan_of(description, VERSION)))
    return plan if config is None else plan.but(config=config)


def plan_features(board: str) -> SystemPlan:
    """A plan with cores, budgets, SMC calls and several vCPUs."""
    guest = {"image": "usb-client", "vcpus": 4, "cpu": 3, "budget": "2 ms", "period": "8 ms", "smc": [0xC2000000]}
    description = described(
        {
            "system": "features",
            "board": board,
            "microkit": {"sdk": VERSION, "config": "smp-debug"},
            "guests": {"one": guest, "two": {"image": "usb-client", "priority": 7}},
        }
    )
    return plan_of(description, sizes=small(plan_of(description)))


def made(plan: SystemPlan, folder: Path) -> Sdk:
    """Make the image of a plan with the real tool."""
    assert check_plan(plan) == ()
    sdk = sdk_or_skip(VERSION, plan.board.microkit, plan.config)
    prepare_plan(plan, sdk, folder)
    run_tool(plan, sdk, folder, b"")
    return sdk


@pytest.mark.parametrize("name", NAMES)
def test_the_image_of_a_shipped_system_gives_what_its_description_and_plan_say(name: str, tmp_path: Path) -> None:
    plan = plan_shipped(name)
    proof = prove(plan, made(plan, tmp_path), tmp_path)
    assert proof.sdk == VERSION
    held = {fact.holder for fact in proof.facts}
    assert held == {"the Monitor", *(pd.name for pd in plan.pds), *(f"guest {guest.name}" for guest in plan.guests)}
    maps = sum(len(pd.maps) + (len(pd.vm.maps) if pd.vm else 0) for pd in plan.pds)
    assert len(proof.mappings) == maps


@pytest.mark.parametrize("config", ["debug", "release", "benchmark", "smp-debug", "smp-release", "smp-benchmark"])
def test_so_it_does_in_every_configuration(config: str, tmp_path: Path) -> None:
    plan = plan_shipped("qemu", config)
    assert prove(plan, made(plan, tmp_path), tmp_path).facts


@pytest.mark.parametrize("board", ["qemu", "maaxboard"])
def test_so_it_does_with_cores_budgets_smc_calls_and_several_vcpus(board: str, tmp_path: Path) -> None:
    plan = plan_features(board)
    said = {(each.holder, each.what): each.how for each in prove(plan, made(plan, tmp_path), tmp_path).facts}
    assert said["guest one", "runs as vCPU 3"] == "priority 100, core 3, 2000 of 8000 us, starts when told"
    assert said["vmm_one", "SMC"] == "every call"
    assert ("vmm_two", "SMC") not in said


def test_payloads_change_nothing_but_the_content_of_their_pages(tmp_path: Path) -> None:
    plan = plan_shipped("qemu")
    sdk = made(plan, tmp_path)
    bare = read_capabilities(plan, sdk, tmp_path)
    full, log = tmp_path / "full.json", tmp_path / "log"
    outputs = ["-o", str(tmp_path / "full.img"), "-r", str(tmp_path / "full.txt"), "--capdl-json", str(full)]
    call_tool(plan, sdk, tmp_path / f"{plan.name}.system", tmp_path, outputs, log)
    one = json.loads(full.read_text())
    other = json.loads((tmp_path / "objects" / capabilities.SPECIFICATION).read_text())
    filled = set()
    for entry in (*one["objects"], *other["objects"]):
        if "Frame" in entry["object"] and entry["name"].startswith("frame_mr_"):
            entries = entry["object"]["Frame"]["init"]["entries"]
            if entries:
                filled.add(entry["name"])
                assert bytes(entries[0]["content"]["Data"]["BytesContent"]["bytes"]) == PAYLOAD
            entry["object"]["Frame"]["init"] = None
    assert one == other
    assert len(filled) == len(small(plan))
    assert image_facts(parse_specification(full.read_bytes())) == image_facts(bare)


@cache
def tool_json(folder: Path) -> tuple[str, Proof]:
    """What the tool writes for the two guests of the shipped system, and what is proved by it."""
    plan = plan_shipped("qemu")
    proof = prove(plan, made(plan, folder), folder)
    return (folder / "objects" / capabilities.SPECIFICATION).read_text(), proof


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("capabilities")


@pytest.mark.parametrize("name", planted.FAULTS)
def test_a_fault_planted_into_what_the_tool_writes_is_found(name: str, module_folder: Path) -> None:
    text, proof = tool_json(module_folder)
    spec: dict[str, Any] = json.loads(text)
    assert image_facts(parse_specification(json.dumps(spec))) == proof.facts
    planted.FAULTS[name](spec)
    found = image_facts(parse_specification(json.dumps(spec)))
    assert differences(found, proof.facts, proof.facts), name


def test_an_image_of_another_description_than_the_plans_fails_with_both_sides_named(tmp_path: Path) -> None:
    plan = plan_shipped("qemu")
    sdk = sdk_or_skip(VERSION, plan.board.microkit, plan.config)
    prepare_plan(plan, sdk, tmp_path)
    system = tmp_path / f"{plan.name}.system"
    text = system.read_text()
    old = '<map mr="server_net_frames" vaddr="0x1000000000" perms="r" />'
    assert old in text
    system.write_text(text.replace(old, old.replace('"r"', '"rw"')))
    run_tool(plan, sdk, tmp_path, b"")
    with pytest.raises(IsolationError) as caught:
        prove(plan, sdk, tmp_path)
    assert (
        "vmm_client, memory server_net_frames: the image: rw, 2 MiB at 0x1000000000; the .system text: rw, 2 MiB at "
        "0x1000000000; the plan: r, 2 MiB at 0x1000000000"
    ) in caught.value.message


def test_capabilities_of_another_image_than_the_one_that_boots_are_refused(tmp_path: Path) -> None:
    plan = plan_shipped("qemu")
    sdk = made(plan, tmp_path)
    report = (tmp_path / REPORT).read_text()
    system = tmp_path / f"{plan.name}.system"
    system.write_text(system.read_text().replace('irq="33"', 'irq="34"'))
    with pytest.raises(HostError, match="reports of the image and of its capabilities differ"):
        read_capabilities(plan, sdk, tmp_path)
    spec = parse_specification(tool_json(tmp_path)[0])
    compare_reports(report, report.replace("'frame_mr_Image_000000000' @ 0x", "'frame_mr_Image_000000000' @ 0x1"), spec)
    fixed = re.sub(r"('frame_mr_uart_000000000' @ 0x)0", r"\g<1>1", report)
    assert fixed != report
    with pytest.raises(HostError, match="frame_mr_uart_000000000"):
        compare_reports(report, fixed, spec)
    with pytest.raises(HostError, match="'nothing'"):
        compare_reports(report, report + "\nmore", spec)


def test_slots_are_those_of_the_sdks_own_library(tmp_path: Path) -> None:
    sdk = sdk_or_skip(VERSION, "qemu_virt_aarch64", "debug")
    header = (sdk.board_dir("qemu_virt_aarch64", "debug") / "include" / "microkit.h").read_text()
    defined = {name: int(value) for name, value in re.findall(r"#define (\w+_CAPS?) (\d+)", header)}
    names = ("BASE_OUTPUT_NOTIFICATION", "BASE_ENDPOINT", "BASE_IRQ", "BASE_TCB", "BASE_VM_TCB", "BASE_VCPU")
    assert [defined[f"{name}_CAP"] for name in names] == [base for base, _, _ in RANGES]
    assert {defined["TCB_CAP"], defined["ARM_SMC_CAP"]} <= set(SINGLE)


def test_what_is_read_does_not_grow_with_the_payloads(tmp_path: Path) -> None:
    plan = plan_shipped("qemu")
    sdk = made(plan, tmp_path)
    read_capabilities(plan, sdk, tmp_path)
    written = tmp_path / "objects" / capabilities.SPECIFICATION
    before = written.stat().st_size
    with (tmp_path / "images" / "Image").open("r+b") as image:
        image.truncate(64 << 20)
    run_tool(plan, sdk, tmp_path, b"")
    read_capabilities(plan, sdk, tmp_path)
    # 31 more frames of 2 MiB, and not a line for each byte.
    assert written.stat().st_size - before < 50_000
