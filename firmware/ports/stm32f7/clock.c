/* SPDX-License-Identifier: MIT-0
 * Clock tree. Every wait is bounded; the order of the steps is the reference manual's for over-drive:
 * PLL on, over-drive on, over-drive switched, wait states and bus prescalers, then the PLL becomes the system clock.
 */
#include "parts.h"
#include "registers.h"
#include "tc_board.h"

#include <stdbool.h>

#define HSI_HZ 16000000u
#define PLLCFGR_KEEP (1u << 29) /* reserved, reset value 1 */
#define PLLCFGR_SRC_HSE (1u << 22)
#define PLLCFGR_FACTORS(m, n, p, q) \
    ((uint32_t)(m) | (uint32_t)(n) << 6 | ((uint32_t)(p) / 2u - 1u) << 16 | (uint32_t)(q) << 24)
#define HSI_PLL_M 16        /* 1 MHz into the VCO, as from the crystal */
#define READY_POLLS 400000u /* at 16 MHz more than the 100 ms a crystal may take */
#define SW_HSI 0u
#define SW_PLL 2u
#define PPRE_DIV2 4u
#define PPRE_DIV4 5u
#define LATENCY_FULL_SPEED 7u /* 2.7 to 3.6 V, above 210 MHz */

static bool wait_for(const volatile uint32_t *reg, uint32_t mask, uint32_t value)
{
    for (uint32_t i = 0u; i < READY_POLLS; i++) {
        if ((*reg & mask) == value) {
            return true;
        }
    }
    return false;
}

/* Run from HSI with the PLL off, whatever a loader or a debugger left behind. */
static bool enter_hsi(void)
{
    RCC_CR |= RCC_CR_HSION;
    if (!wait_for(&RCC_CR, RCC_CR_HSIRDY, RCC_CR_HSIRDY)) {
        return false;
    }
    RCC_CFGR &= ~RCC_CFGR_SW;
    if (!wait_for(&RCC_CFGR, RCC_CFGR_SWS, SW_HSI << 2)) {
        return false;
    }
    RCC_CR &= ~RCC_CR_PLLON;
    return wait_for(&RCC_CR, RCC_CR_PLLRDY, 0u);
}

static bool start_hse(void)
{
    RCC_CR &= ~RCC_CR_HSEON;
    if (!wait_for(&RCC_CR, RCC_CR_HSERDY, 0u)) {
        return false;
    }
#if TC_HSE_BYPASS
    RCC_CR |= RCC_CR_HSEBYP;
#else
    RCC_CR &= ~RCC_CR_HSEBYP;
#endif
    RCC_CR |= RCC_CR_HSEON;
    if (wait_for(&RCC_CR, RCC_CR_HSERDY, RCC_CR_HSERDY)) {
        return true;
    }
    RCC_CR &= ~RCC_CR_HSEON;
    return false;
}

static bool start_pll(bool is_from_hse)
{
    RCC_PLLCFGR = PLLCFGR_KEEP | (is_from_hse ? PLLCFGR_SRC_HSE : 0u) |
                  PLLCFGR_FACTORS(is_from_hse ? TC_PLL_M : HSI_PLL_M, TC_PLL_N, TC_PLL_P, TC_PLL_Q);
    RCC_CR |= RCC_CR_PLLON;
    return wait_for(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY);
}

static bool start_overdrive(void)
{
    PWR_CR1 |= PWR_CR1_ODEN;
    if (!wait_for(&PWR_CSR1, PWR_CSR1_ODRDY, PWR_CSR1_ODRDY)) {
        return false;
    }
    PWR_CR1 |= PWR_CR1_ODSWEN;
    return wait_for(&PWR_CSR1, PWR_CSR1_ODSWRDY, PWR_CSR1_ODSWRDY);
}

void f7_clock_init(void)
{
    if (!enter_hsi()) {
        return;
    }
    const bool has_hse = start_hse();

    RCC_APB1ENR |= RCC_APB1ENR_PWREN;
    (void)RCC_APB1ENR;      /* the block is clocked two bus cycles after the write */
    PWR_CR1 |= PWR_CR1_VOS; /* scale 1 */

    if (!start_pll(has_hse) || !start_overdrive()) {
        return;
    }
    FLASH_ACR = LATENCY_FULL_SPEED | FLASH_ACR_PRFTEN | FLASH_ACR_ARTEN;
    if (!wait_for(&FLASH_ACR, FLASH_ACR_LATENCY, LATENCY_FULL_SPEED)) {
        return;
    }
    RCC_CFGR = (RCC_CFGR & ~(RCC_CFGR_HPRE | RCC_CFGR_PPRE1 | RCC_CFGR_PPRE2)) | PPRE_DIV4 << 10 | PPRE_DIV2 << 13;
    if (!wait_for(&PWR_CSR1, PWR_CSR1_VOSRDY, PWR_CSR1_VOSRDY)) {
        return;
    }
    RCC_CFGR = (RCC_CFGR & ~RCC_CFGR_SW) | SW_PLL;
    (void)wait_for(&RCC_CFGR, RCC_CFGR_SWS, SW_PLL << 2);
}

static uint32_t sysclk_hz(void)
{
    const uint32_t pll = RCC_PLLCFGR;
    const uint32_t source_hz = (pll & PLLCFGR_SRC_HSE) != 0u ? TC_HSE_HZ : HSI_HZ;
    switch ((RCC_CFGR & RCC_CFGR_SWS) >> 2) {
    case 0u:
        return HSI_HZ;
    case 1u:
        return TC_HSE_HZ;
    default:
        return source_hz / (pll & 63u) * (pll >> 6 & 511u) / (2u * ((pll >> 16 & 3u) + 1u));
    }
}

uint32_t f7_hclk_hz(void)
{
    static const uint8_t shifts[8] = {1, 2, 3, 4, 6, 7, 8, 9};
    const uint32_t hpre = (RCC_CFGR & RCC_CFGR_HPRE) >> 4;
    return hpre < 8u ? sysclk_hz() : sysclk_hz() >> shifts[hpre - 8u];
}

uint32_t f7_uart_clock_hz(void)
{
    const uint32_t ppre = (RCC_CFGR & TC_UART_PPRE_MASK) >> TC_UART_PPRE_SHIFT;
    return ppre < 4u ? f7_hclk_hz() : f7_hclk_hz() >> (ppre - 3u);
}
