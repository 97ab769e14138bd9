"""Diagnostics of compilers and of building firmware."""

EXPLAIN = {
    "TC-T101": (
        "The default compiler is zig's clang, which pip installs as the package ziglang. It is missing from the Python "
        "environment this command runs in: pip install ziglang."
    ),
    "TC-T102": (
        "A compiler that was asked for by name is not on the path or cannot be run. The default toolchain, zig, needs "
        "only pip; arm-none-eabi-gcc is Debian's package gcc-arm-none-eabi."
    ),
    "TC-T103": (
        "A C file does not compile; the compiler's output follows. Everything is compiled with -Wall -Wextra "
        "-Wconversion -Wshadow -Wpedantic -Werror. For unchanged generated code this is a bug of the tool: report it "
        "with the model and the compiler's version."
    ),
    "TC-T104": (
        "The objects compile but do not link; the linker's output follows. An undefined symbol usually means that a C "
        "file is missing from the program directory or that its code calls a C library function, which generated code "
        "never does."
    ),
    "TC-T105": (
        "Code, weights and buffers together are larger than a memory of the board; the linker names it and the number "
        "of bytes. The budgets of the model leave room for the measuring firmware of about 8 KB flash and 16 KB RAM."
    ),
    "TC-T106": "The toolchains are zig (clang, installed by pip) and gcc (arm-none-eabi-gcc).",
    "TC-T107": (
        "The board file names a core and FPU for which this tool has no compiler flags. Cortex-M7 with fpv5-sp-d16 is "
        "supported."
    ),
    "TC-T108": "A compiler ran longer than five minutes and was ended. A full disk or a machine without memory can cause it.",
    "TC-T109": (
        "The directory that should hold the generated program has no C file. Run `tinycompress generate` first, and "
        "give its output directory."
    ),
    "TC-T110": (
        "The stack, the firmware's own data, the arena, the model's state, and the inputs and outputs are placed one "
        "after the other, each whole in the first memory of the board with room for it; one of them fits nowhere. "
        "The message has the free bytes of every memory."
    ),
    "TC-T111": (
        "The deepest call path of the generated code, computed exactly from the machine code, needs more stack than the "
        "board file reserves. The path is in the message. Raise stack_bytes in the board file."
    ),
    "TC-T112": (
        "Compilers keep their intermediate files in a cache: $TINYCOMPRESS_CACHE, else tinycompress/ under "
        "$XDG_CACHE_HOME or ~/.cache. It cannot be created or written: no permission, read-only, or the disk is full."
    ),
}
