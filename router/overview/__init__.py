# SPDX-License-Identifier: BSD-2-Clause
"""What a running system is doing, for people: `router top`, and the page of `router run --report`.

`sample` is one look into a guest; `moment` is everything that was seen at one time; `rows` makes tables of it;
`watcher` looks from time to time; `screen` is the terminal; `record` and `page` keep a finished run.
"""
