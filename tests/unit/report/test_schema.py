"""report.json keeps its promises: the shipped schema, no zero or null where the mode can know, sums equal totals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from pydantic import TypeAdapter

import tinycompress.report
from tinycompress.errors import ConfigError
from tinycompress.report import model as m
from tinycompress.report.text import bar, first_to_shrink, layer_cells, layer_header, layer_rows, summary_rows

SCHEMA_FILE = Path(tinycompress.report.__file__).parent / "schema.json"


def schema() -> dict[str, object]:
    """The JSON Schema of `Report`, strict about unknown members."""
    made = TypeAdapter(m.Report).json_schema()
    for part in (made, *made["$defs"].values()):
        part["additionalProperties"] = False
        part["required"] = sorted(part["properties"])
    return made


def emulated() -> m.Report:
    layer = m.Layer(0, "conv", "Conv2D", "conv2d_s8", 100, 40, 8, 64, 500, None)
    return m.Report(
        schema=1,
        provenance=m.Provenance("0.1.0", "zig", ("-O2",), "unicorn", 0, None),
        model=m.Model("net", "ab" * 32, 100, 30),
        board="stm32f746",
        target="unicorn",
        rounding="double",
        ram=m.Ram(64, 64, True, "whole tensors", 0, 0, 0, 96, 64),
        flash=m.Flash(200, 44, 250, 6),
        firmware=m.FirmwareSize(2000, 9000),
        counted=m.Counted(600),
        estimated=m.Estimated(0.0024, 0.4, "counted x 0.87"),
        measured=None,
        layers=(layer,),
        validation=m.Validation(20, 1, 0, None),
        accuracy=m.Accuracy("accuracy", 1000, 0.99, 0.989, 0.989),
        notes=("a note",),
        capacity=m.Capacity(327_680, 1_048_576),
        limits=(
            m.Limit("ram_bytes", 128.0, 64.0, "exact"),
            m.Limit("latency_ms", 0.002, 0.0034, "estimated"),
            m.Limit("min_accuracy", 0.98, 0.989, "computed"),
        ),
    )


def test_the_shipped_schema_is_the_dataclasses(request: pytest.FixtureRequest) -> None:
    text = json.dumps(schema(), indent=1) + "\n"
    if request.config.getoption("--update-golden"):
        SCHEMA_FILE.write_text(text)
    assert SCHEMA_FILE.read_text() == text


def test_a_report_round_trips_and_validates() -> None:
    report = emulated()
    text = m.to_json(report)
    jsonschema.validate(json.loads(text), json.loads(SCHEMA_FILE.read_text()))
    assert m.from_json(text) == report
    with pytest.raises(ConfigError, match="TC-C110"):
        m.from_json(text.replace('"schema": 1', '"schema": "x"'))
    with pytest.raises(ConfigError, match="TC-C110"):
        m.from_json("{")


def test_what_a_mode_can_know_is_there() -> None:
    m.check(emulated())
    wrong = [
        replace(emulated(), counted=None),
        replace(emulated(), estimated=None, measured=None, counted=None),
        replace(emulated(), ram=replace(emulated().ram, total_bytes=65)),
        replace(emulated(), ram=replace(emulated().ram, arena_bytes=0, total_bytes=0)),
        replace(emulated(), flash=replace(emulated().flash, code_bytes=0)),
        replace(emulated(), model=replace(emulated().model, macs=101)),
        replace(emulated(), layers=()),
        replace(emulated(), validation=m.Validation(0, 1, 0, None)),
        replace(emulated(), validation=m.Validation(2, 1, 3, None)),
    ]
    for report in wrong:
        with pytest.raises(ValueError, match="report"):
            m.check(report)


def test_text_names_the_kind_of_every_number() -> None:
    rows = summary_rows(emulated())
    kinds = {row[0]: row[2] for row in rows}
    assert kinds["arena"] == "exact"
    assert kinds["instructions"] == "counted"
    assert kinds["latency"] == "estimated"
    assert all(len(row) == len(layer_header(emulated())) for row in layer_rows(emulated()))


def test_flash_is_three_parts_that_sum() -> None:
    rows = {what: text for what, text, _ in summary_rows(emulated())}
    assert rows["weights"] == "44 B, 4 B of them padding"
    assert rows["flash of the library"] == "250 B of 1.00 MB: 44 B weights + 6 B other constants + 200 B code"
    plain = replace(emulated(), flash=m.Flash(200, 40, 240))
    rows = {what: text for what, text, _ in summary_rows(plain)}
    assert rows["weights"] == "40 B"
    assert rows["flash of the library"].endswith("40 B weights + 200 B code")
    with pytest.raises(ValueError, match="flash parts"):
        m.check(replace(emulated(), flash=m.Flash(200, 44, 250)))


def test_each_budget_shows_its_use() -> None:
    rows = {what: (text, kind) for what, text, kind in summary_rows(emulated())}
    assert rows["RAM of the library"][0] == "64 B of 320.0 KB"
    assert rows["budget: RAM"] == ("64 B of 128 B (50%): kept", "exact")
    assert rows["budget: latency"] == ("up to 3.4 us of 2.0 us (170%): MISSED", "estimated")
    assert rows["budget: accuracy"] == ("0.9890, at least 0.9800: kept", "computed")
    unknown = replace(emulated(), limits=(m.Limit("instructions", 5.0, None, "counted"),))
    assert summary_rows(unknown)[-1][1] == "5; not known here"


def test_where_a_smaller_network_begins() -> None:
    stem = emulated().layers[0]
    layers = (stem, replace(stem, index=1, name="wide", live_bytes=70, weights_bytes=4, instructions=100))
    lines = first_to_shrink(layers)
    assert lines[0] == "most RAM    layer 1 wide: 70 B live; 1 more holds at least 90% of that"
    assert lines[1] == "most flash  layer 0 conv: 40 B of weights (91%)"
    assert lines[2] == "most work   layer 0 conv: 500 instructions (83%)"
    assert first_to_shrink(()) == []
    assert [cells[7] for cells in layer_cells(layers)] == ["64 ", "70*"]
    assert [bar(value, 70, 10) for value in (0, 1, 64, 70)] == ["", "#", "##########", "##########"]
