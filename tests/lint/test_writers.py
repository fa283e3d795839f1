# SPDX-License-Identifier: BSD-2-Clause
"""Every module that writes files is listed, with what keeps a guest, a board or a peer from making them grow.

A new writer belongs into one of the two tables. What others choose the length of goes through `files.Log` (mode 0600,
at most twice its limit), or has a limit of its own that a test reaches.
"""

from __future__ import annotations

import ast
from pathlib import Path

from router import resources

OTHERS = {
    "console/consoles.py": "Log: each guest's console",
    "console/serial_line.py": "Log: serial.log, the line that guests share",
    "console/serial_port.py": "Log: a board's console; the other opening is the device",
    "deploy/emulated.py": "Log: the console of a stage in QEMU",
    "deploy/lab_host.py": "Log: a board's console, as its lab host has it",
    "deploy/remote.py": "a run's events: MAX_EVENTS_BYTES, and MAX_RUNS runs; errors of the program in runner.log",
    "machines/process.py": "Log: what QEMU prints",
    "machines/qemu/junit.py": "the report: MAX_OUTPUT_CHARACTERS for each command, MAX_EVENTS milestones of each guest",
    "machines/qemu/split.py": "the switch's capture: CAPTURE_MAX; its log: a few lines a connection, MAX_COMPLAINTS",
    "overview/page.py": "the page of a run: MAX_ROWS events, MAX_POINTS, MAX_ROADS; else what is there at one time",
    "testing/evidence.py": "copies of the logs and the capture; the time line: MAX_EVENTS for each guest",
    "testing/guest.py": "a file that a test fetches: MAX_OUTPUT",
    "testing/report.py": "the page of a system: as that of a run; a row for each test",
    "usbip/client/automount.py": "notes of what it has mounted: a line for each, MAX_MOUNTS",
    "usbip/server/capture.py": "a capture: MAX_BYTES",
    "usbip/virtual/disk.py": "a disk's image: as long as it was",
    "vswitch/process.py": "the switch's log, as above, and its configuration",
}
"""Files that a guest, a board or a peer can make grow."""

OURS = {
    "cbuild.py": "the compiler's errors",
    "cli/__init__.py": "/dev/null",
    "cli/bench.py": "a table of results",
    "cli/check.py": "the isolation report",
    "cli/demo.py": "the demo's disk",
    "control/place.py": "a lock with a process number",
    "deploy/holder_client.py": "errors of the process that serves a board; begins anew with each",
    "deploy/lab_connection.py": "payloads of the user's, to a lab host",
    "deploy/plan.py": "deploy.json",
    "deploy/runner.py": "payloads, into a TFTP folder",
    "deploy/sdcard.py": "a card's image",
    "deploy/state.py": "what a board runs",
    "deploy/system.py": "loader.booti",
    "description/guest_image.py": "a description of images, while it is checked",
    "devicetree/dtc.py": "trees for fdtoverlay",
    "devicetree/tree.py": "a device tree",
    "disk/opened.py": "a disk or its image, as long as it was",
    "files.py": "what all others use",
    "guests/apt.py": "apt's configuration",
    "guests/drivers.py": "what an image drives",
    "guests/image.py": "a guest image",
    "guests/kernel.py": "the guests' kernel",
    "guests/layers.py": "compressed layers",
    "guests/lock.py": "packages.lock",
    "guests/resolution.py": "the chosen packages",
    "guests/rootfs/build.py": "a root file system's image: --size",
    "guests/rootfs/ext4.py": "the same, and its owners for debugfs",
    "guests/rootfs/tree.py": "a root file system's folder: what its packages hold",
    "lab/lock.py": "a board's lock",
    "machines/qemu/microkit.py": "the stand-in for firmware",
    "machines/qemu/seeds.py": "a device tree or an image, with its guests' seeds",
    "microkit/capabilities.py": "an image's capabilities",
    "microkit/compile.py": "generated C sources",
    "microkit/loader_image.py": "loader.img",
    "microkit/placed.py": "an SDK's loader, moved",
    "pipeline/build.py": "a build folder",
    "sdk/download.py": "a download, as long as the release's list says",
    "sdk/install.py": "a lock",
    "sdk/unpack.py": "an SDK, within its Bounds",
    "starter/__init__.py": "a starter description",
    "testing/system.py": "the image of a test's disk",
    "trusted.py": "empty files, MAX_RECORDS of them",
    "usbip/__main__.py": "/dev/null",
    "usbip/client/controllers.py": "a controller's number of ports",
    "usbip/client/nvme.py": "requests for connections, to the kernel",
    "usbip/client/vhci.py": "an attached device's origin, one for each port",
    "usbip/engines/usbfs_claims.py": "usbfs devices",
    "usbip/policy/edit.py": "the policy, as an administrator edits it",
    "usbip/runtime/pipe.py": "pipes, of which one write may find no room",
    "usbip/runtime/sysfs.py": "sysfs attributes",
    "usbip/server/nvmet.py": "attributes of the kernel's NVMe target",
}
"""Files whose length this program, or its user, chooses."""

HELPERS = {"write", "copy", "written_aside", "Log", "open_private"}
"""Of router.files."""
LIBRARY = {"write_text", "write_bytes", "mkstemp", "mkdtemp", "TemporaryDirectory", "copyfile", "copyfileobj"}
FLAGS = ("O_WRONLY", "O_RDWR", "O_CREAT", "flags")


def writes(call: ast.Call) -> bool:
    """Whether a call opens a file for writing, or writes one."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else ""
    if owner == "os" and name == "open":
        return any(flag in ast.unparse(call) for flag in FLAGS)
    if name == "open":
        words = [each for each in (*call.args, *(key.value for key in call.keywords)) if isinstance(each, ast.Constant)]
        modes = [str(each.value) for each in words if isinstance(each.value, str)]
        return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
    return name in LIBRARY or (owner == "files" and name in HELPERS)


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def test_every_module_that_writes_files_is_listed_with_what_bounds_them() -> None:
    found = {
        str(path.relative_to(resources.PACKAGE))
        for path in resources.PACKAGE.rglob("*.py")
        if any(writes(call) for call in calls(path))
    }
    assert found == {*OTHERS, *OURS}
    assert not OTHERS.keys() & OURS.keys()


def test_a_module_whose_file_is_called_a_log_here_uses_one_that_rotates() -> None:
    for name, reason in OTHERS.items():
        if reason.startswith("Log:"):
            used = [ast.unparse(call.func) for call in calls(resources.PACKAGE / name) if writes(call)]
            assert "files.Log" in used, name
            assert not {"open", "write_text", "files.open_private"} & set(used), name


def test_the_list_sees_each_way_to_write() -> None:
    ways = (
        "open(path, 'w')",
        "path.open('ab', buffering=0)",
        "path.write_text(text)",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "files.Log(path)",
        "tempfile.mkdtemp(prefix='x')",
    )
    for text in ways:
        (call,) = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        assert writes(call), text
    for text in ("open(path)", "path.open('rb')", "stream.write(data)", "os.open(path, os.O_RDONLY)"):
        (call,) = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        assert not writes(call), text
