/* SPDX-License-Identifier: MIT-0
 * The USART wired to the board's debug probe: 8 data bits, no parity, one stop bit, 16 samples a bit, polled.
 */
#include "parts.h"
#include "port.h"
#include "protocol.h"
#include "registers.h"
#include "tc_board.h"

#define MODE_ALTERNATE 2u
#define SPEED_HIGH 2u
#define PULL_UP 1u
#define DIVIDER_MIN 16u

static uint32_t overruns;

static void set_field(volatile uint32_t *reg, uint32_t shift, uint32_t bits, uint32_t value)
{
    const uint32_t mask = ((1u << bits) - 1u) << shift;
    *reg = (*reg & ~mask) | value << shift;
}

static void pin_to_uart(uint32_t port, uint32_t pin)
{
    set_field(&GPIO_AFR(port, pin / 8u), 4u * (pin % 8u), 4u, TC_UART_AF);
    set_field(&GPIO_OSPEEDR(port), 2u * pin, 2u, SPEED_HIGH);
    set_field(&GPIO_PUPDR(port), 2u * pin, 2u, PULL_UP);
    set_field(&GPIO_MODER(port), 2u * pin, 2u, MODE_ALTERNATE);
}

static uint32_t divider_for(uint32_t baud)
{
    return (f7_uart_clock_hz() + baud / 2u) / baud;
}

bool port_uart_can_baud(uint32_t baud)
{
    if (baud == 0u || divider_for(baud) < DIVIDER_MIN || divider_for(baud) > 0xFFFFu) {
        return false;
    }
    const uint32_t actual = f7_uart_clock_hz() / divider_for(baud);
    const uint32_t off = actual > baud ? actual - baud : baud - actual;
    return off <= baud / 50u;
}

void port_uart_set_baud(uint32_t baud)
{
    USART_CR1 &= ~USART_CR1_UE;
    USART_CR2 = 0u;
    USART_CR3 = 0u;
    USART_BRR = divider_for(baud);
    USART_CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE;
}

void f7_uart_init(void)
{
    RCC_AHB1ENR |= 1u << TC_UART_TX_PORT | 1u << TC_UART_RX_PORT;
    TC_UART_ENR |= TC_UART_ENR_BIT;
    (void)RCC_AHB1ENR; /* clocked two bus cycles after the write */
    (void)TC_UART_ENR;
    pin_to_uart(TC_UART_TX_PORT, TC_UART_TX_PIN);
    pin_to_uart(TC_UART_RX_PORT, TC_UART_RX_PIN);
    port_uart_set_baud(TC_BAUD_DEFAULT);
}

bool port_uart_get(uint8_t *byte)
{
    const uint32_t status = USART_ISR;
    if ((status & USART_ISR_ORE) != 0u) {
        USART_ICR = USART_ICR_ORECF;
        overruns++;
    }
    if ((status & USART_ISR_RXNE) == 0u) {
        return false;
    }
    *byte = (uint8_t)USART_RDR;
    return true;
}

void port_uart_put(uint8_t byte)
{
    while ((USART_ISR & USART_ISR_TXE) == 0u) {
    }
    USART_TDR = byte;
}

void port_uart_flush(void)
{
    while ((USART_ISR & USART_ISR_TC) == 0u) {
    }
}

uint32_t port_uart_overruns(void)
{
    return overruns;
}

void port_fault_uart(void)
{
    const uint32_t needed = USART_CR1_UE | USART_CR1_TE;
    if ((TC_UART_ENR & TC_UART_ENR_BIT) == 0u || (USART_CR1 & needed) != needed) {
        f7_uart_init();
    }
}
