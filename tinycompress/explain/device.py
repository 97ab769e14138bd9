"""Diagnostics of ports, links, probes and emulators."""

from tinycompress.device.emulated.rules import RULES

_RULE = (
    "The firmware broke a rule of the STM32F74x that the emulator checks: {rule}. A real chip would hang, run at the "
    "wrong speed, lose bytes, or work on some boards only. The message says which register access broke it. "
    "Unchanged firmware/ breaks no rule; look at what was changed in firmware/ports or in the board file."
)

EXPLAIN = {
    "TC-D101": (
        "There is no serial port of that name. On Linux an ST-LINK's port is /dev/ttyACM0 or a name under "
        "/dev/serial/by-id; without --port it is found by its USB id. Check the cable (it must carry data) and `tinycompress doctor`."
    ),
    "TC-D102": (
        "The serial port exists but may not be opened. On Debian and Ubuntu add your user to the group dialout "
        "(sudo adduser $USER dialout) and log in again."
    ),
    "TC-D103": "Another program has the serial port open: a terminal, an IDE, ModemManager, or a second tinycompress. Close it.",
    "TC-D104": (
        "The serial port went away in the middle: the cable was pulled, the board lost power, or the emulator ended. "
        "What was measured before is kept; run the command again and it goes on."
    ),
    "TC-D105": (
        "The port opens but not a single byte arrives. The board is off, held in reset, not flashed, or this is the "
        "port of something else. Flash it again, press reset, and check the port."
    ),
    "TC-D106": (
        "Bytes arrive but none of them form a frame. Another firmware is talking, or the baud rate differs: after a "
        "reset the measuring firmware speaks at 115200 baud. Flash the board again."
    ),
    "TC-D107": (
        "Frames arrive with a wrong CRC, or the target reports that it receives such frames, and repeating did not "
        "help. The line loses or changes bytes: use a lower baud rate or a shorter cable, and plug the board in directly."
    ),
    "TC-D108": (
        "The target answered before and then fell silent, or sends frames that answer another question. It may have "
        "hung, been reset, or still be computing a very long inference. Reset the board and run the command again."
    ),
    "TC-D109": (
        "The processor faulted and the firmware's fault handler reported it: the cause from CFSR, the program counter, "
        "and the address. Look the address up with `arm-none-eabi-addr2line -e firmware.elf ADDRESS` or in the map of "
        "symbols. A fault inside generated code is a bug of the tool: report it with the model."
    ),
    "TC-D110": (
        "The firmware on the target is not the one that was just built: its build id, model hash, board or rounding "
        "differs. No data was sent. Flash the board again; if flashing seemed to work, another board may be on this port."
    ),
    "TC-D111": "The firmware was built by another version of this tool and speaks another protocol. Flash the board again.",
    "TC-D112": (
        "The target received the request and refused it: unknown request, wrong length, or an index outside its range. "
        "Host and firmware disagree, which after a successful HELLO is a bug of the tool."
    ),
    "TC-D113": "A reply has valid framing and a wrong layout. After a successful HELLO this is a bug of the tool.",
    "TC-D114": (
        "The generated invoke function returned an error status instead of computing: a NULL pointer, an arena that is "
        "too small, or one that is not aligned. The measuring firmware gives what the header asks for, so this is a bug."
    ),
    "TC-D115": (
        "The core does not run at the clock the board file states. Either a ready flag never came and the firmware "
        "stayed on the 16 MHz internal oscillator (it then says so), or [clock] does not describe this board's crystal. "
        "Measured times would be wrong by that factor, so nothing was measured."
    ),
    "TC-D116": (
        "The bytes around the arena changed or the stack was used to its end: the generated code wrote outside its "
        "buffers, or needs more stack. Outputs of this run are not to be trusted; report it with the model."
    ),
    "TC-D117": "Profiles and traces need a firmware built with hooks; this one was built without, for undisturbed timing.",
    "TC-D201": (
        "Neither OpenOCD nor st-flash is installed, or the one asked for cannot be run. Install Debian's package openocd "
        "or stlink-tools, or use --emulate, which needs no board."
    ),
    "TC-D202": (
        "The flash program found no debug probe. Connect the USB socket marked ST-LINK (not USER or OTG) with a cable "
        "that carries data, and check that `lsusb` shows 0483:374b or a similar id."
    ),
    "TC-D203": (
        "The debug probe is there but your user may not use it. Install the udev rules (Debian's openocd and "
        "stlink-tools bring them), then unplug the board and plug it in again."
    ),
    "TC-D204": "Another program has the debug probe: a debugger, an IDE, or a hung OpenOCD. End it and run the command again.",
    "TC-D205": (
        "The probe works but does not reach the chip. Check power and the SWD jumpers; if a firmware switched the debug "
        "pins off, hold the reset button while the command starts."
    ),
    "TC-D206": (
        "What was read back from flash differs from what was written. Nothing was measured. Run the command again; if it "
        "stays, the flash is write-protected or worn out."
    ),
    "TC-D207": "Several boards with an ST-LINK are connected and none was chosen. Name one by its serial port with --port.",
    "TC-D208": (
        "The flash program did not end in the time that erasing, writing and verifying may take, and was ended. Unplug "
        "the board, plug it in again, and run the command again."
    ),
    "TC-D209": (
        "The flash program failed in a way this tool does not recognise; the end of its output is in the message. The "
        "command that was run is there too, to run it by hand."
    ),
    "TC-D210": "The probe is connected to another chip than the board file states. Choose the right board with --board.",
    "TC-D211": "This board exists only in an emulator and cannot be flashed.",
    "TC-D330": (
        "The emulator is not installed. Unicorn is the extra `emulator` (pip install 'tinycompress[emulator]'); QEMU is "
        "Debian's package qemu-system-arm."
    ),
    "TC-D331": (
        "The chosen emulator has no model of this board. Unicorn runs the STM32F7 boards' own firmware; QEMU runs the "
        "same library on its Cortex-M7 machine, board mps2-an500."
    ),
    "TC-D332": "The emulator did not start within a minute. Its own output, when there is any, is in the message.",
    "TC-D333": "The emulator ended by itself. Its last output is in the message; please report it with the firmware.",
    "TC-D334": (
        "The processor faulted again inside the fault handler and stopped for good, as a real core would (lockup). "
        "Usually the code or the vector table was overwritten."
    ),
    **{code: _RULE.format(rule=rule) for code, rule in RULES.items()},
}
