"""What `textmill serve` is told: every setting that cannot work is refused before a model loads."""

from __future__ import annotations

import re
import socket
import subprocess

import httpx2 as httpx
import pytest

import textmill
from textmill.errors import UsageError
from textmill.serving.access import is_foreign, read_keys

KEY = "a" * 20


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": 70_000}, "from 0 to 65535"),
        ({"port": -1}, "from 0 to 65535"),
        ({"drain": float("nan")}, "drain=nan"),
        ({"drain": float("inf")}, "drain=inf"),
        ({"drain": -5.0}, "drain=-5"),
        ({"max_body_mb": float("nan")}, "max_body_mb=nan"),
        ({"max_body_mb": 1e-9}, "max_body_mb=1e-09"),
        ({"max_body_mb": 1e6}, "max_body_mb=1000000"),
        ({"max_texts": 0}, "max_texts=0"),
        ({"queue": 0}, "queue=0"),
        ({"timeout": 0.0}, "timeout=0"),
        ({"timeout": float("inf")}, "timeout=inf"),
        ({"name": ""}, "name"),
        ({"name": "a b"}, '"a b"'),
        ({"name": "a?b"}, "addresses"),
        ({"name": "a\nb"}, "addresses"),
        ({"slo": "nan"}, "800ms"),
        ({"slo": "-1s"}, "800ms"),
        ({"host": "", "port": 0}, "every address can be reached"),
        ({"host": "x" * 70 + ".example", "port": 0, "no_auth": True}, "cannot listen"),
        ({"parameters": {"max_new_tokens": 5000}}, "every call without parameters"),
        ({"parameters": {"num_beams": 17}}, "num_beams: 17; this endpoint allows 16"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_in_a_sentence(settings, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        textmill.serve(engine="echo", **settings).close()


@pytest.mark.parametrize("name", ["flan-t5", "org/model", "gpt-3.5", "llama3.2:3b", "a_b"])
def test_a_name_may_be_any_that_models_have(name):
    with textmill.serve(engine="echo", name=name, port=0) as endpoint:
        (card,) = httpx.get(f"{endpoint.url}/v1/models").json()["data"]
        assert card["id"] == name
        assert httpx.get(f"{endpoint.url}/v2/models/{name}").json()["name"] == name


def test_a_port_that_is_taken_is_told_before_the_model_is_looked_for():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(UsageError, match="Address already in use"),
    ):
        textmill.serve("no-such-model", port=taken.getsockname()[1])


def test_nobody_can_connect_before_it_can_answer():
    """A socket that has its address but does not listen refuses, which tells those who wait."""
    from textmill.serving.server import Listen

    with Listen(port=0).bind() as bound:
        address = bound.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)


def test_more_tokens_may_be_the_default_where_more_are_allowed():
    with textmill.serve(
        engine="echo", parameters={"max_new_tokens": 5000}, max_new_tokens=5000
    ) as endpoint:
        assert endpoint.generate(["a"]) == ["a"]


def make_certificate(folder, name, *more):
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-days", "1", "-subj", "/CN=localhost", "-keyout", key, "-out", cert, *more],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def test_a_certificate_that_cannot_be_used_is_told_at_once(tmp_path):
    """Nothing asks for a password, which nobody could type into a service."""
    cert, _ = make_certificate(tmp_path, "ours", "-nodes")
    _, other = make_certificate(tmp_path, "other", "-nodes")
    locked, locked_key = make_certificate(tmp_path, "locked", "-passout", "pass:secret")
    empty = tmp_path / "empty"
    empty.touch()
    for pair in ((empty, empty), (cert, other), (cert, cert), (locked, locked_key)):
        with pytest.raises(UsageError, match="are no certificate and its key"):
            textmill.serve(engine="echo", port=0, tls_cert=pair[0], tls_key=pair[1])


@pytest.mark.parametrize("text", ["\ufeff" + KEY, KEY + "\r\n", "# ours\n\n alice  " + KEY])
def test_a_key_is_read_as_it_is_meant(tmp_path, text):
    path = tmp_path / "keys"
    path.write_bytes(text.encode())
    assert read_keys(path).name_of(KEY) is not None


@pytest.mark.parametrize(
    "text", ["short", "a b " + KEY, "alice kéy" + KEY, "\x00" * 20, f"a {KEY}\na {KEY}x", " \n#"]
)
def test_a_key_that_no_client_could_send_is_refused(tmp_path, text):
    path = tmp_path / "keys"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError):
        read_keys(path)


def test_only_a_client_that_names_a_host_can_have_been_bent_here():
    assert not is_foreign({}, ("127.0.0.1",))
    assert not is_foreign({"host": "localhost:8080"}, ("127.0.0.1",))
    assert is_foreign({"host": "evil.example"}, ("127.0.0.1",))
    assert is_foreign({"origin": "http://evil.example"}, ("127.0.0.1",))
