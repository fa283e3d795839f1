# SPDX-License-Identifier: BSD-2-Clause
"""What system.yaml promises: pytest --router system.yaml"""

import pytest

from router.testing import GuestFailure, Router


def test_the_keyboard_is_at_the_desk_and_not_in_the_vault(router: Router) -> None:
    router.plug("keyboard")
    desk, vault = router.guest("desk"), router.guest("vault")
    desk.wait_for_device("0627:0001")
    assert "Keyboard" in desk.run("lsusb").stdout
    assert "Keyboard" not in vault.run("lsusb").stdout


@pytest.mark.router_needs("disk")
def test_what_the_vault_writes_is_on_the_disk(router: Router) -> None:
    disk = router.plug_disk(bytes(4 << 20))
    vault = router.guest("vault")
    vault.wait_for("true </dev/sda")
    vault.run("yes backup | head -c 65536 | dd of=/dev/sda conv=fsync 2>/dev/null")
    assert disk.image.read_bytes()[:65536] == (b"backup\n" * 65536)[:65536]
    assert router.guest("desk").disks() == ()


def test_the_desk_does_not_reach_the_vault(router: Router) -> None:
    with pytest.raises(GuestFailure, match="exit code 1"):
        router.guest("desk").run(f"ping -c 2 -W 2 {router.guest('vault').address}")
