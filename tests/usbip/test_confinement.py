# SPDX-License-Identifier: BSD-2-Clause
"""What a confined daemon cannot do, tried by a process that has confined itself; and the system call filter."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from router.usbip.confinement import Needs, landlock, root_hubs, seccomp
from router.usbip.policy import edit
from router.usbip.protocol.device import Device
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.server.confined import Confined
from tests.usbip.fakes import FakeKernel

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up privileges")
AARCH64, X86_64 = 0xC00000B7, 0xC000003E
ALLOW, KILL, EPERM = 0x7FFF0000, 0x80000000, 0x00050001

# Each action that a daemon never needs, and a few that it does; it reports "ok" or the error's name.
PROBE = """
import errno, mmap, os, socket, sys
from router.usbip.confinement import Needs, confine
folder, kind = sys.argv[1:]
listener, ready = socket.create_server(("127.0.0.1", 0)), socket.socketpair()
if kind != "free":
    missing = confine(Needs("nobody", [folder + "/mine"], ()))
    print("missing", *missing, sep="|")

def write(path):
    with open(path, "w") as file:
        file.write("x")

ACTIONS = {
    "write mine": lambda: write(folder + "/mine/a"),
    "rename mine": lambda: os.replace(folder + "/mine/a", folder + "/mine/b"),
    "remove mine": lambda: os.unlink(folder + "/mine/b"),
    "own limits": lambda: open("/proc/self/limits").close(),
    "read etc": lambda: open("/etc/passwd").close(),
    "talk": lambda: ready[0].send(b"x"),
    "memory": lambda: mmap.mmap(-1, 4096).close(),
    "write other": lambda: write(folder + "/other"),
    "read other": lambda: open(folder + "/secret").close(),
    "fork": lambda: os.fork() or os._exit(0),
    "execute": lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    "new socket": lambda: socket.socket().close(),
    "code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
    "signal": lambda: os.kill(os.getppid(), 0),
    "change owner": lambda: os.chown(folder + "/secret", 0, 0),
    "change mode": lambda: os.chmod(folder + "/secret", 0o600),
    "be root": lambda: os.setresuid(0, 0, 0),
}
for name, action in ACTIONS.items():
    try:
        action()
        print(name, "ok", sep="|")
    except OSError as error:
        print(name, errno.errorcode[error.errno], sep="|")
