"""Keep the C library from giving memory back that the next layer will ask for again.

An engine allocates and frees its activations layer by layer. glibc takes such large blocks from
the kernel and returns them each time, so every layer pays for fresh zeroed pages: measured on the
demo model, a third of all processor time (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to keep up to 1 GiB of freed memory, for the whole process; True if it does.

    On other C libraries nothing happens. Calling it again changes nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    settings = ((_M_MMAP_THRESHOLD, _KEEP_BYTES), (_M_TRIM_THRESHOLD, _KEEP_BYTES))
    done = [mallopt(option, value) for option, value in settings]
    return all(done)
