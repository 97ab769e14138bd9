"""What a generated header tells its user first: the lines of C that run the model, whatever its interface is."""

from __future__ import annotations

from collections.abc import Collection

from tinycompress.emit.contexts import IoContext


def usage(
    prefix: str,
    inputs: tuple[IoContext, ...],
    outputs: tuple[IoContext, ...],
    functions: Collection[str],
    *,
    has_state: bool,
) -> tuple[str, ...]:
    """Declarations at file scope, an empty line, then the body of a function; C11.

    `functions` are those of the library's other functions that exist (``run``, ``quantize_input``, …).
    """
    macro = prefix.upper()
    lines = [f"static _Alignas({macro}_ARENA_ALIGN) uint8_t arena[{macro}_ARENA_BYTES];"]
    body = []
    if has_state:
        lines.append(f"static {prefix}_state state;")
        body.append(f"{prefix}_state_reset(&state); // once")
    results = []
    for kind, ports in (("in", inputs), ("out", outputs)):
        for io in ports:
            function = f"{'quantize' if kind == 'in' else 'dequantize'}_{_stem(io, kind, len(ports))}"
            buffer = f"{kind}_{io.member}"
            lines.append(f"static {io.c_type} {buffer}[{_size(macro, io)}];")
            if function in functions:
                lines.append(f"static float real_{buffer}[{io.elements}];")
                if kind == "in":
                    body.append(f"{prefix}_{function}(real_{buffer}, {buffer});")
                else:
                    results.append(f"    {prefix}_{function}({buffer}, real_{buffer});")
    if "run" in functions:
        body.append(
            f"if ({prefix}_run(in_{inputs[0].member}, out_{outputs[0].member}, arena, sizeof arena) == TC_OK) {{"
        )
    else:
        body.append(f"const {prefix}_inputs inputs = {{{', '.join(f'in_{io.member}' for io in inputs)}}};")
        body.append(f"const {prefix}_outputs outputs = {{{', '.join(f'out_{io.member}' for io in outputs)}}};")
        state = "&state, " if has_state else ""
        body.append(f"if ({prefix}_invoke(&inputs, &outputs, {state}arena, sizeof arena) == TC_OK) {{")
    return (*lines, "", *body, *(results or ["    // the results are there"]), "}")


def _stem(io: IoContext, kind: str, count: int) -> str:
    return io.member if count > 1 else f"{kind}put"


def _size(macro: str, io: IoContext) -> str:
    return f"{macro}_{io.macros[-1]}_BYTES" if io.elements == io.bytes else str(io.elements)
