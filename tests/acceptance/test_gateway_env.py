"""`textmill gateway env`: what it prints, what it writes, and what it leaves alone."""

from __future__ import annotations

import subprocess

import pytest

from support.command import textmill


def env(*flags):
    return textmill("gateway", "env", *flags)


def exported(text):
    """What a shell has after the lines, of what they name."""
    done = subprocess.run(
        ["sh", "-c", f"{text}\nenv"], env={"PYTHONPATH": "/mine"}, capture_output=True, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.decode().splitlines())


def test_nothing_is_written_unless_it_is_asked_for(tmp_path):
    found = exported(env("--url", "http://127.0.0.1:1 $(x)'", "--keep-keys").out)
    assert found["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1 $(x)'"
    assert found["PYTHONPATH"].endswith("/shim:/mine")
    assert not {"AWS_ACCESS_KEY_ID", "SAGEMAKER_USER_CONFIG_OVERRIDE"} & found.keys()


def test_the_sdks_config_is_written_and_named(tmp_path):
    folder = tmp_path / "with space" / "sdk"
    first = env("--write-config", folder, "--region", "eu-west-1")
    assert exported(first.out)["SAGEMAKER_USER_CONFIG_OVERRIDE"] == str(folder / "config.yaml")
    assert "DefaultS3Bucket: sagemaker-eu-west-1-" in (folder / "config.yaml").read_text()
    assert env("--write-config", folder, "--region", "eu-west-1") == first


@pytest.mark.parametrize("theirs", ["", "SchemaVersion: '1.0'\n"])
def test_a_users_config_is_left_as_it_is(tmp_path, theirs):
    (tmp_path / "config.yaml").write_text(theirs)
    done = env("--write-config", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert f"{tmp_path}/config.yaml is there, and is left as it is" in done.err
    assert "DefaultS3Bucket to it yourself" in done.err
    assert (tmp_path / "config.yaml").read_text() == theirs


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    done = env("--write-config", tmp_path / "file" / "sdk")
    assert (done.code, done.out) == (2, "")
    assert "config.yaml cannot be written: " in done.err
