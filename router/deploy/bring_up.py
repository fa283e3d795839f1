# SPDX-License-Identifier: BSD-2-Clause
"""Bringing a board up and talking to what runs on it, whether it is wired to this computer or to a lab host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from router.control.client import Connection
from router.deploy import holder_client, runner
from router.deploy.events import Reporter, stoppable
from router.deploy.job import DeployOptions, Job
from router.deploy.plan import DeployPlan
from router.errors import Stopped
from router.lab.file import LabBoard

if TYPE_CHECKING:
    from router.deploy.lab_host import Lab


def empty_job(board: LabBoard, options: DeployOptions | None = None, plan: DeployPlan | None = None) -> Job:
    """A job that loads nothing, for what needs the board alone."""
    plan = plan or DeployPlan(system="", board=board.board.kind, payloads=(), start="true")
    return Job(plan=plan, board=board.board, files={}, options=options or DeployOptions())


def bring_up(via: str | None, job: Job, reporter: Reporter, log: Path, *, resume: bool = False) -> None:
    """Deploy, here or on the lab host `via`; Ctrl-C and SIGTERM stop it there as well. The console goes to `log`.

    resume: follow the latest deployment through the lab host. RouterError when the board does not come up.
    """
    if via is None:
        runner.deploy(job, reporter)
        return
    from router.deploy.lab_connection import LabHost
    from router.deploy.lab_host import Lab

    with stoppable("the board's lock and serial line are free"), LabHost(via) as host:
        lab = Lab(host)
        if resume:
            lab.install()
            run = lab.last(job.board.name)
        else:
            run = lab.prepare(job, reporter)
        try:
            if not resume:
                lab.call("start", run)
            error = lab.follow(run, reporter)
        except Stopped:
            _stop(lab, run, reporter)
            raise
        lab.fetch_log(run, log)
        if error is not None:
            raise error


def _stop(lab: Lab, run: str, reporter: Reporter) -> None:
    try:
        lab.call("stop", run)
    except Exception as error:  # whatever paramiko raises on a connection that breaks
        there = f"the deployment may go on on {lab.host.target} (`router undeploy` ends it)"
        reporter.say("warning", text=f"{there}: {error}")


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
