# SPDX-License-Identifier: BSD-2-Clause
"""The forms of answers on the control socket: what a client may rely on. docs/reference/control.md has the meaning.

Fields that are not named here may be there: new ones do not count as a new protocol.
"""

from __future__ import annotations

from typing import Any

Shape = Any
"""A type; a tuple of types; {field: shape}; or [shape] for a list of any length."""

NUMBER = (int, float)
MAX_NUMBER = 1 << 64
"""No number is larger: counters have 64 bits, and JSON's numbers may be infinite, or longer than a float holds."""
GUEST = {"name": str, "role": str, "address": str, "usb": {"version": int, "ports": int}, "up": bool}
RULE = {"from": str, "to": str, "protocol": str, "port": (int, type(None))}
STATE = {"system": str, "mode": str, "seconds": NUMBER, "guests": [GUEST], "grants": [dict], "rules": [RULE]}
PLUG = {"port": int, "kind": str, "path": str}
EVENT = {"number": int, "seconds": NUMBER, "guest": str, "event": str, "detail": str, "text": str}
CODE = {"code": int}
COUNTERS = {"connected": bool, "blocked": bool, "rx_bytes": int, "tx_bytes": int, "drops": dict}
SWITCH = {"guests": (dict, type(None))}


def fits(value: Any, shape: Shape) -> bool:
    """Whether decoded JSON has the form. A truth value is not a number, and neither is NaN."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(name in value and fits(value[name], shape[name]) for name in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(each, shape[0]) for each in value)
    kinds = shape if isinstance(shape, tuple) else (shape,)
    return type(value) in kinds and (type(value) not in NUMBER or abs(value) <= MAX_NUMBER)
