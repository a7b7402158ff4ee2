"""`textmill gateway`: SageMaker's API for notebooks and SDKs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from textmill.cli.whole import Whole

Flag = Parameter(negative=())
HELP = """Serve SageMaker's API to notebooks: boto3 and the SageMaker SDK v2.

Models, transform jobs, endpoints, logs and an S3 on this machine, at one address.
Jobs run as `textmill run` does, and go on after a restart. In the notebook's shell:
eval "$(textmill gateway env)"."""

app = App(name="gateway", help=HELP, version_flags=[], suppress_keyboard_interrupt=False)


@app.default
def gateway(
    *,
    port: Whole = 8088,
    host: str = "127.0.0.1",
    state: Path | None = None,
    s3: Path | None = None,
    endpoint_url: str | None = None,
    keys: Path | None = None,
    jobs: Whole = 1,
    engine: str = "auto",
    precision: str = "auto",
    threads: Whole | None = None,
    allow_download: Annotated[bool, Flag] = False,
    idle: float | None = None,
    account: str = "000000000000",
) -> int:
    """Serve SageMaker's API (`HELP` is the text of its page).

    Parameters
    ----------
    port
        To listen on; 0 takes any that is free, and prints it.
    host
        To listen on. Any but this machine's loopback needs --keys.
    state
        Folder of everything that clients create; a gateway started again with it goes on.
        TEXTMILL_HOME/gateway by default.
    s3
        Folder of the buckets: a file STATE/s3/BUCKET/KEY is an object. STATE/s3 by default.
    endpoint_url
        An S3 that holds the buckets instead; its keys come from the environment.
    keys
        File like ~/.aws/credentials: requests must be signed with one of its keys.
    jobs
        How many transform jobs work at the same time; others wait.
    engine
        Of jobs: auto, ct2, openvino or echo (answers each text with itself, needs no model).
    precision
        Of jobs: auto, int8, float32, or bfloat16 (openvino, where the CPU has it).
    threads
        CPU threads of a job; all by default.
    allow_download
        Fetch a model that a request names and that is not in the cache. Otherwise the job fails:
        textmill models fetch NAME.
    idle
        Seconds without a call after which an endpoint's process ends; the next call waits until
        it is started again. Never by default.
    account
        Number of the account that clients see, twelve digits.
    """
    import logging

    from textmill.gateway.server import Options, check_extra, serve
    from textmill.settings import read_settings

    check_extra()
    settings = read_settings()
    options = Options(
        state=state or settings.home / "gateway",
        home=settings.home,
        host=host,
        port=port,
        s3=s3,
        endpoint_url=endpoint_url,
        keys=keys,
        jobs=jobs,
        engine=engine,
        precision=precision,
        threads=threads,
        download=allow_download and not settings.offline,
        idle=idle,
        account=account,
        region=settings.s3_region or "us-east-1",
    )
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    serve(options)
    return 0


@app.command
def env(
    *,
    url: str = "http://127.0.0.1:8088",
    region: str = "us-east-1",
    keep_keys: Annotated[bool, Flag] = False,
    write_config: Path | None = None,
    write_metadata: Annotated[bool, Flag] = False,
) -> None:
    """Print what a notebook's shell needs: eval "$(textmill gateway env)".

    Parameters
    ----------
    url
        Where the gateway listens.
    region
        A region's name that Amazon's clients know.
    keep_keys
        Leave AWS_ACCESS_KEY_ID and its kin alone, for a gateway with --keys.
    write_config
        Also write config.yaml of the SageMaker SDK into this folder, with the name of the default
        bucket, and have the SDK read it. A file that is there is never changed.
    write_metadata
        Also write /opt/ml/metadata/resource-metadata.json (as root), by which the SDK asks the
        gateway for its role. With both files it needs nothing on PYTHONPATH.
    """
    from textmill.gateway import environment

    config = None if write_config is None else environment.write_config(write_config, region)
    if write_metadata:
        environment.write_metadata()
    print(environment.exports(url, region, with_keys=not keep_keys, config=config), end="")
