"""Act as a user to whom permissions apply, also where the tests run as the superuser."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def ordinary_user() -> Iterator[Path]:
    """A folder, and for as long as the block lasts a user who owns it and nothing else."""
    superuser = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp())
    if superuser:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if superuser:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)
