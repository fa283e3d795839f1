# SPDX-License-Identifier: BSD-2-Clause
"""The plan as JSON: every decision, for programs. The same plan gives the same bytes."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network

from router.plan.models import SystemPlan

FORMAT = 1
"""Raised when a field changes its meaning or goes away; new fields do not raise it."""


def plain(value: object) -> object:
    """A value of the plan as JSON knows it: objects for dataclasses, text for enumerations and addresses."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, IPv4Address | IPv4Network):
        return str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"a plan holds a {type(value).__name__}, and no JSON form of it is known")


def plan_json(plan: SystemPlan) -> str:
    """The whole plan as an indented JSON object; addresses and sizes are numbers of bytes."""
    return json.dumps({"format": FORMAT, "plan": plain(plan)}, indent=2, ensure_ascii=False) + "\n"
