# SPDX-License-Identifier: BSD-2-Clause
"""The one error type, subclassed by whose fault it is; `router.cli` maps it to an exit code in one place.

RouterError
 ├── DescriptionError  the description's author can fix it               exit 2
 ├── HostError         a missing SDK, tool, package or permission        exit 3
 ├── MachineError      a board or guest failed, or did not answer        exit 4
 └── Stopped           the user or the system asked for the end          exit 130

Anything else that escapes is a bug of ours and keeps its traceback (exit 1). Standard library only: `router.usbip`
uses it too, and that package is bundled into the guests.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Only for the checker: importing typing costs a guest's daemon more than all of this module.
    from typing import Any, ClassVar


class RouterError(Exception):
    """Something went wrong that is not a bug of ours.

    message: one line, what is wrong, without a trailing full stop.
    hint: what to do about it, or None. Lines after the first are indented by two spaces or more.
    where: where it is, as the user knows the place (`file:line:column`, a device, a guest), or None.

    All three may quote what a guest, a device, a peer or a file said: `str()` makes it safe to show.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        from router.display import safe, safe_lines

        place = f"{safe(self.where)}: " if self.where else ""
        advice = f"\n  {safe_lines(self.hint, '  ')}" if self.hint else ""
        return f"{place}error: {safe(self.message)}{advice}"


class DescriptionError(RouterError):
    """The description, or another file that the user wrote, is wrong."""

    exit_code = 2


class HostError(RouterError):
    """This computer lacks something: an SDK, a tool, a package, a permission, space."""

    exit_code = 3


class MachineError(RouterError):
    """A machine (a board, a guest, a QEMU) failed, or did not answer in time."""

    exit_code = 4


class Stopped(RouterError):
    """A run was asked to end: Ctrl-C, a stolen lock, a shutdown."""

    exit_code = 130


KINDS = {kind.__name__: kind for kind in (RouterError, DescriptionError, HostError, MachineError, Stopped)}


def to_row(error: RouterError) -> dict[str, Any]:
    """The error as JSON values, for the control socket and across a lab host: kind, message, hint, where."""
    kind = next(name for name, known in reversed(KINDS.items()) if isinstance(error, known))
    return {"kind": kind, "message": error.message, "hint": error.hint, "where": error.where}


def from_row(row: Any) -> RouterError:
    """The error that the other end raised; a MachineError says so when the row is not one of ours."""
    fields = row if isinstance(row, dict) else {}
    texts = {name: str(fields[name]) if fields.get(name) is not None else None for name in ("hint", "where")}
    kind = KINDS.get(str(fields.get("kind")), MachineError)
    return kind(str(fields.get("message", "the other end reports an error in an unknown form")), **texts)


def reason(error: OSError) -> str:
    """The system's words for a failed call; a file in the place of a folder is called that, not "File exists"."""
    if isinstance(error, FileExistsError):
        return "a file is in its place"
    return error.strerror or str(error)


def host_error(error: OSError, doing: str, hint: str | None = None) -> HostError:
    """The sentence for a failed system call: `cannot DOING: No space left on device`, with the file that it names."""
    name = error.filename2 or error.filename
    where = name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name) if name else None
    return HostError(f"cannot {doing}: {reason(error)}", hint=hint, where=where)
