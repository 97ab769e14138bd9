"""The command line: one module per command, which reads flags, calls the library, prints and exits. No logic."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line and exit the process with DESIGN section 12's exit codes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `run` answers it: imports would end in a traceback
    from tinycompress.cli.app import run

    sys.exit(run(sys.argv[1:]))
