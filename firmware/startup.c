/* SPDX-License-Identifier: MIT-0
 * Reset and vectors. The stack lies at the very start of its RAM, so that running over its end leaves the memory map
 * and faults instead of changing data.
 */
#include "fault.h"
#include "stack.h"

#include <stdint.h>

extern uint32_t tc_data_load[], tc_data_start[], tc_data_end[], tc_bss_start[], tc_bss_end[];
extern uint32_t tc_stack_start[], tc_stack_end[];

int main(void);
void tc_reset(void) __attribute__((noreturn));

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define VTOR (*(volatile uint32_t *)0xE000ED08u)
#define STACK_PAINT 0xA5C35A3Cu
#define FREE_WORDS_KEPT 16u /* below the stack pointer, for the painting loop itself */

/* Initial stack pointer, then the fifteen system vectors; peripheral interrupts are never enabled. */
static const uintptr_t vectors[16] __attribute__((section(".tc_vectors"), used, aligned(512))) = {
    [0] = (uintptr_t)tc_stack_end,    [1] = (uintptr_t)tc_reset, [2] = (uintptr_t)tc_fault_entry, /* NMI */
    [3] = (uintptr_t)tc_fault_entry,                                                              /* HardFault */
    [4] = (uintptr_t)tc_fault_entry,                                                              /* MemManage */
    [5] = (uintptr_t)tc_fault_entry,                                                              /* BusFault */
    [6] = (uintptr_t)tc_fault_entry,                                                              /* UsageFault */
    [11] = (uintptr_t)tc_fault_entry,                                                             /* SVCall */
    [12] = (uintptr_t)tc_fault_entry,                                                             /* DebugMonitor */
    [14] = (uintptr_t)tc_fault_entry,                                                             /* PendSV */
    [15] = (uintptr_t)tc_fault_entry,                                                             /* SysTick */
};

void tc_reset(void)
{
    __asm volatile("cpsid i" ::: "memory");
    VTOR = (uint32_t)(uintptr_t)vectors;
#if defined(__ARM_FP)
    CPACR |= 0xFu << 20; /* full access to CP10 and CP11, before any float instruction */
    __asm volatile("dsb\n\tisb" ::: "memory");
#endif
    const uint32_t *from = tc_data_load;
    for (uint32_t *to = tc_data_start; to < tc_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = tc_bss_start; to < tc_bss_end; to++) {
        *to = 0u;
    }
    (void)main();
    for (;;) {
    }
}

void tc_stack_paint(void)
{
    volatile uint32_t *const top = (volatile uint32_t *)__builtin_frame_address(0) - FREE_WORDS_KEPT;
    for (volatile uint32_t *at = tc_stack_start; at < top; at++) {
        *at = STACK_PAINT;
    }
}

uint32_t tc_stack_bytes(void)
{
    return (uint32_t)((uintptr_t)tc_stack_end - (uintptr_t)tc_stack_start);
}

uint32_t tc_stack_high_water(void)
{
    const volatile uint32_t *at = tc_stack_start;
    while (at < tc_stack_end && *at == STACK_PAINT) {
        at++;
    }
    return (uint32_t)((uintptr_t)tc_stack_end - (uintptr_t)at);
}
