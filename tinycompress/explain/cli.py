"""Diagnostics of recipes, flags and run directories."""

EXPLAIN = {
    "TC-C101": "The recipe could not be read or is not valid TOML. The message has the line; recipes are ordinary TOML 1.0.",
    "TC-C102": "A recipe key does not exist. Unknown keys are errors so that a typo never silently changes a run; the message names the nearest key. `tinycompress deploy --print-config` shows all keys with their values.",
    "TC-C103": "A setting has a value of the wrong type or outside its range. The message has the key, the value and what was expected. Flags win over TINYCOMPRESS_* variables, which win over the recipe.",
    "TC-C104": "An input shape is a comma-separated list of positive sizes without batch, in the user's own layout: 1,28,28 for a PyTorch image, 28,28,1 for a TFLite one.",
    "TC-C105": "No model was named and the one given is not a file, a stored graph, or a Python factory written pkg.mod:name or file.py:name.",
    "TC-C106": "A float model needs calibration data to become int8: real inputs from the training distribution, 100 to 500 of them. Give --calibration FILE.npz (or a folder), or --calibration random to go on with random data, which is marked in the report and good for sizes and counts, not for accuracy.",
    "TC-C107": "An input file for --inputs or --calibration does not fit the model: each array has one leading sample axis and then the model's input shape, in the user's layout.",
    "TC-C110": "The file is not a report of this schema version. Reports are written by `tinycompress deploy` as report.json in the run directory.",
    "TC-C120": "Another process holds the lock of this run directory. Wait for it, or give another directory with --run.",
    "TC-C121": "The run directory (or an output file) cannot be written: no permission, read-only, or the disk is full. Nothing was half-written: stages are written beside and renamed into place.",
    "TC-C130": "The code does not exist. `tinycompress explain` without a code lists all of them.",
    "TC-D190": "No board was found and --emulate was not given. Connect the board's ST-LINK USB, name the port with --port, or run the same firmware in the emulator with --emulate.",
    "TC-V101": "The target computed other bytes than the integer reference. The message names the first tensor, byte and values. This is a bug of the tool or of the toolchain; nothing else may depend on this build.",
    "TC-Q101": "The accuracy of the integer model is below the floor that was asked for (budget.min_accuracy). Give the network more budget, more training, or quantization-aware training.",
    "TC-B110": "The firmware executes more instructions than budget.instructions allows. The message names the layer with the most; compress to the budget, or choose a board without one.",
    "TC-B111": "The latency (p95 when measured, the upper end of the estimate's band otherwise) is above budget.latency_ms. Calibrate on a board to narrow the band, or compress to the budget.",
    "TC-T152": "The generated C did not compile for this machine. It is meant to compile warning-free with any C11 compiler, so this is a bug unless the generated files were edited.",
    "TC-V102": "A sanitizer stopped the generated C on this machine, or it ended abnormally. The message has the sanitizer's first lines; this is a bug of a kernel or of the plan, and nothing may be flashed from it.",
    "TC-C131": "The output's suffix chooses its format: .onnx for either kind of graph (QDQ when integer), .tflite for an integer graph, no suffix for a stored graph folder.",
}
