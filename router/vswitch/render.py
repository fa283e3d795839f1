# SPDX-License-Identifier: BSD-2-Clause
"""The switch's configuration as text: the host process's file and the protection domain's C header. Pure."""

from __future__ import annotations

from router.vswitch.config import SwitchConfig, SwitchPort, SwitchRule

C_PROTOCOLS = {"icmp": "VSWITCH_ICMP_ECHO", "tcp": "VSWITCH_TCP", "udp": "VSWITCH_UDP"}


def render_host(config: SwitchConfig) -> str:
    """The configuration file of `vswitch --config`; its syntax is described in vswitch/host/config.h."""
    lines = [f"frame-max {config.frame_max}"]
    lines += [f"port {port.name} {port.mac} {port.ipv4}" for port in config.ports]
    for rule in config.rules:
        number = f" {rule.port}" if rule.port is not None else ""
        lines.append(f"allow {rule.source} {rule.target} {rule.protocol}{number}")
    lines += [f"vsock {vsock.name} {vsock.cid}" for vsock in config.vsock_ports]
    lines += [f"allow {allowed.source} {allowed.target} vsock {allowed.port}" for allowed in config.vsock_rules]
    return "\n".join(lines) + "\n"


def port_rows(config: SwitchConfig) -> list[str]:
    """An initialiser of `struct vswitch_port` for each port."""
    return [header_port(port) for port in config.ports]


def rule_rows(config: SwitchConfig) -> list[str]:
    """An initialiser of `struct vswitch_rule` for each rule, in the order that the core wants: by source port."""
    rules = sorted(config.rules, key=lambda rule: config.index(rule.source))
    return [header_rule(config, rule) for rule in rules]


def vsock_port_rows(config: SwitchConfig) -> list[str]:
    """An initialiser of `struct vsock_port` for each vsock device."""
    return [f'{{{port.cid}, "{port.name}"}}' for port in config.vsock_ports]


def vsock_rule_rows(config: SwitchConfig) -> list[str]:
    """An initialiser of `struct vsock_rule` for each rule between vsock devices."""
    place = {port.name: number for number, port in enumerate(config.vsock_ports)}
    return [f"{{{place[rule.source]}, {place[rule.target]}, {rule.port}}} /* {rule} */" for rule in config.vsock_rules]


def render_header(config: SwitchConfig) -> str:
    """A C header that defines `vswitch_config` for the core; it expects vswitch/core on the include path."""
    rules = rule_rows(config)
    lines = [
        "/* The switch's ports and rules. Generated from the system description: edit that instead. */",
        "#ifndef VSWITCH_CONFIG_H",
        "#define VSWITCH_CONFIG_H",
        "",
        '#include "vswitch.h"',
        "",
        "static const struct vswitch_port vswitch_ports[] = {",
        *(f"    {row}," for row in port_rows(config)),
        "};",
        "",
    ]
    if rules:
        lines += ["static const struct vswitch_rule vswitch_rules[] = {", *(f"    {row}," for row in rules), "};", ""]
    lines += [
        "static const struct vswitch_config vswitch_config = {",
        "    .ports = vswitch_ports,",
        f"    .rules = {'vswitch_rules' if rules else 'NULL'},",
        f"    .port_count = {len(config.ports)},",
        f"    .rule_count = {len(rules)},",
        f"    .frame_max = {config.frame_max},",
        "};",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def header_port(port: SwitchPort) -> str:
    """One initialiser of `struct vswitch_port`."""
    mac = ", ".join(f"0x{byte.lower()}" for byte in port.mac.split(":"))
    return f'{{{{{mac}}}, 0x{int(port.ipv4):08x}, "{port.name}"}} /* {port.ipv4} */'


def header_rule(config: SwitchConfig, rule: SwitchRule) -> str:
    """One initialiser of `struct vswitch_rule`."""
    source, target = config.index(rule.source), config.index(rule.target)
    return f"{{{source}, {target}, {C_PROTOCOLS[rule.protocol]}, {rule.port or 0}}} /* {rule} */"
