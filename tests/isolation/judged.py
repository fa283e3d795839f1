# SPDX-License-Identifier: BSD-2-Clause
"""Which values of a capability specification give no right to anything, and why: all others must be judged."""

from __future__ import annotations

from typing import Any

Path_ = tuple[str | int, ...]

NOT_JUDGED = {
    "guard": "where a program finds its capabilities, not which",
    "guard_size": "as guard",
    "ip": "where a thread starts in its own program",
    "x86_ept": "of another architecture",
    "is_root": "a root is what a thread is bound to",
    "log_level": "what the initialiser prints",
    "cached_orig_cap_slots": "slots of the initialiser",
}
"""Fields that give no right to anything, with the reason."""


def judged(spec: dict[str, Any], path: Path_) -> bool:
    """Whether a change there must be found."""
    if path[-1] in NOT_JUDGED:
        return False
    if path[0] != "objects" or not isinstance(path[1], int):
        return True
    entry = spec["objects"][path[1]]
    kind = entry["object"] if isinstance(entry["object"], str) else next(iter(entry["object"]))
    if path[-1] == "name":
        # Threads have the names of their domains and frames those of their regions; other names are for people.
        return kind == "Tcb" or entry["name"].startswith("frame_mr_")
    # The place of a thread in the Monitor's table is for its name, and a monitor sets its guest's registers.
    # The room of a table or a scheduling context is nothing to reach, nor is the mark that a timeout would carry.
    if entry["name"] == "cnode_monitor" and path[-1] == "slot":
        return "Tcb" not in spec["objects"][path[1]]["object"]["CNode"]["slots"][path[-2]]["cap"]
    if entry["name"] == "tcb_linux_0" and path[-1] in ("sp", "ipc_buffer_addr"):
        return False
    return not (kind in ("CNode", "SchedContext") and path[-1] in ("size_bits", "badge") and "slots" not in path)
