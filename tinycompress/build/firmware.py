"""Builds the measuring firmware around one generated library."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tinycompress import assets
from tinycompress.boards import Board
from tinycompress.build import stack
from tinycompress.build.binding import Binding
from tinycompress.build.elf import Sizes, firmware_sizes, flash_image, library_sizes
from tinycompress.build.placement import Placement, place
from tinycompress.build.toolchain import Toolchain, target_toolchain
from tinycompress.errors import ToolchainError
from tinycompress.templates import environment

STACK_RESERVE_BYTES = 1024  # what the firmware itself has on the stack when it calls the library
_SOURCES = ("startup.c", "main.c", "frame.c", "fault.c", "measure.c", "model.c", "runtime.c")


@dataclass(frozen=True)
class Identity:
    """What HELLO must answer for the firmware on the target to be the one that was built, and its tensors' sizes."""

    build_id: str
    model_hash: str
    board: str
    rounding: str
    input_bytes: tuple[int, ...]
    output_bytes: tuple[int, ...]


@dataclass(frozen=True)
class Firmware:
    """A built firmware. `library_sizes` and `stack` are those of the generated library as it is linked here."""

    elf: Path
    bin: Path
    identity: Identity
    binding: Binding
    board: Board
    has_hooks: bool
    compiler: str
    flags: tuple[str, ...]
    library_sizes: Sizes
    firmware_sizes: Sizes
    stack: stack.StackBound

    @property
    def build_id(self) -> str:
        return self.identity.build_id


def build_firmware(
    program_dir: Path,
    binding: Binding,
    board: Board,
    toolchain: str = "zig",
    out_dir: Path = Path("build"),
    profile: bool = False,
    trace: bool = False,
) -> Firmware:
    """Compile the C files of `program_dir` and the firmware for `board`, link them into ``out_dir/firmware.elf``.

    With `profile` or `trace` everything is compiled with TC_HOOKS (counts then include the hooks). The same inputs give
    the same bytes on every machine. Raises ToolchainError (see `toolchain` and `placement`), also TC-T109 when
    `program_dir` holds no C file, and TC-T111 when the board's stack is too small.
    """
    chain = target_toolchain(toolchain, board)
    sources = sorted(program_dir.glob("*.c"))
    if not sources:
        raise ToolchainError("TC-T109", "there is no C file in the program directory", where=str(program_dir))
    placement = place(board, binding)
    shutil.rmtree(out_dir, ignore_errors=True)
    (out_dir / "lib").mkdir(parents=True)
    (out_dir / "fw").mkdir()
    _render(out_dir, binding, board, placement, [f"lib/{s.stem}.o" for s in sources])

    has_hooks = profile or trace
    defines = ("TC_HOOKS=1",) if has_hooks else ()
    firmware = assets.directory("firmware")
    library_includes: tuple[Path, ...] = (program_dir, firmware) if has_hooks else (program_dir,)
    jobs = [(s, out_dir / "lib" / f"{s.stem}.o", library_includes) for s in sources]
    port = sorted((firmware / "ports" / board.port).glob("*.c"))
    for source in (*(firmware / name for name in _SOURCES), *port):
        prefix = "port_" if source in port else ""
        jobs.append((source, out_dir / "fw" / f"{prefix}{source.stem}.o", (out_dir, program_dir, firmware)))
    _compile_all(chain, jobs, defines)

    objects = [job[1] for job in jobs]
    build_id = _build_id(chain, objects, out_dir / "firmware.ld")
    id_source = out_dir / "build_id.c"
    id_source.write_text(f'extern const char tc_build_id[];\nconst char tc_build_id[] = "{build_id}";\n')
    chain.compile(id_source, out_dir / "fw" / "build_id.o")
    target = out_dir / "firmware.elf"
    chain.link([*objects, out_dir / "fw" / "build_id.o"], out_dir / "firmware.ld", target)
    binary = out_dir / "firmware.bin"
    binary.write_bytes(flash_image(target))
    depth = stack.bound(target, f"{binding.prefix}_invoke", out_dir)
    _require_stack(depth, binding, board)
    return Firmware(
        elf=target,
        bin=binary,
        identity=_identity(build_id, binding, board),
        binding=binding,
        board=board,
        has_hooks=has_hooks,
        compiler=chain.version,
        flags=chain.flags,
        library_sizes=library_sizes(target),
        firmware_sizes=firmware_sizes(target),
        stack=depth,
    )


def _require_stack(depth: stack.StackBound, binding: Binding, board: Board) -> None:
    if depth.bytes is not None and depth.bytes + STACK_RESERVE_BYTES > board.stack_bytes:
        raise ToolchainError(
            "TC-T111",
            f"{binding.prefix}_invoke needs {depth.bytes} B of stack ({' -> '.join(depth.path)}) and the firmware "
            f"{STACK_RESERVE_BYTES} B; board {board.id!r} has {board.stack_bytes} B",
            fix="raise stack_bytes in the board file",
        )


def _identity(build_id: str, binding: Binding, board: Board) -> Identity:
    return Identity(
        build_id=build_id,
        model_hash=binding.model_hash,
        board=board.id,
        rounding=binding.rounding,
        input_bytes=tuple(t.bytes for t in binding.inputs),
        output_bytes=tuple(t.bytes for t in binding.outputs),
    )


def _compile_all(
    chain: Toolchain, jobs: Sequence[tuple[Path, Path, tuple[Path, ...]]], defines: tuple[str, ...]
) -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        pending = [pool.submit(chain.compile, s, o, includes=i, defines=defines) for s, o, i in jobs]
        for job in pending:
            job.result()


def _build_id(chain: Toolchain, objects: Sequence[Path], script: Path) -> str:
    digest = hashlib.sha256(chain.version.encode())
    for path in (*objects, script):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _render(out_dir: Path, binding: Binding, board: Board, placement: Placement, library_objects: list[str]) -> None:
    templates = environment(assets.directory("codegen") / "templates", assets.directory("firmware") / "templates")
    code = board.memory_named(placement.code)
    load = code.alias_of or code.name
    texts = {
        "tc_binding.h": templates.get_template("binding.h.j2").render(b=binding),
        "tc_board.h": templates.get_template("tc_board.h.j2").render(board=board),
        "firmware.ld": templates.get_template("link.ld.j2").render(
            board=board,
            placement=placement,
            load=load,
            library_objects=library_objects,
        ),
    }
    for name, text in texts.items():
        (out_dir / name).write_text(text)
