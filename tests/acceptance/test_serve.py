"""`textmill serve` on the demo model: its answers are those of `textmill run`, for every client."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

import textmill
from support.command import read_lines
from support.serving import serving

DATA = Path(textmill.__file__).parent / "assets" / "demo" / "data" / "packages.jsonl"
PROMPT = "Briefly summarize this text: {document}"
FLAGS = ("--model", "demo", "--precision", "float32")


def documents(count):
    with DATA.open(encoding="utf-8") as lines:
        return [json.loads(next(lines)) for _ in range(count)]


@pytest.fixture(scope="module")
def records():
    """Some records as a job has them: mixed lengths, parameters of their own."""
    rows = []
    for n, row in enumerate(documents(48)):
        params = [
            {"max_new_tokens": 24},
            {"max_new_tokens": 12, "num_beams": 3},
            {"max_length": 30},
        ]
        text = PROMPT.format(document=row["document"])
        rows.append({"id": row["id"], "text_inputs": text, **params[n % 3]})
    return rows


@pytest.fixture(scope="module")
def expected(records, tmp_path_factory):
    """The texts of `textmill run`, by id."""
    output = tmp_path_factory.mktemp("run") / "out.jsonl"
    textmill.run(records, output, model="demo", precision="float32")
    return {str(row["id"]): row["generated_texts"] for row in read_lines(output)}


@pytest.fixture(scope="module")
def served():
    with serving(*FLAGS) as found:
        yield found


def ask(url, payload, **headers):
    answer = httpx.post(
        f"{url}/invocations", content=json.dumps(payload), headers=headers, timeout=60
    )
    assert answer.status_code == 200, answer.text
    return answer


def test_every_answer_is_that_of_a_job(served, records, expected):
    """Many clients at once, so that their texts share batches."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda row: ask(served.url, row).json(), records))
    assert [answer["generated_texts"] for answer in answers] == [
        expected[str(row["id"])] for row in records
    ]
    metrics = httpx.get(f"{served.url}/metrics").text
    rows = float(metrics.split("textmill_batch_rows_sum ")[1].split()[0])
    batches = float(metrics.split("textmill_batch_rows_count ")[1].split()[0])
    assert batches < rows


def test_json_lines_are_answered_as_a_job_writes_them(served, records, expected):
    body = b"".join(json.dumps(row).encode() + b"\n" for row in records)
    answer = httpx.post(
        f"{served.url}/invocations",
        content=body,
        headers={"content-type": "application/jsonlines"},
        timeout=60,
    )
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert {str(row["id"]): row["generated_texts"] for row in rows} == expected


def test_the_same_seed_samples_the_same_text_and_none_draws_anew(served):
    text = PROMPT.format(document=documents(1)[0]["document"])
    payload = {"text_inputs": text, "do_sample": True, "temperature": 1.5, "max_new_tokens": 16}
    seeded = [ask(served.url, {**payload, "seed": 3}).json() for _ in range(2)]
    assert seeded[0] == seeded[1]
    free = {json.dumps(ask(served.url, payload).json()) for _ in range(6)}
    assert len(free) > 1


def test_a_prompt_of_the_endpoint_takes_fields_or_a_bare_text(records, expected):
    row = documents(1)[0]
    with serving(*FLAGS, "--prompt", PROMPT, "--set", "max_new_tokens=24") as served:
        answer = ask(served.url, {"document": row["document"]}).json()
        assert answer["generated_texts"] == expected[str(row["id"])]
        text = httpx.post(
            f"{served.url}/invocations",
            content=row["document"].encode(),
            headers={"content-type": "application/x-text"},
        )
        assert [text.json()["generated_text"]] == expected[str(row["id"])]


def test_hyper_params_overrule_lines_but_not_objects(records):
    from support.command import environment

    row = {"text_inputs": records[0]["text_inputs"], "max_new_tokens": 2}
    env = environment(HYPER_PARAMS="{'max_new_tokens': 12}")
    with serving(*FLAGS, env=env) as served:
        alone = ask(served.url, row).json()["generated_texts"][0]
        line = httpx.post(
            f"{served.url}/invocations",
            content=json.dumps(row).encode() + b"\n",
            headers={"content-type": "application/jsonlines"},
        ).json()["generated_texts"][0]
        assert line.startswith(alone)
        assert len(line) > len(alone)


def test_python_has_the_same_endpoint(records, expected):
    texts = [row["text_inputs"] for row in records[::3]]
    with textmill.serve("demo", precision="float32", slo="20s") as endpoint:
        assert endpoint.state == "ready"
        assert endpoint.url is None
        found = endpoint.generate(texts, max_new_tokens=24)
        assert [[text] for text in found] == [expected[str(row["id"])] for row in records[::3]]
        with pytest.raises(textmill.UsageError, match="text 1"):
            endpoint.generate(["a", ""])
    with textmill.serve("demo", precision="float32", port=0) as endpoint:
        assert httpx.get(f"{endpoint.url}/ping").status_code == 200


def test_a_worker_that_dies_is_replaced_and_the_call_answered(served, records, expected):
    """Somebody kills the engine's process while it computes."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, served.url, row) for row in records]
        time.sleep(0.1)
        workers = children.read_text().split()
        assert workers
        for child in workers:
            os.kill(int(child), signal.SIGKILL)
        found = [f.result().json()["generated_texts"] for f in asked]
    assert found == [expected[str(row["id"])] for row in records]
    assert httpx.get(f"{served.url}/ping").status_code == 200


def test_sigterm_lets_it_finish_and_exit_0(records, expected):
    with serving(*FLAGS) as served, ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, served.url, row) for row in records]
        while not any('"status": 200' in line for line in served.log):
            time.sleep(0.005)
        code = served.stop(signal.SIGTERM)
        answered = 0
        for row, future in zip(records, asked, strict=True):
            try:
                found = future.result().json()["generated_texts"]
            except (httpx.HTTPError, AssertionError):
                continue  # came too late: refused, or no connection any more
            assert found == expected[str(row["id"])]
            answered += 1
    assert code == 0
    assert answered >= 1
    assert served.process.returncode == 0


@pytest.mark.full
def test_schemathesis_finds_no_answer_that_the_document_does_not_promise(tmp_path):
    import subprocess
    import sys

    with serving("--engine", "echo", "--quiet") as served:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                *("run", f"{served.url}/openapi.json", "--workers", "2", "-n", "100"),
                *("--checks", "not_a_server_error,status_code_conformance"),
                *("--checks", "content_type_conformance,response_schema_conformance"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert httpx.get(f"{served.url}/ping").status_code == 200
