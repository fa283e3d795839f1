# SPDX-License-Identifier: BSD-2-Clause
"""What the TFTP server's windows and retransmission are worth, measured in one run on loopback.

Rates against other servers are near the noise of a busy computer: `router bench tftp` compares them with their goals.
"""

from __future__ import annotations

import shutil
import time

import pytest

from bench import tftp as bench

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1200)]

PAUSE = 15.0
"""Seconds between two runs."""
MAX_TRIES = 4
"""A busy machine makes one side or the other slower for a while: the numbers hold when they hold in one of the runs."""


def good(found: bench.Report) -> bool:
    """Whether the ratios that could be measured are what they should be."""
    wanted = (
        (found.window_16_over_1, 2.0),
        (found.lossy_over_tftpd_hpa, 10.0),
    )
    return all(ratio is None or ratio > minimum for ratio, minimum in wanted)


@pytest.fixture(scope="module")
def report() -> bench.Report:
    for _ in range(MAX_TRIES):
        found = bench.run(lambda step: None, repeats=3, lossy_size=600_000)
        print(bench.render(found))
        if good(found):
            break
        time.sleep(PAUSE)
    return found


def test_every_transfer_of_ours_arrives(report: bench.Report) -> None:
    """What fails has no figure, which would look as if there were nothing to compare with."""
    clients = [client for client in ("curl", "atftp") if shutil.which(client)]
    ours = [row for row in report.rows if row.server == "ours" and row.client in clients]
    assert len(ours) >= 2 and all(row.megabytes_s for row in ours), bench.render(report)


def test_a_window_of_16_doubles_the_rate(report: bench.Report) -> None:
    if report.window_16_over_1 is None:
        pytest.skip("atftp is not installed")
    assert report.window_16_over_1 >= 2.0


def test_loss_costs_a_tenth_of_what_it_costs_tftpd_hpa(report: bench.Report) -> None:
    if report.lossy_over_tftpd_hpa is None:
        pytest.skip("tftpd-hpa is not installed, or this is not root")
    assert report.lossy_over_tftpd_hpa >= 10.0
