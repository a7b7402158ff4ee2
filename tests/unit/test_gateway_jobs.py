"""How much the gateway looks at, in the time between two requests."""

from __future__ import annotations

import fcntl
import time

import pytest

from textmill.gateway.jobs import IN_PROGRESS, Jobs
from textmill.gateway.registry import Kind, Registry, Resource
from textmill.gateway.supervisor import Supervisor
from textmill.gateway.transform.work import ECHO, Means
from textmill.gateway.transform.worker import LOCK

WAITING = 400


def in_progress(n, **more):
    return Resource(
        kind=Kind.TRANSFORM_JOB,
        region="us-east-1",
        name=f"j{n}",
        arn=f"arn:{n}",
        created=n,
        modified=n,
        said={},
        status=IN_PROGRESS,
        run=f"{n:032x}",
        **more,
    )


@pytest.fixture
def registry(tmp_path):
    found = Registry(tmp_path / "state")
    yield found
    found.close()


def test_jobs_that_wait_for_their_turn_cost_next_to_nothing(registry, tmp_path):
    """Their folders are not asked: 1,000 took 15 ms four times a second, and no request went on."""
    means = Means(
        home=str(tmp_path),
        endpoint_url="http://127.0.0.1:9",
        region="us-east-1",
        engine=ECHO,
        precision="auto",
        threads=None,
        download=False,
    )
    jobs = Jobs(registry, Supervisor(means, {}), at_once=1)
    folder = jobs.folder(registry.put(in_progress(0, started=1.0)))
    for n in range(1, WAITING):
        registry.put(in_progress(n))
    folder.mkdir()
    with (folder / LOCK).open("w") as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        jobs.reconcile()
        began = time.thread_time()
        for _ in range(10):
            jobs.reconcile()
        assert (time.thread_time() - began) / 10 < 0.002
        assert [one.name for one in registry.all(Kind.TRANSFORM_JOB) if one.started] == ["j0"]
