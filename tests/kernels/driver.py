"""A sanitized C program that runs kernels on cases it reads from a pipe.

One driver per header and rounding is built once per session, when first needed, and stays running. Every input row,
output row, packed array and the scratch is an allocation of its own, sized exactly, so that address sanitizing sees a
byte read outside any of them; outputs carry guard bytes as well. The struct a kernel takes is laid out from
`PackedKernel`: scalars (int32) first, then array pointers.
"""

from __future__ import annotations

import itertools
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tinycompress.ir.graph import Rounding
from tinycompress.kernels.catalogue import KernelVariant, PackedKernel

KERNEL_DIRECTORY = Path(__file__).parents[2] / "codegen" / "kernels"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
DEFINITION = re.compile(
    r"^(?:static inline|TC_INLINE) void (tc_\w+)\(\s*const (tc_\w+_params) \*p,\s*const int8_t \*const \*in_rows,"
    r"\s*int8_t \*const \*out_rows,\s*int32_t n_rows,\s*void \*scratch\)",
    re.MULTILINE,
)


class KernelCrash(AssertionError):
    """The driver died: the sanitizers' report."""


def headers() -> tuple[str, ...]:
    """Names of all kernel headers."""
    return tuple(sorted(p.name for p in KERNEL_DIRECTORY.glob("tc_*.h")))


def kernel_functions(header: str) -> dict[str, str]:
    """Kernel functions of a header and the params type each takes."""
    text = (KERNEL_DIRECTORY / header).read_text()
    return dict(DEFINITION.findall(text))


DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
%(includes)s

typedef void (*kernel)(const void *p, const int8_t *const *in_rows, int8_t *const *out_rows, int32_t n_rows,
                       void *scratch);

%(wrappers)s

static const struct { const char *name; kernel run; } kernels[] = {
%(table)s
};

enum { GUARD = 16 };

static void take(void *to, size_t bytes)
{
    if (bytes != 0 && fread(to, 1, bytes, stdin) != bytes) {
        exit(0);
    }
}

static int32_t number(void)
{
    int32_t n;
    take(&n, sizeof n);
    return n;
}

typedef struct { unsigned char *base; unsigned char *data; size_t bytes; } block;

/* A block whose end is the end of its allocation, `offset` bytes off 16-byte alignment. */
static block new_block(size_t bytes, size_t offset)
{
    block b;
    b.base = malloc(bytes + offset + (bytes + offset == 0));
    b.data = b.base + offset;
    b.bytes = bytes;
    memset(b.base, 0xA5, bytes + offset);
    return b;
}

/* A block with guard bytes on both sides, which the kernel may touch without a sanitizer seeing it. */
static block new_guarded(size_t bytes, size_t offset)
{
    block b = new_block(bytes + 2 * GUARD, offset);
    b.data += GUARD;
    b.bytes = bytes;
    return b;
}

static void check_guards(const block *b, size_t offset)
{
    for (size_t i = 0; i < GUARD + offset; ++i) {
        if (b->base[i] != 0xA5) {
            fprintf(stderr, "wrote before an output row\n");
            abort();
        }
    }
    for (size_t i = 0; i < GUARD; ++i) {
        if (b->data[b->bytes + i] != 0xA5) {
            fprintf(stderr, "wrote behind an output row\n");
            abort();
        }
    }
}

