"""The command line: one module per command, which reads flags, calls the library, prints and exits. No logic."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Run the command line and exit the process with DESIGN section 12's exit codes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run` answers it: imports would end in a traceback
    from tinycompress.cli.app import INTERRUPTED, run

    code = run(sys.argv[1:])
    if code == INTERRUPTED:  # Python would end by the signal if an interrupt once went through exec()
        with contextlib.suppress(OSError):  # whoever reads stdout may have been interrupted first
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
