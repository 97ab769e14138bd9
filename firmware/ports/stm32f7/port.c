/* SPDX-License-Identifier: MIT-0
 * STM32F74x/F75x: caches, cycle counter, and the order in which the parts come up.
 */
#include "port.h"

#include "parts.h"
#include "registers.h"

static void barrier(void)
{
    __asm volatile("dsb\n\tisb" ::: "memory");
}

/* Region 0 is all 4 GB without access; its sub-regions 0, 1, 2 and 7 (of 512 MB each) are left out, so that below
 * 0x60000000 and from 0xE0000000 on the default map holds. */
void f7_mpu_init(void)
{
    const uint32_t subregions_left_out = 0x87u << 8;
    MPU_CTRL = 0u;
    MPU_RNR = 0u;
    MPU_RBAR = 0u;
    MPU_RASR = MPU_RASR_XN | subregions_left_out | MPU_RASR_SIZE_4GB | MPU_RASR_ENABLE;
    MPU_CTRL = MPU_CTRL_ENABLE | MPU_CTRL_PRIVDEFENA;
    barrier();
}

/* Caches are off and hold garbage after reset: invalidate all, then switch on. A debugger may have left them on. */
void f7_caches_init(void)
{
    if ((SCB_CCR & SCB_CCR_IC) == 0u) {
        barrier();
        SCB_ICIALLU = 0u;
        barrier();
        SCB_CCR |= SCB_CCR_IC;
        barrier();
    }
    if ((SCB_CCR & SCB_CCR_DC) == 0u) {
        SCB_CSSELR = 0u;
        barrier();
        const uint32_t last_set = SCB_CCSIDR >> 13 & 0x7FFFu;
        const uint32_t last_way = SCB_CCSIDR >> 3 & 0x3FFu;
        for (uint32_t set = 0u; set <= last_set; set++) {
            for (uint32_t way = 0u; way <= last_way; way++) {
                SCB_DCISW = set << 5 | way << 30; /* 32-byte lines, four ways */
            }
        }
        barrier();
        SCB_CCR |= SCB_CCR_DC;
        barrier();
    }
}

void f7_counter_init(void)
{
    DEMCR |= DEMCR_TRCENA;
    DWT_LAR = DWT_LAR_KEY;
    DWT_CYCCNT = 0u;
    DWT_CTRL |= 1u;
}

void port_init(void)
{
    f7_mpu_init();
    f7_clock_init();
    f7_caches_init();
    f7_uart_init();
    f7_counter_init();
}

uint32_t port_clock_hz(void)
{
    return f7_hclk_hz();
}

uint32_t port_counter(void)
{
    return DWT_CYCCNT;
}

uint64_t port_elapsed(uint32_t start, uint32_t end)
{
    return (uint32_t)(end - start);
}

uint64_t port_cycles(void)
{
    static uint32_t last;
    static uint32_t wraps;
    const uint32_t now = DWT_CYCCNT;
    if (now < last) {
        wraps++;
    }
    last = now;
    return (uint64_t)wraps << 32 | now;
}
