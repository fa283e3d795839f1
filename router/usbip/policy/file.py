# SPDX-License-Identifier: BSD-2-Clause
"""Who may have which device: a plain text file, default deny. The grammar is in docs/reference/usb-policy.md.

    allow 10.77.0.3 device 046d:c31c port 1
    allow 10.77.0.3 path 1-1
    allow 10.77.0.3 class mass-storage blocks 4421 name data
    allow 10.77.0.3 path 1-2 blocks 4421 name small size 2147483648
    deny  any       class hid
    client 10.77.0.4 blocks 4422

The most specific description of a device decides to whom it goes: see `rules.Policy.decide`.
"""

from __future__ import annotations

from collections.abc import Mapping

from router.errors import DescriptionError
from router.usbip.policy.rules import MARK, Pattern, Policy, Rule, address_bits
from router.usbip.protocol.device import port_name
from router.usbip.protocol.disks import MAX_BASE_NAME, valid_base_name

# Words of earlier versions → today's.
RENAMED_CLASSES = {
    "app": "application",
    "comm": "communications",
    "misc": "miscellaneous",
    "storage": "mass-storage",
}
OUTCOMES = ("port", "blocks", "name", "size", "owner")
MATCHERS = ("path", "serial", "device", "interface", "class", "only")
MAX_PORT = 255
MAX_TCP_PORT = 65535
OWNER_DIGITS = 8
MAX_SIZE_DIGITS = 19
"""Of the size of a partition, in bytes."""


class _Line:
    """The words of one line, taken one after another; errors carry file and line."""

    def __init__(self, file: str, number: int, text: str) -> None:
        self.where = f"{file}:{number}"
        self.rule = text
        self.words = self._split(text)

    def error(self, message: str, hint: str) -> DescriptionError:
        return DescriptionError(message, hint, self.where)

    def _split(self, text: str) -> list[str]:
        words: list[str] = []
        at = 0
        while at < len(text):
            if text[at].isspace():
                at += 1
            elif text[at] == "#":
                self.rule = text[:at]
                break
            elif text[at] == '"':
                word = ""
                at += 1
                while at < len(text) and text[at] != '"':
                    if text[at] == "\\" and at + 1 < len(text):
                        at += 1
                    word += text[at]
                    at += 1
                if at >= len(text):
                    raise self.error(
                        "a quotation mark is not closed", 'write the value as "…"; \\" stands for a quotation mark'
                    )
                at += 1
                words.append(word)
            else:
                end = at
                while end < len(text) and not text[end].isspace():
                    end += 1
                words.append(text[at:end])
                at = end
        return words

    def take(self, what: str, example: str) -> str:
        if not self.words:
            raise self.error(f"the line ends where {what} is due", f"write for instance: {example}")
        return self.words.pop(0)


def _hex(line: _Line, text: str, digits: int, what: str) -> int:
    try:
        if not 1 <= len(text) <= digits or not text.isalnum():
            raise ValueError
        return int(text, 16)
    except ValueError:
        raise line.error(f"{text!r} is not {what}", f"write {digits} hexadecimal digits") from None


def _pattern(line: _Line, text: str, word: str) -> Pattern:
    from router.usbip.protocol.classes import CODES

    parts = text.split("/")
    if len(parts) > 3:
        raise line.error(
            f"{word} {text!r} has more than three parts", f"write {word} 08, {word} 08/06 or {word} 08/06/50"
        )
    numbers: list[int | None] = [None, None, None]
    for index, part in enumerate(parts):
        if part == "*":
            continue
        if index == 0 and part.lower() in CODES:
            numbers[0] = CODES[part.lower()]
        elif index == 0 and part.lower() in RENAMED_CLASSES:
            raise line.error(f"{part!r} is not a USB class", f"write {RENAMED_CLASSES[part.lower()]}")
        else:
            what = f"a USB class (two hexadecimal digits, or one of {', '.join(CODES)})" if index == 0 else "a byte"
            numbers[index] = _hex(line, part, 2, what)
    return numbers[0], numbers[1], numbers[2]


def _is_number(text: str, digits: int = 3) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= digits


def _client(line: _Line, text: str) -> str:
    if text == "any" or text == "unix":
        return text
    if text.startswith("vsock:") and text[6:].isdecimal() and text.isascii() and len(text) <= 16:
        return text
    address, slash, prefix = text.partition("/")
    bits = address_bits(address)
    if bits is None or (slash and not (_is_number(prefix) and int(prefix) <= bits[1])):
        raise line.error(
            f"{text!r} is not a client", "write an IP address, a network such as 10.77.0.0/24, vsock:CID, unix or any"
        )
    return text.lower()