"""
NEEDED = ("write mine", "rename mine", "remove mine", "own limits", "read etc", "talk", "memory")
FILES = ("write other", "read other")


def probe(folder: Path, kind: str) -> dict[str, str]:
    (folder / "mine").mkdir()
    (folder / "secret").write_text("s")
    folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder), kind], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return {name: what for name, _, what in (line.partition("|") for line in done.stdout.splitlines())}


@ROOT
def test_a_confined_process_can_do_its_work_and_nothing_else(tmp_path: Path) -> None:
    found = probe(tmp_path, "confined")
    missing = found.pop("missing", "")
    assert {name: found[name] for name in NEEDED} == dict.fromkeys(NEEDED, "ok")
    refused = {name for name in found if name not in NEEDED}
    if "Landlock" in missing:
        refused -= set(FILES)
    if "seccomp" in missing:
        pytest.skip("this kernel has no seccomp filters")
    assert {name for name in refused if found[name] == "ok"} == set()


@ROOT
def test_a_confined_process_goes_on_reading_what_init_has_mounted() -> None:
    script = (
        "from router.usbip.confinement import Needs, confine\n"
        "from router.usbip.runtime.proc import InitsMounts, mounts\n"
        "kept = InitsMounts()\n"
        "confine(Needs('nobody', [], ()))\n"
        "print(*(any(one.place == '/' for one in mounts(kept.read())) for _ in range(2)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("True True\n", "")


@ROOT
def test_the_same_process_unconfined_may_do_all_of_it(tmp_path: Path) -> None:
    assert set(probe(tmp_path, "free").values()) == {"ok"}


@ROOT
@pytest.mark.parametrize("verb", ["serve", "keep-attached"])
def test_a_user_that_is_not_there_is_an_error_before_anything_is_given_up(verb: str, tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("allow any all\n")
    kernel = FakeKernel(tmp_path / "sys")
    words = {
        "serve": ["--engine", "none", "--policy", f"{tmp_path}/policy", "--listen", f"unix:{tmp_path}/socket"],
        "keep-attached": ["127.0.0.1:1", "--sysfs", kernel.root, "--state", f"{tmp_path}/state"],
    }[verb]
    command = [sys.executable, "-m", "router.usbip", verb, *words, "--confine", "no-such-user"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    kernel.close()
    assert done.returncode == 3
    assert "there is no user 'no-such-user'" in done.stderr
    # Nothing that a reader could take for a daemon that is up.
    assert done.stdout == ""


@ROOT
def test_a_daemon_says_that_it_listens_only_once_it_is_confined_and_what_it_keeps_in_milestones(
    tmp_path: Path,
) -> None:
    (tmp_path / "policy").write_text("allow any all\n")
    program = (
        "import os, signal, sys\n"
        "from router.usbip import __main__, confinement\n"
        "def confine(needs):\n"
        "    print('confined', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return ['no Landlock: files are not confined']\n"
        "confinement.confine = confine\n"
        "sys.exit(__main__.main())\n"
    )
    words = ["serve", "--engine", "none", "--policy", f"{tmp_path}/policy", "--listen", f"unix:{tmp_path}/socket"]
    command = [sys.executable, "-c", program, *words, "--control", "", "--confine", "root"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == [
        "confined",
        "router-usbip: unhardened: no Landlock: files are not confined",
        f"router-usbip: listening unix:{tmp_path}/socket",
    ], done.stderr


def test_a_path_through_a_file_is_left_out_like_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").touch()
    # -1 is no ruleset: whatever is there would be an error.
    for name in ("archive.zip/inside", "nowhere"):
        landlock._allow(-1, str(tmp_path / name), 0)
    with pytest.raises(OSError, match=r".") as caught:
        landlock._allow(-1, str(tmp_path / "archive.zip"), 0)
    assert not isinstance(caught.value, (FileNotFoundError, NotADirectoryError))


def run_filter(text: bytes, architecture: int, number: int, third: int = 0) -> int:
    """What the kernel's classic BPF would answer (Documentation/networking/filter.rst), for one system call."""
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, 0, 0, third, 0, 0, 0)
    lines = list(struct.iter_unpack("=HBBI", text))
    at, accumulator = 0, 0
    while True:
        code, true, false, value = lines[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x15:
            at += true if accumulator == value else false
        elif code == 0x45:
            at += true if accumulator & value else false
        else:
            assert code == 0x06
            return int(value)


# Numbers from the kernel's tables, written down apart from the module's: AArch64, then x86-64.
@pytest.mark.parametrize(("machine", "architecture", "column"), [("aarch64", AARCH64, 0), ("x86_64", X86_64, 1)])
def test_the_filter_allows_what_is_listed_and_refuses_the_rest(machine: str, architecture: int, column: int) -> None:
    text = seccomp.program(machine, ())
    allowed = {"read": (63, 0), "write": (64, 1), "openat": (56, 257), "accept4": (242, 288), "exit_group": (94, 231)}
    refused = {
        "execve": (221, 59),
        "clone": (220, 56),
        "ptrace": (117, 101),
        "mount": (40, 165),
        "socket": (198, 41),
        "kill": (129, 62),
        "chmod": (53, 268),
        "init_module": (105, 175),
        "bpf": (280, 321),
        "reboot": (142, 169),
        "connect": (203, 42),
        "setresuid": (147, 117),
        "unshare": (97, 272),
        "mknod": (33, 259),
    }
    assert {run_filter(text, architecture, numbers[column]) for numbers in allowed.values()} == {ALLOW}
    assert {run_filter(text, architecture, numbers[column]) for numbers in refused.values()} == {EPERM}
    calls = seccomp.program(machine, seccomp.CONNECT)
    assert run_filter(calls, architecture, refused["socket"][column]) == ALLOW
    assert run_filter(calls, architecture, refused["connect"][column]) == ALLOW
    mmap, mprotect = ((222, 226), (9, 10))[column]
    for number in (mmap, mprotect):
        assert run_filter(text, architecture, number, third=1 | 2) == ALLOW
        assert run_filter(text, architecture, number, third=1 | 4) == EPERM
    other = {AARCH64: X86_64, X86_64: AARCH64}[architecture]
    assert run_filter(text, other, allowed["read"][column]) == KILL
    # The x32 form of a call that is allowed.
    assert run_filter(text, architecture, allowed["read"][column] | 0x40000000) == EPERM


def make_hub(kernel: FakeKernel, name: str, controller: str) -> Path:
    folder = Path(kernel.root) / "devices" / controller / name
    folder.mkdir(parents=True)
    link = Path(kernel.root) / "bus/usb/devices" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(folder)
    return folder


def test_a_confined_server_ends_when_a_root_hub_comes_and_not_for_a_virtual_one(
    host: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop()
    stopped: list[bool] = []
    monkeypatch.setattr(loop, "stop", lambda: stopped.append(True))
    kept: list[str] = []

    def confine(needs: Needs) -> list[str]:
        kept.extend(needs.write)
        return []

    monkeypatch.setattr("router.usbip.server.confined.confine", confine)
    first = make_hub(host, "usb7", "pci0/xhci")
    confined = Confined(loop, Sysfs(host.root))
    confined.look()
    assert not stopped
    confined.enter("usbip", "kernel", "/run/router-usbip/usb-policy")
    assert {"/run/router-usbip", f"{host.root}/bus/usb/drivers", str(first)} <= set(kept)
    make_hub(host, "usb8", "platform/vhci_hcd.0")
    confined.look()
    assert not stopped
    make_hub(host, "usb9", "pci0/ehci")
    confined.look()
    assert stopped == [True]
    loop.close()


def test_a_root_hub_that_comes_back_counts_as_another_one(host: FakeKernel) -> None:
    folder = make_hub(host, "usb7", "pci0/xhci")
    before = root_hubs(Sysfs(host.root))
    aside = folder.rename(folder.parent / "old")
    folder.mkdir()
    after = root_hubs(Sysfs(host.root))
    assert after.keys() == before.keys()
    assert after[str(folder)] != before[str(folder)]
    aside.rmdir()


def test_a_policy_that_is_a_link_is_written_where_the_link_leads(tmp_path: Path) -> None:
    real, link = tmp_path / "run" / "usb-policy", tmp_path / "usb-policy"
    real.parent.mkdir()
    real.write_text("")
    link.symlink_to(real)
    edit.grant(str(link), "10.77.0.3", Device("1-3", 3, 1, 3, 0x0627, 1, interfaces=((3, 1, 2),), serial="M"))
    assert link.is_symlink()
    assert "allow 10.77.0.3" in real.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "usb-policy"]
