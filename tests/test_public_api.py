"""The public names, pinned: a change here is a change for users."""

from __future__ import annotations

import inspect
import subprocess
import sys

import textmill
from support.command import environment
from textmill.api.benching import bench
from textmill.api.comparing import compare
from textmill.api.jobs import run
from textmill.api.previews import preview
from textmill.api.scoring import score
from textmill.api.serving import serve
from textmill.cli.bench import bench as bench_command
from textmill.cli.run import run as run_command
from textmill.cli.score import score as score_command
from textmill.cli.serve import serve as serve_command
from textmill.transform.setup import SetupRequest

PUBLIC = [
    "Bench",
    "Comparison",
    "Endpoint",
    "ErrorCode",
    "Generator",
    "Job",
    "JobStatus",
    "Preview",
    "Score",
    "Scores",
    "TextmillError",
    "UsageError",
    "bench",
    "compare",
    "load",
    "preview",
    "run",
    "score",
    "serve",
    "status",
]


def test_public_names_are_these_and_sorted():
    assert textmill.__all__ == PUBLIC


def test_every_public_name_exists_and_is_documented():
    for name in PUBLIC:
        assert getattr(textmill, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(textmill, "nothing")


def test_importing_textmill_imports_nothing_heavy():
    program = (
        "import sys, textmill;"
        "heavy = {'numpy', 'ctranslate2', 'tokenizers', 'huggingface_hub', 'rich', 'cyclopts'};"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, check=True
    )
    assert done.stdout.strip() == b"set()"


def arguments(function):
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def test_flags_and_arguments_of_run_have_the_same_names_and_defaults():
    command, python = arguments(run_command), arguments(run)
    only_command = {"output", "set", "dry_run", "quiet"}
    only_python = {
        "api_key",
        "parameters",
        "hyper_params",
        "home",
        "command",
        "on_progress",
        "on_start",
        "on_transfer",
    }
    assert command.keys() - only_command == python.keys() - only_python
    for name in command.keys() - only_command - {"keep"}:
        assert command[name] == python[name], name


def test_flags_and_arguments_of_score_have_the_same_names_and_defaults():
    command, python = arguments(score_command), arguments(score)
    assert command.keys() - {"metric", "json"} == python.keys() - {"metrics", "home", "on_transfer"}
    for name in command.keys() - {"metric", "json", "by"}:
        assert command[name] == python[name], name


def test_preview_takes_what_run_takes():
    not_for_previews = {"max_errors", "fresh", "retry_failed", "report"}
    not_for_previews |= {"command", "on_progress", "on_start"}
    assert arguments(preview).keys() == arguments(run).keys() - not_for_previews


def test_every_field_of_a_set_up_is_an_argument_of_run():
    assert set(SetupRequest.__struct_fields__) <= arguments(run).keys()


def test_flags_and_arguments_of_serve_have_the_same_names_and_defaults():
    command, python = arguments(serve_command), arguments(serve)
    only_python = {"parameters", "hyper_params", "home", "on_transfer", "in_background"}
    assert command.keys() - {"model", "set", "quiet"} == python.keys() - only_python
    for name in command.keys() - {"model", "set", "quiet", "port"}:
        assert command[name] == python[name], name


def test_flags_and_arguments_of_bench_have_the_same_names_and_defaults():
    command, python = arguments(bench_command), arguments(bench)
    of_engines = {"engine", "threads"}
    assert command.keys() - {"set", "report"} - of_engines == (
        python.keys() - {"parameters", "api_key", "on_stage"}
    )
    for name in command.keys() - {"set", "report"} - of_engines:
        assert command[name] == python[name], name


def test_flags_of_bench_and_arguments_of_compare_have_the_same_names_and_defaults():
    command, python = arguments(bench_command), arguments(compare)
    of_servers = {"slo", "rate", "timeout", "api_key_file", "report"}
    assert command.keys() - {"set"} - of_servers == python.keys() - {
        "parameters",
        "home",
        "on_visit",
    }
    for name in command.keys() - {"set", "engine"} - of_servers:
        assert command[name] == python[name], name
