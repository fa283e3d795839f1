# SPDX-License-Identifier: BSD-2-Clause
"""The switch between the guests: its configuration, its host process, and how fast it is.

The switch itself is C, in `vswitch/` at the top of the checkout: one core that decides, a host process around it that
links QEMU processes, and a protection domain around the same core under Microkit.
"""

from router.vswitch.build import build_host_switch
from router.vswitch.config import SwitchConfig, SwitchPort, SwitchRule, VsockPort, VsockRule, switch_config
from router.vswitch.process import PortCounters, SwitchProcess, VsockCounters
from router.vswitch.render import render_header, render_host

__all__ = [
    "PortCounters",
    "SwitchConfig",
    "SwitchPort",
    "SwitchProcess",
    "SwitchRule",
    "VsockCounters",
    "VsockPort",
    "VsockRule",
    "build_host_switch",
    "render_header",
    "render_host",
    "switch_config",
]