int main(void)
{
    for (;;) {
        char name[64];
        kernel run = NULL;
        take(name, sizeof name);
        for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; ++i) {
            if (strcmp(kernels[i].name, name) == 0) {
                run = kernels[i].run;
            }
        }
        if (run == NULL) {
            fprintf(stderr, "no kernel %%s\n", name);
            abort();
        }
        const size_t offset = (size_t)number();
        const int32_t n_rows = number();
        const size_t scratch_bytes = (size_t)number();
        const size_t scalar_bytes = (size_t)number();
        const size_t arrays = (size_t)number();
        const size_t ins = (size_t)number();
        const size_t outs = (size_t)number();
        const size_t pointers_at = (scalar_bytes + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
        unsigned char *params = calloc(1, pointers_at + (arrays + 4) * sizeof(void *));
        block *array = calloc(arrays + 1, sizeof *array);
        block *in = calloc(ins + 1, sizeof *in);
        block *out = calloc(outs + 1, sizeof *out);
        const int8_t **in_rows = malloc((ins + (ins == 0)) * sizeof *in_rows);
        int8_t **out_rows = malloc((outs + (outs == 0)) * sizeof *out_rows);
        take(params, scalar_bytes);
        for (size_t i = 0; i < arrays; ++i) {
            array[i] = new_block((size_t)number(), 0);
            take(array[i].data, array[i].bytes);
            memcpy(params + pointers_at + i * sizeof(void *), &array[i].data, sizeof(void *));
        }
        for (size_t i = 0; i < outs; ++i) {
            out[i] = new_guarded((size_t)number(), offset);
            out_rows[i] = (int8_t *)out[i].data;
        }
        for (size_t i = 0; i < ins; ++i) {
            const int32_t bytes = number();
            const int32_t alias = number();
            in_rows[i] = NULL;
            if (bytes >= 0) {
                in[i] = alias < 0 ? new_block((size_t)bytes, offset) : out[alias];
                take(in[i].data, (size_t)bytes);
                in_rows[i] = (const int8_t *)in[i].data;
                if (alias >= 0) {
                    in[i].base = NULL;
                }
            }
        }
        block scratch = new_block(scratch_bytes, 0);
        run(params, in_rows, out_rows, n_rows, scratch.data);
        for (size_t i = 0; i < outs; ++i) {
            check_guards(&out[i], offset);
            fwrite(out[i].data, 1, out[i].bytes, stdout);
            free(out[i].base);
        }
        fflush(stdout);
        for (size_t i = 0; i < ins; ++i) {
            free(in[i].base);
        }
        for (size_t i = 0; i < arrays; ++i) {
            free(array[i].base);
        }
        free(scratch.base);
        free(params);
        free(array);
        free(in);
        free(out);
        free((void *)in_rows);
        free((void *)out_rows);
    }
}
"""


def driver_source(header: str) -> str:
    """The driver with a wrapper for every kernel of a header."""
    kernels = kernel_functions(header)
    wrappers = "\n".join(
        f"static void run_{name}(const void *p, const int8_t *const *in_rows, int8_t *const *out_rows, int32_t n_rows, "
        f"void *scratch)\n{{\n    {name}((const {params} *)p, in_rows, out_rows, n_rows, scratch);\n}}"
        for name, params in kernels.items()
    )
    return DRIVER % {
        "includes": f'#include "{header}"',
        "wrappers": wrappers,
        "table": "\n".join(f'    {{"{name}", run_{name}}},' for name in kernels),
    }


@cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tinycompress-kernels-")


@cache
def compiler() -> tuple[str, tuple[str, ...]]:
    """(command, sanitizer flags) of the host compiler: gcc with both sanitizers, or zig's clang with trapping UBSan."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "probe.c"
        source.write_text("int main(void) { return 0; }\n")
        probe = ["gcc", *SANITIZERS, str(source), "-o", str(source.with_suffix(""))]
        try:
            subprocess.run(probe, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return "python-zig", ("-fsanitize=undefined", "-fsanitize-trap=undefined")
    return "gcc", SANITIZERS


def compile_command(compiler_name: str) -> list[str]:
    """Argument list that starts the compiler of that name ('python-zig' is ziglang's `zig cc`)."""
    if compiler_name == "python-zig":
        return [sys.executable, "-m", "ziglang", "cc"]
    return [compiler_name]


class Driver:
    """A running driver process."""

    def __init__(self, header: str, rounding: Rounding) -> None:
        self._path = _build(header, rounding)
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, message: bytes, answer_bytes: int) -> bytes:
        """Sends one case and returns the output rows' bytes; KernelCrash with the report when the driver dies."""
        if self._process is None:
            self._process = subprocess.Popen(
                [self._path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(message)
            process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = process.stdout.read(answer_bytes)
        if len(answer) != answer_bytes:
            self._process = None
            report = process.communicate()[1].decode(errors="replace")
            raise KernelCrash(f"driver ended with {process.returncode}:\n{report}")
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


def _build(header: str, rounding: Rounding) -> Path:
    path = Path(_directory().name) / f"{Path(header).stem}-{rounding.value}"
    source = path.with_suffix(".c")
    source.write_text(driver_source(header))
    name, sanitizers = compiler()
    define = ["-DTC_ROUNDING_SINGLE"] if rounding is Rounding.SINGLE else []
    command = [
        *compile_command(name), "-std=c11", "-O1", "-g", *WARNINGS, *sanitizers, *define,
        f"-I{KERNEL_DIRECTORY}", str(source), "-o", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}\n{done.stderr}")
    return path


_DRIVERS: dict[tuple[str, Rounding], Driver] = {}


def driver(header: str, rounding: Rounding) -> Driver:
    """The session's driver for the kernels of a header, built when first asked for."""
    key = (header, rounding)
    if key not in _DRIVERS:
        _DRIVERS[key] = Driver(header, rounding)
    return _DRIVERS[key]


def close_all() -> None:
    """Ends all drivers and removes what was built."""
    for running in _DRIVERS.values():
        running.close()
    _DRIVERS.clear()
    if _directory.cache_info().currsize:
        _directory().cleanup()
        _directory.cache_clear()


@dataclass(frozen=True)
class Call:
    """One call of a kernel: `n_rows` output rows from the given input rows; None is a NULL pointer.

    `aliases[i]` is the output row that input row i shares its storage with, or −1.
    """

    n_rows: int
    in_rows: tuple[bytes | None, ...]
    out_bytes: tuple[int, ...]
    scratch_bytes: int
    aliases: tuple[int, ...] = ()


def _scalars(packed: PackedKernel) -> bytes:
    values: list[int] = []
    for _, value in packed.scalars:
        values += value if isinstance(value, tuple) else [value]
    return struct.pack(f"<{len(values)}i", *values)


def call(
    variant: KernelVariant, packed: PackedKernel, rounding: Rounding, case: Call, offset: int = 0
) -> tuple[bytes, ...]:
    """The output rows of one kernel call, every row `offset` bytes off 16-byte alignment."""
    scalars = _scalars(packed)
    aliases = case.aliases or (-1,) * len(case.in_rows)
    parts = [
        variant.function.encode().ljust(64, b"\0"),
        struct.pack(
            "<7i", offset, case.n_rows, case.scratch_bytes, len(scalars), len(packed.arrays), len(case.in_rows),
            len(case.out_bytes),
        ),
        scalars,
    ]  # fmt: skip
    for array in packed.arrays:
        data = np.ascontiguousarray(array.data).tobytes()
        parts += [struct.pack("<i", len(data)), data]
    parts += [struct.pack("<i", count) for count in case.out_bytes]
    for row, alias in zip(case.in_rows, aliases, strict=True):
        parts += [struct.pack("<2i", -1 if row is None else len(row), alias), row or b""]
    answer = driver(variant.header, rounding).call(b"".join(parts), sum(case.out_bytes))
    ends = list(itertools.accumulate(case.out_bytes, initial=0))
    return tuple(answer[a:b] for a, b in itertools.pairwise(ends))
