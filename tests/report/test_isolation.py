# SPDX-License-Identifier: BSD-2-Clause
"""The isolation matrix says what the generated text says, whatever the plan says."""

from __future__ import annotations

import json

import pytest

from router.errors import HostError
from router.microkit.system import render_system
from router.plan.models import SystemPlan
from router.report.isolation import isolation_json, isolation_text, parse_isolation, statements
from router.report.matrix import isolation_svg
from tests.support.systems import NAMES, SDKS, many, plan_of, shipped

SMALL = """
<system>
  <memory_region name="shared" size="0x1000" />
  <memory_region name="regs" size="0x2000" phys_addr="0x5000000" />
  <memory_region name="unused" size="0x1000" />
  <protection_domain name="one"><program_image path="one.elf"/>
    <map mr="shared" vaddr="0x1000000" />
    <virtual_machine name="left"><vcpu id="0"/><map mr="shared" vaddr="0x0" perms="rw"/></virtual_machine>
  </protection_domain>
  <protection_domain name="two"><program_image path="two.elf"/>
    <virtual_machine name="right"><vcpu id="0"/>
      <map mr="shared" vaddr="0x0" perms="r"/><map mr="regs" vaddr="0x0" perms="rw" cached="false"/>
    </virtual_machine>
  </protection_domain>
</system>
"""


def rights(plan: SystemPlan) -> dict[tuple[str, bool, str], str]:
    """Rights of the plan: by name of the holder, whether it is a guest, and region."""
    found: dict[tuple[str, bool, str], str] = {}
    for pd in plan.pds:
        found |= {(pd.name, False, each.region): each.perms for each in pd.maps}
        if pd.vm is not None:
            found |= {(pd.vm.name, True, each.region): each.perms for each in pd.vm.maps}
    return found


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("name", NAMES)
def test_the_matrix_of_the_text_is_that_of_the_plan(name: str, sdk: str) -> None:
    plan = plan_of(shipped(name), sdk)
    isolation = parse_isolation(render_system(plan))
    seen = {
        (each.holder.name, each.holder.guest, region.name): each.rights
        for region in isolation.regions
        for each in region.access
    }
    assert seen == rights(plan)


def test_defaults_of_the_format_are_applied() -> None:
    isolation = parse_isolation(SMALL)
    one, left, two, right = isolation.holders
    assert [holder.label for holder in isolation.holders] == ["one", "guest left", "two", "guest right"]
    assert (one.vmm_of, two.vmm_of) == ("left", "right")
    shared, regs, unused = isolation.regions
    assert [shared.rights_of(holder) for holder in (one, left, two, right)] == ["rw", "rw", "", "r"]
    assert (regs.device, shared.device, unused.device) == (True, False, False)
    assert isolation.devices_of(right) == (regs,)


def test_memory_that_guests_share_is_said_plainly() -> None:
    assert list(statements(parse_isolation(SMALL))) == [
        "guests share writable memory: shared",
        "right owns devices: regs",
        "guest right reads what others write: shared",
    ]


def test_guests_of_the_shipped_systems_share_no_memory() -> None:
    for name in NAMES:
        assert next(iter(statements(parse_isolation(render_system(plan_of(shipped(name))))))) == (
            "no two guests share memory"
        )


def test_the_table_has_a_row_for_each_region_and_ends_with_what_it_means() -> None:
    text = isolation_text(parse_isolation(SMALL), notes=["no SMMU on this board"])
    assert text.splitlines()[:4] == [
        "region  size                one  guest left  two  guest right",
        "shared  4 KiB               rw   rw          .    r",
        "regs    8 KiB at 0x5000000  .    .           .    rw",
        "unused  4 KiB               .    .           .    .",
    ]
    assert text.endswith("no SMMU on this board\nderived from the .system text")


def test_many_guests_are_listed_by_region_instead_of_in_a_wide_table() -> None:
    lines = isolation_text(parse_isolation(render_system(plan_of(many(30))))).splitlines()
    assert lines[0] == "server_ram            32 MiB at 0x78000000  vmm_server rw, guest server rwx"


def test_the_json_form_says_the_same() -> None:
    found = json.loads(isolation_json(parse_isolation(SMALL), ["no SMMU on this board"]))
    assert found["notes"] == ["no SMMU on this board"]
    assert [each["kind"] for each in found["holders"]] == ["protection_domain", "virtual_machine"] * 2
    assert found["regions"][0]["access"] == [
        {"name": "one", "kind": "protection_domain", "rights": "rw", "cached": True},
        {"name": "left", "kind": "virtual_machine", "rights": "rw", "cached": True},
        {"name": "right", "kind": "virtual_machine", "rights": "r", "cached": True},
    ]
    assert found["regions"][1]["physical"] == 0x5000000


def test_a_text_that_is_no_system_description_is_refused() -> None:
    with pytest.raises(HostError, match="not a system description file"):
        parse_isolation("<system>")


def test_the_picture_marks_every_right() -> None:
    picture = isolation_svg(parse_isolation(SMALL))
    for title in (
        "one may rw shared",
        "guest left may rw shared",
        "guest right may r shared",
        "guest right may rw regs",
    ):
        assert f"<title>{title}</title>" in picture
