# SPDX-License-Identifier: BSD-2-Clause
"""A build judges its image by the capabilities, and removes one that gives other rights than its description says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from router.cli import main
from router.isolation.compare import IsolationError
from router.microkit.loader_image import IMAGE
from router.pipeline.build import judge_image
from tests.microkit.test_capabilities import made, plan_shipped

pytestmark = pytest.mark.sel4


def test_an_image_that_gives_what_is_described_is_kept_and_shown_by_its_capabilities(tmp_path: Path) -> None:
    plan = plan_shipped("qemu")
    isolation = judge_image(plan, made(plan, tmp_path), tmp_path)
    assert isolation is not None
    assert isolation.source.startswith("from the capabilities of the image, Microkit 2.3.0")
    assert (tmp_path / IMAGE).is_file()


def test_an_image_with_another_right_is_removed_and_the_right_is_named(tmp_path: Path) -> None:
    plan = plan_shipped("qemu")
    sdk = made(plan, tmp_path)
    console, *_ = (pd for pd in plan.pds if pd.name == "console")
    other = plan.but(pds=tuple(replace(pd, irqs=()) if pd is console else pd for pd in plan.pds))
    with pytest.raises(IsolationError, match="console, interrupt on channel 0: the image: interrupt 33"):
        judge_image(other, sdk, tmp_path)
    assert not (tmp_path / IMAGE).exists()


def test_the_error_goes_to_the_user_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_shipped("qemu")
    sdk = made(plan, tmp_path)

    def judged(*_: object, **__: object) -> None:
        judge_image(plan.but(channels=plan.channels[1:]), sdk, tmp_path)

    monkeypatch.setattr("router.pipeline.build.build", judged)
    monkeypatch.setattr("router.microkit.capabilities.require_capabilities", lambda _: None)
    assert main(["check", "qemu.yaml", "--isolation", "--from-image", "--json", "-o", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "console, calls by channel 61: the image: endpoint, timer, badge 0x800000000000003d" in said.err
    assert "the plan: nothing" in said.err
    assert "Traceback" not in said.err


def test_an_sdk_that_does_not_tell_the_capabilities_is_not_asked(tmp_path: Path) -> None:
    plan = plan_shipped("qemu")
    sdk = made(plan, tmp_path)
    assert judge_image(plan, replace(sdk, version="2.2.0"), tmp_path) is None
