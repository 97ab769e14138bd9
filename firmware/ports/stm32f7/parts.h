/* SPDX-License-Identifier: MIT-0
 * The parts of the STM32F7 port, in the order port_init brings them up.
 */
#ifndef TC_STM32F7_PARTS_H
#define TC_STM32F7_PARTS_H

#include <stdint.h>

/* Go to TC_CLOCK_HZ from any entry state. Stays on the 16 MHz internal oscillator when a ready flag never comes. */
void f7_clock_init(void);

/* SYSCLK / HPRE, and the clock of the UART's bus, decoded from the registers. */
uint32_t f7_hclk_hz(void);
uint32_t f7_uart_clock_hz(void);

/* Keep the core's speculative reads out of the external memory windows, which nothing answers. */
void f7_mpu_init(void);

void f7_caches_init(void);
void f7_uart_init(void);
void f7_counter_init(void);

#endif
