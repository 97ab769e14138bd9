/* SPDX-License-Identifier: MIT-0
 * Arm MPS2 with AN500 (Cortex-M7) as QEMU models it: CMSDK UART and timer. Only ever run in the emulator, under
 * `-icount shift=7`: one instruction takes 128 ns of its clock, 3.2 ticks of the 25 MHz timer.
 */
#include "port.h"

#include "tc_board.h"

#define REG(address) (*(volatile uint32_t *)(address))
#define UART_DATA REG(TC_UART_BASE + 0x00u)
#define UART_STATE REG(TC_UART_BASE + 0x04u)
#define UART_CTRL REG(TC_UART_BASE + 0x08u)
#define UART_BAUDDIV REG(TC_UART_BASE + 0x10u)
#define UART_STATE_TX_FULL 1u
#define UART_STATE_RX_FULL 2u
#define UART_CTRL_TX_RX 3u
#define UART_BAUDDIV_MIN 16u

#define TIMER_BASE 0x40000000u
#define TIMER_CTRL REG(TIMER_BASE + 0x00u)
#define TIMER_VALUE REG(TIMER_BASE + 0x04u)
#define TIMER_RELOAD REG(TIMER_BASE + 0x08u)

void port_init(void)
{
    port_fault_uart();
    TIMER_CTRL = 0u;
    TIMER_RELOAD = 0xFFFFFFFFu;
    TIMER_VALUE = 0xFFFFFFFFu;
    TIMER_CTRL = 1u;
}

void port_fault_uart(void)
{
    UART_BAUDDIV = UART_BAUDDIV_MIN;
    UART_CTRL = UART_CTRL_TX_RX;
    (void)UART_DATA; /* QEMU asks its host for bytes only after a first read */
}

uint32_t port_clock_hz(void)
{
    return TC_CLOCK_HZ;
}

uint32_t port_counter(void)
{
    return ~TIMER_VALUE;
}

/* Instructions: ticks * 5 / 16, rounded. Exact, since a reading is never a whole tick off and an instruction is 3.2. */
uint64_t port_elapsed(uint32_t start, uint32_t end)
{
    return ((uint64_t)(uint32_t)(end - start) * 5u + 8u) / 16u;
}

uint64_t port_cycles(void)
{
    static uint32_t last;
    static uint32_t wraps;
    const uint32_t now = port_counter();
    if (now < last) {
        wraps++;
    }
    last = now;
    return (((uint64_t)wraps << 32 | now) * 5u + 8u) / 16u;
}

bool port_uart_can_baud(uint32_t baud)
{
    return baud != 0u; /* QEMU's line has no rate */
}

void port_uart_set_baud(uint32_t baud)
{
    (void)baud;
}

bool port_uart_get(uint8_t *byte)
{
    if ((UART_STATE & UART_STATE_RX_FULL) == 0u) {
        return false;
    }
    *byte = (uint8_t)UART_DATA;
    return true;
}

void port_uart_put(uint8_t byte)
{
    while ((UART_STATE & UART_STATE_TX_FULL) != 0u) {
    }
    UART_DATA = byte;
}

void port_uart_flush(void)
{
    while ((UART_STATE & UART_STATE_TX_FULL) != 0u) {
    }
}

uint32_t port_uart_overruns(void)
{
    return 0u;
}
