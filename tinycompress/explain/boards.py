"""Diagnostics of board files."""

EXPLAIN = {
    "TC-C201": (
        "No board of that name ships with the tool and no board file has that path. `tinycompress boards` lists the "
        "names; a path ending in .toml is read as a board file of your own."
    ),
    "TC-C202": (
        "The board file could not be opened or is not valid TOML. The message has the line. Board files are small: copy "
        "boards/stm32f746.toml and change it."
    ),
    "TC-C203": (
        "The board file has a key that does not exist or lacks one that is needed. Unknown keys are errors so that a "
        "typo never silently changes a clock or an address; the message names the nearest key."
    ),
    "TC-C204": (
        "A value in the board file has the wrong type, such as text where a number is expected. Addresses may be "
        "written as 0x2000_0000."
    ),
    "TC-C205": (
        "Values in the board file contradict each other: the PLL factors do not give clock_hz, a memory leaves the "
        "address space, the stack does not fit the first RAM, or a pin is not written as PA9. Nothing was built."
    ),
}