def parse_rule(file: str, number: int, text: str) -> Rule | None:
    """The rule in one line, None for an empty one or a comment. Raises DescriptionError at `file:number`."""
    line = _Line(file, number, text)
    if not line.words:
        return None
    verdict = line.take("allow or deny", "allow 10.77.0.3 device 046d:c31c")
    if verdict not in ("allow", "deny"):
        raise line.error(
            f"a rule starts with allow or deny, not with {verdict!r}", "write allow CLIENT WHAT… or deny CLIENT WHAT…"
        )
    client = _client(line, line.take("a client", f"{verdict} 10.77.0.3 device 046d:c31c"))
    path = serial = None
    vid: int | None = None
    pid: int | None = None
    interface: Pattern | None = None
    cls: Pattern | None = None
    only: tuple[Pattern, ...] = ()
    port = tcp = size = 0
    name = owner = ""
    seen: set[str] = set()
    while line.words:
        word = line.words.pop(0)
        if word in seen:
            raise line.error(f"{word!r} is there twice", "write another rule for another device")
        seen.add(word)
        if word == "all":
            continue
        if word == "path":
            written = line.take("a port path", f"{verdict} {client} path 1-1.2")
            path = port_name(written)
            if path is None:
                raise line.error(
                    f"{written!r} is not a port path",
                    "write it as the kernel names it, 1-1 or 1-1.4 (see `usbip list -l`), or by the controller:"
                    " usb@38100000/1.4 or 0000:00:02.0/1.4",
                )
        elif word == "serial":
            serial = line.take("a serial number", f'{verdict} {client} serial "4C53 0001"')
        elif word == "device":
            value = line.take("a VID:PID", f"{verdict} {client} device 046d:c31c")
            left, colon, right = value.partition(":")
            if not colon:
                raise line.error(
                    f"{value!r} is not VID:PID", "write for instance 046d:c31c, or 046d:* for all of a vendor"
                )
            vid = _hex(line, left, 4, "a vendor id")
            pid = None if right == "*" else _hex(line, right, 4, "a product id")
        elif word == "interface":
            interface = _pattern(line, line.take("an interface class", f"{verdict} {client} interface 08/06/50"), word)
        elif word == "class":
            cls = _pattern(line, line.take("a class", f"{verdict} {client} class storage"), word)
        elif word == "only":
            if verdict == "deny":
                raise line.error("a deny rule has no only", "write the class that is denied: class hid")
            value = line.take("interface classes", f"{verdict} {client} path 1-1 only hid")
            only = tuple(_pattern(line, part, word) for part in value.split(","))
        elif word == "port":
            value = line.take("a port number", f"{verdict} {client} device 046d:c31c port 1")
            if verdict == "deny":
                raise line.error("a deny rule has no port", "take the port away")
            if not _is_number(value) or not 1 <= int(value) <= MAX_PORT:
                raise line.error(f"{value!r} is not a port", f"write a number from 1 to {MAX_PORT}")
            port = int(value)
        elif word == "blocks":
            value = line.take("a TCP port", f"{verdict} {client} class mass-storage blocks 4421")
            if verdict == "deny":
                raise line.error("a deny rule has no blocks", "leave it out: a deny holds for both ways")
            if address_bits(client) is None:
                raise line.error(f"{client} gets no disk as blocks", "name one client by its IP address")
            tcp = _tcp_port(line, value)
        elif word == "name":
            name = line.take("a name", f"{verdict} {client} class mass-storage blocks 4421 name data")
            if not valid_base_name(name):
                raise line.error(
                    f"{name!r} is not a disk's name", f"write at most {MAX_BASE_NAME} letters, digits, '-', '_' and '.'"
                )
        elif word == "size":
            value = line.take("bytes", f"{verdict} {client} class mass-storage blocks 4421 name data size 2147483648")
            if not _is_number(value, MAX_SIZE_DIGITS) or not int(value):
                raise line.error(f"{value!r} is not the size of a partition", "write its bytes")
            size = int(value)
        elif word == "owner":
            owner = line.take(
                "owner", f"{verdict} {client} path 1-2 blocks 4421 name data size 2147483648 owner 1a2b3c4d"
            )
            if len(owner) != OWNER_DIGITS or not set(owner) <= set("0123456789abcdef"):
                raise line.error(f"{owner!r} is not the owner of a partition", f"write its {OWNER_DIGITS} digits")
        else:
            raise line.error(
                f"unknown word {word!r}",
                f"a device is described by {', '.join(MATCHERS)} or all, and then port N or blocks N",
            )
    if port and tcp:
        raise line.error("a disk that goes as blocks has no virtual port", "leave port or blocks out")
    if name and not tcp:
        raise line.error("only what goes as blocks has a name", "add blocks N, or leave name out")
    if size and not name:
        raise line.error("a part of a disk is found by its name", "add blocks N and name, or leave size out")
    if owner and not size:
        raise line.error("only a part of a disk has an owner", "add size, or leave owner out")
    if not seen - set(OUTCOMES):
        raise line.error("the rule does not say which device", f"add one of {', '.join(MATCHERS)}, or all")
    return Rule(
        verdict == "allow",
        client,
        path,
        serial,
        vid,
        pid,
        interface,
        cls,
        port,
        number,
        line.rule.strip() + (f" {MARK}" if text.endswith(MARK) else ""),
        only,
        tcp,
        name,
        size,
        owner,
    )


