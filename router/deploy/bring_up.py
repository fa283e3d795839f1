# SPDX-License-Identifier: BSD-2-Clause
"""Bringing a board up and talking to what runs on it, whether it is wired to this computer or to a lab host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from router.control.client import Connection
from router.deploy import holder_client, runner
from router.deploy.events import Reporter
from router.deploy.job import DeployOptions, Job
from router.deploy.plan import DeployPlan
from router.lab.file import LabBoard


def empty_job(board: LabBoard, options: DeployOptions | None = None, plan: DeployPlan | None = None) -> Job:
    """A job that loads nothing, for what needs the board alone."""
    plan = plan or DeployPlan(system="", board=board.board.kind, payloads=(), start="true")
    return Job(plan=plan, board=board.board, files={}, options=options or DeployOptions())


def bring_up(via: str | None, job: Job, reporter: Reporter, log: Path, *, resume: bool = False) -> None:
    """Deploy, here or on the lab host `via`; Ctrl-C stops it there as well. The console goes to `log`.

    resume: follow the latest deployment through the lab host. RouterError when the board does not come up.
    """
    if via is None:
        runner.deploy(job, reporter)
        return
    from router.deploy.lab_connection import LabHost
    from router.deploy.lab_host import Lab

    with LabHost(via) as host:
        lab = Lab(host)
        if resume:
            lab.install()
            run = lab.last(job.board.name)
        else:
            run = lab.prepare(job, reporter)
            lab.call("start", run)
        try:
            error = lab.follow(run, reporter)
        except KeyboardInterrupt:
            lab.call("stop", run)
            raise
        lab.fetch_log(run, log)
        if error is not None:
            raise error


@contextmanager
def connections(via: str | None, job: Job, name: str) -> Iterator[Callable[[], Connection]]:
    """Opens connections to the system that runs on the job's board, which is wired to this computer or to `via`.

    name: what errors call the system.
    """
    if via is None:
        yield lambda: Connection(name, holder_client.reach(job))
        return
    from router.deploy.lab_connection import LabHost
    from router.deploy.lab_host import Lab

    with LabHost(via) as host:
        lab = Lab(host)
        lab.install()
        yield lambda: Connection(name, lab.stream(job))
