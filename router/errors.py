# SPDX-License-Identifier: BSD-2-Clause
"""The one error type, subclassed by whose fault it is; `router.cli` maps it to an exit code in one place.

RouterError
 ├── DescriptionError  the description's author can mend it            exit 2
 ├── HostError         a missing SDK, tool, package or permission        exit 3
 └── MachineError      a board or guest did not do its part in time    exit 4

Anything else that escapes is a bug of ours and keeps its traceback (exit 1). Standard library only: `router.usbip`
uses it too, and that package is bundled into the guests.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Only for the checker: importing typing costs a guest's daemon more than all of this module.
    from typing import ClassVar


class RouterError(Exception):
    """Something went wrong that is not a bug of ours.

    message: one line, what is wrong, without a trailing full stop.
    hint: what to do about it, one line, or None.
    where: where it is, as the user knows the place (`file:line:column`, a device, a guest), or None.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n  {self.hint}" if self.hint else ""
        return f"{place}error: {self.message}{advice}"


class DescriptionError(RouterError):
    """The description, or another file that the user wrote, is wrong."""

    exit_code = 2


class HostError(RouterError):
    """This computer lacks something: an SDK, a tool, a package, a permission, space."""

    exit_code = 3


class MachineError(RouterError):
    """A machine (a board, a guest, a QEMU) did not do its part, or not in time."""

    exit_code = 4
