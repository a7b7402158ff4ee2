"""A real server under more load than it bears, for a while."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2 as httpx
import pytest

import textmill
from support.serving import serving


def resident_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.mark.full
def test_overload_is_refused_memory_stays_flat_and_the_next_call_is_served():
    settings = {"parameters": {"max_new_tokens": 24}, "seed": 1}
    with serving("--model", "demo", "--slo", "1s", "--quiet") as served:
        sweep = textmill.bench(served.url, slo="1s", duration=3.0, **settings)
        most = max(stage.goodput(None) for stage in sweep.stages)
        textmill.bench(served.url, rate=3 * most, duration=5.0, **settings)
        before = resident_mb(served.process.pid)
        (stage,) = textmill.bench(served.url, rate=3 * most, duration=60.0, **settings).stages
        time.sleep(1.0)
        answer = httpx.post(f"{served.url}/invocations", content=b'{"text_inputs": "after"}')
        after = resident_mb(served.process.pid)
        assert answer.status_code == 200
        assert stage.failed == 0
        assert min(stage.ok, stage.refused) > 0
        assert after - before < 30
        assert httpx.get(f"{served.url}/ping").status_code == 200
        print(f"most {most:.0f}/s  {stage.ok}/{stage.sent} p99 {stage.percentile(0.99):.2f} s")
        assert served.stop() == 0
