# SPDX-License-Identifier: BSD-2-Clause
"""Asks a device of bench/usbredir/devices/faults.py for answers of each kind, by usbfs."""

import errno

from bench.guest.usbfs import bulk, claim, clear_halt


def ask(
    node: str,
    endpoint_out: int,
    endpoint_in: int,
    answers: bytes,
    size: int,
    timeout_ms: int,
    never: int,
    never_ms: int,
) -> None:
    """Print a list: of each answer that is asked for (bytes of `answers`), what came, or the error's name.

    size: bytes that are asked for each time; never: the answer that does not come, waited for no longer than never_ms.
    """
    file = claim(node, 0)
    seen: list[bytes | str] = []
    for answer in answers:
        bulk(file, endpoint_out, bytes([answer]), timeout_ms)
        came: bytes | str
        try:
            came = bulk(file, endpoint_in, bytes(size), never_ms if answer == never else timeout_ms)
        except OSError as error:
            came = errno.errorcode.get(error.errno or 0, str(error))
        seen.append(came)
        if came == "EPIPE":
            clear_halt(file, endpoint_in)
    print(seen)
