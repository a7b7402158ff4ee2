"""The environment, read once and checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from textmill.errors import UsageError
from textmill.settings import read_settings


def test_nothing_set() -> None:
    settings = read_settings({})
    assert settings.home == Path("~/.cache/textmill").expanduser()
    assert (settings.offline, settings.hub_endpoint) == (False, None)
    assert settings.hyper_params is None
    assert settings.api_key is None


def test_everything_set(tmp_path: Path) -> None:
    settings = read_settings(
        {
            "TEXTMILL_HOME": str(tmp_path),
            "TEXTMILL_OFFLINE": "yes",
            "HF_ENDPOINT": "https://hub.example.com/",
            "HYPER_PARAMS": "{'max_length': 50}",
            "OPENAI_API_KEY": " sk-1\n",
            "NO_COLOR": "1",
        }
    )
    assert settings.api_key == "sk-1"
    assert "sk-1" not in repr(settings)
    assert settings.home == tmp_path
    assert settings.offline
    assert settings.hub_endpoint == "https://hub.example.com"
    assert settings.hyper_params == "{'max_length': 50}"


@pytest.mark.parametrize("name", ["TEXTMILL_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize(
    ("value", "offline"),
    [("1", True), ("TRUE", True), ("on", True), ("0", False), ("No", False), ("", False)],
)
def test_offline_has_three_names(name: str, value: str, offline: bool) -> None:
    assert read_settings({name: value}).offline is offline


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TEXTMILL_OFFLINE", "maybe"),
        ("HF_HUB_OFFLINE", "2"),
        ("HF_ENDPOINT", "localhost:8080"),
        ("HF_ENDPOINT", "ftp://hub"),
        ("TEXTMILL_HOME", __file__),
    ],
)
def test_a_bad_value_stops_with_its_name(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        read_settings({name: value})
    assert value in str(caught.value)
    assert caught.value.hint


def test_home_follows_the_cache_standard(tmp_path: Path) -> None:
    assert read_settings({"XDG_CACHE_HOME": str(tmp_path)}).home == tmp_path / "textmill"
    assert read_settings({"XDG_CACHE_HOME": "relative"}).home.parent.name == ".cache"
    assert read_settings({"TEXTMILL_HOME": "relative"}).home == Path("relative").absolute()


def test_the_process_environment_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTMILL_HOME", str(tmp_path))
    assert read_settings().home == tmp_path


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({}, None),
        ({"AWS_REGION": " "}, None),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": "us-gov-west-1", "AWS_DEFAULT_REGION": "eu-west-3"}, "us-gov-west-1"),
    ],
)
def test_the_s3_region_has_two_names(environ: dict[str, str], region: str | None) -> None:
    assert read_settings(environ).s3_region == region


@pytest.mark.parametrize("region", ["host.example/", "eu west", "-", "a@b", "EU-WEST-1"])
def test_a_region_is_no_part_of_an_address(region: str) -> None:
    """It stands in the host's name, so it must not turn requests to another one."""
    with pytest.raises(UsageError, match="AWS_DEFAULT_REGION"):
        read_settings({"AWS_DEFAULT_REGION": region})
