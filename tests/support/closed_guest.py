# SPDX-License-Identifier: BSD-2-Clause
"""What the guests give up (docs/reference/guest-images.md), asked of a running one by commands."""

from __future__ import annotations

from collections.abc import Callable

Ask = Callable[[str], tuple[int, str]]
"""A command in the guest: its exit code and output."""

DAC_OVERRIDE = f"{1 << 1:016x}"
NOTHING = f"{0:016x}"
WRITABLE = ("/tmp", "/root", "/mnt", "/run", "/var", "/var/run")
CLOSED = ("/", "/etc", "/usr/lib/router", "/bin", "/lib", "/etc/router")


def check_confined(ask: Ask, verb: str) -> None:
    """The USB/IP daemon of that verb runs, and with what it needs only."""
    code, found = ask(f"ps | sed -n 's/^ *\\([0-9]*\\).*[u]sbip.py {verb}.*/\\1/p'")
    assert code == 0
    assert len(found.split()) == 1, found
    code, text = ask(f"cat /proc/{found.strip()}/status")
    assert code == 0
    status = {name: value.split() for name, _, value in (line.partition(":") for line in text.splitlines())}
    assert status["Uid"] == ["100"] * 4
    assert status["Gid"] == ["100"] * 4
    assert status["Groups"] == []
    assert [status[name] for name in ("CapPrm", "CapEff", "CapBnd")] == [[DAC_OVERRIDE]] * 3
    assert [status[name] for name in ("CapInh", "CapAmb")] == [[NOTHING]] * 2
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    assert ask("dmesg | grep 'router: guest .* unhardened:'") == (1, "")


def check_root(ask: Ask, read_only: bool) -> None:
    """Writes succeed in memory; elsewhere they do where the image leaves the root writable."""
    for folder in WRITABLE:
        assert ask(f"echo x >{folder}/probe && rm {folder}/probe") == (0, ""), folder
    for folder in CLOSED:
        code, said = ask(f"touch {folder}/probe && rm {folder}/probe")
        if read_only:
            assert (code, "Read-only file system" in said) == (1, True), f"{folder}: {said}"
        else:
            assert (code, said) == (0, ""), folder
    code, mounts = ask("cat /proc/mounts")
    assert code == 0
    options = {line.split()[1]: set(line.split()[3].split(",")) for line in mounts.splitlines()}
    assert ("ro" in options["/"]) == read_only
    assert {"nosuid", "nodev", "noexec"} <= options["/proc"] & options["/sys"]
    assert {"nosuid", "noexec"} <= options["/dev"]
    for folder in ("/run", *(("/tmp", "/root", "/mnt", "/var") if read_only else ())):
        assert {"nosuid", "nodev"} <= options[folder], folder


def check_kernel(ask: Ask, locked: bool) -> None:
    """Whether the kernel takes more code; ask once all modules are loaded."""
    switches = "cat /proc/sys/kernel/modules_disabled /proc/sys/kernel/kexec_load_disabled"
    assert ask(switches) == (0, f"{int(locked)}\n" * 2)
    assert ask("modprobe virtio_blk")[0] == int(locked)
    code, said = ask("busybox devmem 0 2>&1")
    assert ("Operation not permitted" in said) == locked, (code, said)
