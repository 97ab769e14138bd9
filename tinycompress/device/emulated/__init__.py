"""The strict STM32F7 model that runs a firmware in Unicorn. Lives in its own process; see `device.emulator`."""
