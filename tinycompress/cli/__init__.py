"""The command line: one module per command, which reads flags, calls the library, prints and exits. No logic."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit the process with DESIGN section 12's exit codes."""
    from tinycompress.cli.app import run

    sys.exit(run(sys.argv[1:]))
