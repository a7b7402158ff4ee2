"""One connection for a bucket, for as long as the login in the environment is the same."""

from __future__ import annotations

import os

import pytest

from textmill.errors import UsageError
from textmill.storage.connecting import Address, StoreOptions, connect

SECRETS = {
    Address("s3", "bucket"): {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"},
    Address("az", "container@account"): {"AZURE_STORAGE_ACCOUNT_KEY": "c2VjcmV0"},
}
BROKEN = [
    (Address("s3", "bucket"), {"AWS_ACCESS_KEY_ID": "key"}, "Missing SecretAccessKey"),
    (Address("az", "container@account"), {"AZURE_STORAGE_ACCOUNT_KEY": "!"}, "Invalid Access Key"),
    (Address("gs", "bucket"), {"GOOGLE_APPLICATION_CREDENTIALS": "/none/such"}, "/none/such"),
]


@pytest.fixture(autouse=True)
def _no_login(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("address", SECRETS, ids=str)
def test_a_new_login_is_used_by_a_process_that_has_an_old_one(address, monkeypatch):
    """As in a notebook: what the first is refused for, the next is set in its environment."""
    for variable, value in SECRETS[address].items():
        monkeypatch.setenv(variable, value)
    first = connect(address, StoreOptions(), 1.0)
    assert connect(address, StoreOptions(), 1.0) is first
    monkeypatch.setenv(variable, "b3RoZXI=")
    assert connect(address, StoreOptions(), 1.0) is not first


@pytest.mark.parametrize(("address", "login", "reason"), BROKEN, ids=["s3", "azure", "gcs"])
def test_half_a_login_is_refused_with_what_is_missing(address, login, reason, monkeypatch):
    for variable, value in login.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=reason) as raised:
        connect(address, StoreOptions(), 1.0)
    assert next(iter(login)) in (raised.value.hint or "")
