"""Every test starts from the same place: no user settings, no thread oversubscription."""

from __future__ import annotations

import os

from hypothesis import settings

# The machine may be busy, and no test asserts a time.
settings.register_profile("textmill", deadline=None)
settings.load_profile("textmill")

for name in [name for name in os.environ if name.startswith(("HF_", "TEXTMILL_"))]:
    del os.environ[name]
for name in ("HYPER_PARAMS", "OPENAI_API_KEY"):
    os.environ.pop(name, None)
os.environ.setdefault("OMP_NUM_THREADS", "1")
