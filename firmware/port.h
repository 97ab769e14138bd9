/* SPDX-License-Identifier: MIT-0
 * What a chip family provides to the measuring firmware. Polling only: interrupts stay off from reset on.
 */
#ifndef TC_PORT_H
#define TC_PORT_H

#include <stdbool.h>
#include <stdint.h>

/* Full-speed clock, caches, UART at TC_BAUD_DEFAULT, cycle counter. Called once, first thing in main. */
void port_init(void);

/* Core clock in Hz as the clock registers say it is now. */
uint32_t port_clock_hz(void);

/* Raw 32-bit up counter, read with a fixed instruction sequence so that an empty measurement can be subtracted. */
uint32_t port_counter(void);

/* Core cycles (emulators: instructions) between two readings at most 2^32 counts apart. */
uint64_t port_elapsed(uint32_t start, uint32_t end);

/* 64-bit cycles since port_init; stays right while it is called at least once per wrap of the counter. */
uint64_t port_cycles(void);

/* Take one received byte if there is one. */
bool port_uart_get(uint8_t *byte);

/* Send one byte, waiting for room. */
void port_uart_put(uint8_t byte);

/* Wait until the last stop bit has left the pin. */
void port_uart_flush(void);

/* Whether the rate is reachable within 2 %. */
bool port_uart_can_baud(uint32_t baud);

/* Change to a reachable rate. Nothing may be in flight (port_uart_flush). */
void port_uart_set_baud(uint32_t baud);

/* Bytes lost because they were not read in time, since port_init. */
uint32_t port_uart_overruns(void);

/* Make the UART able to send after a fault at any moment, including one before or during port_init. */
void port_fault_uart(void);

#endif
