# SPDX-License-Identifier: BSD-2-Clause
"""The USB devices of a running system as its user manages them: `router usb`.

`facts` are what the guests tell, as typed values; `view` asks them; `find` understands what a person calls a device;
`actions` change something; `text` is for reading.
"""
