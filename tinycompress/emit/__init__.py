"""From a plan to a directory of readable C, and to a callable of it on this machine."""

from tinycompress.emit.host import HostProgram
from tinycompress.emit.program import Program
from tinycompress.emit.render import generate

__all__ = ["HostProgram", "Program", "generate"]
