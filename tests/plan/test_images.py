# SPDX-License-Identifier: BSD-2-Clause
"""What guests boot from is carried once, however many guests have it."""

from __future__ import annotations

from typing import Any

from router.plan.guests import NO_DIFFIE_HELLMAN
from router.plan.models import RegionKind, SystemPlan
from tests.support.systems import described, plan_of


def planned(*images: Any) -> SystemPlan:
    guests = {f"g{number}": {"image": image, "memory": "256 MiB"} for number, image in enumerate(images)}
    return plan_of(described({"system": "many", "board": "qemu", "guests": guests}))


def payloads(plan: SystemPlan) -> list[str]:
    return [region.payload for region in plan.regions if region.kind is RegionKind.PAYLOAD and region.payload]


def test_guests_of_the_same_own_files_share_them() -> None:
    mine = {"kernel": "Image", "initramfs": "own.cpio"}
    carried = payloads(planned(mine, {**mine, "role": "client"}, {**mine, "initramfs": "other.cpio"}))
    assert [name for name in carried if name.endswith("/Image")] == ["guests/g0/Image"]
    assert [name for name in carried if name.endswith("own.initramfs")] == [
        "guests/g0/own.initramfs",
        "guests/g2/own.initramfs",
    ]
    assert len([name for name in carried if name.endswith("overlay.initramfs")]) == 3


def test_guests_of_equal_extended_images_share_one() -> None:
    mine = {"extends": "usb-client", "packages": ["alsa-utils"]}
    plan = planned(mine, mine, {**mine, "modules": ["xfs"]}, "usb-client")
    assert [guest.image for guest in plan.guests] == ["own-g0", "own-g0", "own-g2", "usb-client"]
    assert [name for name in payloads(plan) if name.startswith("images/")] == [
        "images/Image",
        "images/own-g0.initramfs",
        "images/own-g2.initramfs",
        "images/usb-client.initramfs",
    ]


def test_only_our_images_start_without_diffie_hellman() -> None:
    mine = {"kernel": "Image", "initramfs": "own.cpio"}
    plan = planned(mine, {"extends": "usb-client", "modules": ["xfs"]}, "usb-client")
    assert [NO_DIFFIE_HELLMAN in guest.bootargs.split() for guest in plan.guests] == [False, True, True]
