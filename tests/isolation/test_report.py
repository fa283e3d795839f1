# SPDX-License-Identifier: BSD-2-Clause
"""The matrix from an image's capabilities is shown like that from the text, and each says where it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.cli import main
from router.isolation.image import image_facts, mappings
from router.isolation.proof import Proof
from router.microkit.capdl import parse_specification
from router.report import report_html
from router.report.image import image_isolation
from router.report.isolation import Isolation, isolation_json, isolation_text, parse_isolation
from router.report.matrix import isolation_svg
from tests.isolation.small import SYSTEM, write
from tests.support.systems import plan_of, shipped

SOURCE = "derived from the capabilities of the image, Microkit 2.3.0"
SAME = "63 facts follow from the capabilities, the same as from the .system text and from the plan"


def shown() -> Isolation:
    """The matrix of the small image."""
    spec = parse_specification(json.dumps(write()))
    return image_isolation(Proof("2.3.0", image_facts(spec), mappings(spec)), parse_isolation(SYSTEM))


def test_rows_and_columns_are_those_of_the_description() -> None:
    from_image, from_text = shown(), parse_isolation(SYSTEM)
    assert from_image.holders == from_text.holders
    assert [each.access for each in from_image.regions] == [each.access for each in from_text.regions]
    assert [each.physical for each in from_image.regions] == [each.physical for each in from_text.regions]
    assert from_image.regions[-1].size == 0x2000, "the size of a file is known from its frames"


def test_the_text_says_what_each_may_do_apart_from_memory() -> None:
    text = isolation_text(shown())
    for line in (
        "driver       handles interrupts 40",
        "vmm          calls driver; notifies driver; starts and stops vCPU 0 of guest linux; "
        "has the registers of vCPU 0 of guest linux",
        "guest linux  nothing: it holds no capability",
        "spare        calls the firmware by SMC",
        "the Monitor  starts and stops driver, spare, vCPU 0 of guest linux, vmm",
    ):
        assert line in text.splitlines()
    assert text.splitlines()[-1] == SOURCE
    assert SAME in text.splitlines()


def test_what_microkits_rights_allow_beyond_the_description_is_said() -> None:
    assert "with Microkit's rights a domain could also take the notifications of those that it may notify" in (
        isolation_text(shown())
    )


def test_the_json_form_has_every_capability_and_the_source() -> None:
    isolation = shown()
    found = json.loads(isolation_json(isolation))
    assert found["source"] == isolation.source
    assert len(found["capabilities"]) == 63
    assert {"holder": "spare", "what": "SMC", "how": "every call"} in found["capabilities"]
    assert json.loads(isolation_json(parse_isolation(SYSTEM)))["source"] == "from the .system text"


def test_picture_and_page_say_which_proof_stands_behind_them() -> None:
    assert SOURCE in isolation_svg(shown())
    plan = plan_of(shipped("qemu"))
    page = report_html(plan, shown())
    assert SOURCE in page
    assert "calls the firmware by SMC" in page
    assert "derived from the .system text" in report_html(plan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from-image"], "--from-image needs --isolation"),
        (["--isolation", "-o", "somewhere"], "--output needs --isolation --from-image"),
    ],
)
def test_options_that_need_each_other_are_asked_for(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "qemu.yaml", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_description_for_an_older_sdk_gets_a_clear_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "system: old\nboard: qemu\nmicrokit: {sdk: 2.0.1}\nguests: {one: {image: usb-client}}\n"
    (tmp_path / "old.yaml").write_text(text)
    assert main(["check", str(tmp_path / "old.yaml"), "--isolation", "--from-image"]) == 3
    assert "the capabilities of an image can be read from Microkit SDK 2.3.0 on, and this system is for 2.0.1" in (
        capsys.readouterr().err
    )
