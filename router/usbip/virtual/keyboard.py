# SPDX-License-Identifier: BSD-2-Clause
"""A virtual keyboard that types a text (Device Class Definition for HID 1.11, boot protocol)."""

from __future__ import annotations

from router.usbip.protocol import device as usb
from router.usbip.protocol.descriptors import INTERRUPT
from router.usbip.virtual.device import Stall, VirtualDevice, endpoint, interface
from router.usbip.virtual.hid import (
    GET_IDLE,
    GET_PROTOCOL,
    GET_REPORT,
    HID,
    SET_IDLE,
    SET_PROTOCOL,
    SET_REPORT,
    hid_descriptors,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

KEYS_IN = 0x81
# The boot keyboard of HID 1.11, appendix B.1 and E.6: 8 modifier bits, a reserved byte, 5 LEDs, 6 keys.
REPORT_DESCRIPTOR = bytes.fromhex(
    "05010906a101 050719e029e71500250175019508 8102 95017508 8101"
    "95057501 050819012905 9102 95017503 9101 95067508 150025650507 19002965 8100 c0"
)
SHIFT = 0x02
# The HID usage tables' keys (page 7) of a US layout: each usage's character, and that with shift.
_PLAIN = {0x28: "\n", 0x2A: "\b", 0x2B: "\t", 0x2C: " "}
_PAIRS = "1!2@3#4$5%6^7&8*9(0)"
_SIGNS = {0x2D: "-_", 0x2E: "=+", 0x2F: "[{", 0x30: "]}", 0x31: "\\|", 0x33: ";:", 0x34: "'\"", 0x35: "`~"}
_MORE = {0x36: ",<", 0x37: ".>", 0x38: "/?"}


def _keys() -> dict[str, tuple[int, int]]:
    keys = {character: (0, usage) for usage, character in _PLAIN.items()}
    for number in range(26):
        keys[chr(97 + number)] = (0, 4 + number)
        keys[chr(65 + number)] = (SHIFT, 4 + number)
    for number in range(10):
        keys[_PAIRS[2 * number]] = (0, 0x1E + number)
        keys[_PAIRS[2 * number + 1]] = (SHIFT, 0x1E + number)
    for usage, pair in (_SIGNS | _MORE).items():
        keys[pair[0]] = (0, usage)
        keys[pair[1]] = (SHIFT, usage)
    return keys


KEYS = _keys()


class Keyboard(VirtualDevice):
    """Types `text` whenever a client has configured it; `type` adds more. Characters of a US layout."""

    pid = 0x0002
    speed = usb.SPEED_FULL
    class_descriptors = hid_descriptors(REPORT_DESCRIPTOR)

    def __init__(self, text: str = "", serial: str = "1") -> None:
        body = interface(0, (3, 1, 1), 1) + self.class_descriptors[HID] + endpoint(KEYS_IN, INTERRUPT, 8, 10)
        self._text = text
        self._todo: list[bytes] = []
        self.leds = 0
        super().__init__(body, "Virtual keyboard", serial)

    def type(self, text: str) -> None:
        """Presses and releases a key a character; ValueError for one that the keyboard does not have."""
        for character in text:
            if character not in KEYS:
                raise ValueError(f"the keyboard has no key for {character!r}")
            modifiers, usage = KEYS[character]
            self._todo += [bytes([modifiers, 0, usage, 0, 0, 0, 0, 0]), bytes(8)]
        self._has_news(KEYS_IN)

    def configured(self) -> None:
        self._todo = []
        if self.configuration and self._text:
            self.type(self._text)

    def wants(self, address: int, length: int) -> None:
        if self._todo:
            self.send(address, self._todo.pop(0))

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        _, request, _, _, _ = setup
        if request == GET_REPORT:
            return bytes(8)
        if request in (GET_IDLE, GET_PROTOCOL):
            return bytes(1)
        if request == SET_REPORT and len(data):
            self.leds = data[0]
        elif request not in (SET_IDLE, SET_PROTOCOL):
            raise Stall
        return b""