def _place(line: _Line) -> tuple[str, int]:
    """The client and its TCP port in the words behind `client`: disks that it is given at run time are there."""
    example = "client 10.77.0.4 blocks 4422"
    client = _client(line, line.take("a client", example))
    if address_bits(client) is None:
        raise line.error(f"{client} gets no disk as blocks", "name one client by its IP address")
    word = line.take("blocks", example)
    if word != "blocks":
        raise line.error(f"unknown word {word!r}", f"write for instance: {example}")
    tcp = _tcp_port(line, line.take("a TCP port", example))
    if line.words:
        raise line.error(f"unknown word {line.words[0]!r}", f"write for instance: {example}")
    return client, tcp


def _tcp_port(line: _Line, value: str) -> int:
    if not _is_number(value, 5) or not 1 <= int(value) <= MAX_TCP_PORT:
        raise line.error(f"{value!r} is not a TCP port", f"write a number from 1 to {MAX_TCP_PORT}")
    return int(value)


def parse_policy(text: str, file: str = "usb-policy") -> Policy:
    """The policy in the file's text; DescriptionError names the first wrong line."""
    rules: list[Rule] = []
    first: dict[tuple[object, ...], int] = {}
    owners: dict[int, tuple[str, int]] = {}
    """Who has a TCP port, and by which line."""
    places: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = _Line(file, number, line)
        if words.words[:1] == ["client"]:
            words.words.pop(0)
            client, tcp = _place(words)
            key: tuple[object, ...] = ("client", client)
            places[client] = tcp
        else:
            rule = parse_rule(file, number, line)
            if rule is None:
                continue
            client, tcp = rule.client, rule.tcp
            matchers = (rule.path, rule.serial, rule.vid, rule.pid, rule.interface, rule.cls, rule.only)
            # A client may have several parts of a disk.
            key = (client, *matchers, rule.name if rule.size else "")
            rules.append(rule)
        if key in first:
            raise DescriptionError(
                f"line {first[key]} already speaks of the same client" + ("" if key[0] == "client" else " and device"),
                "keep one of the two",
                f"{file}:{number}",
            )
        first[key] = number
        owner, said = owners.setdefault(tcp, (client, number))
        if tcp and owner != client:
            raise DescriptionError(
                f"line {said} gives TCP port {tcp} to {owner}",
                "write another port: who reaches it gets all disks of it",
                f"{file}:{number}",
            )
    return Policy(rules, places)


def load_policy(path: str) -> Policy:
    """The policy in a file; DescriptionError if it cannot be read or is wrong."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_policy(file.read(), path)
    except OSError as error:
        raise DescriptionError(
            f"cannot read the policy: {error.strerror}", "see docs/reference/usb-policy.md", path
        ) from error
    except UnicodeDecodeError as error:
        raise DescriptionError("the policy is not UTF-8 text", None, path) from error


def quoted(word: str) -> str:
    """The word as one value of a rule, in quotation marks where it needs them."""
    if word and not any(c.isspace() or c in '#"\\' for c in word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def render_policy(grants: list[dict[str, str | int]], places: Mapping[str, int] | None = None) -> str:
    """The policy file for plain data, one allow rule a grant, in the order given. places: as `Policy` has them.

    Each grant has `client` and at least one of `path`, `serial`, `device` ("046d:c31c"), `interface`, `class`, `only`;
    `port` (1…) may be there, or `blocks` (a TCP port), `name`, `size` (bytes of the part of that name) and
    `owner`. What this returns has been parsed again: DescriptionError for a grant that makes no rule.
    """
    lines = ["# Made from the description. Grammar: docs/reference/usb-policy.md. What is not allowed here is denied."]
    for grant in grants:
        unknown = set(grant) - {"client", *OUTCOMES, *MATCHERS}
        if unknown:
            raise DescriptionError(
                f"a grant has no {', '.join(sorted(unknown))}", f"it has client, {', '.join((*OUTCOMES, *MATCHERS))}"
            )
        words = ["allow", str(grant.get("client", ""))]
        for name in (*MATCHERS, *OUTCOMES):
            if grant.get(name) is not None:
                words += [name, quoted(str(grant[name]))]
        lines.append(" ".join(words))
    lines += [f"client {client} blocks {tcp}" for client, tcp in (places or {}).items()]
    text = "\n".join(lines) + "\n"
    parse_policy(text)
    return text
