/* SPDX-License-Identifier: MIT-0
 * Start-up, printing and counting for test images under QEMU's mps2-an500 with -icount shift=6: the 25 MHz timer then
 * reads 1.6 ticks per instruction. Output and exit go through semihosting. The image has no initialised data.
 */
#include "bare.h"

#include <stddef.h>

#define TIMER ((volatile uint32_t *)0x40000000u)

extern uint32_t stack_top;
int main(void);

static int semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(uint32_t status)
{
    const uint32_t block[2] = {0x20026u, status};
    (void)semihost(0x20, block);
    for (;;) {
    }
}

static void fault(void)
{
    bare_print("FAULT\n");
    leave(99u);
}

void bare_print(const char *text)
{
    (void)semihost(4, text);
}

void bare_print_number(uint32_t value)
{
    char text[12];
    int i = 11;
    text[i] = 0;
    do {
        text[--i] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value != 0u);
    bare_print(text + i);
}

uint32_t bare_ticks(void)
{
    return ~TIMER[1];
}

void *memcpy(void *to, const void *from, size_t count)
{
    char *t = to;
    for (const char *f = from; count-- != 0u;) {
        *t++ = *f++;
        __asm__ volatile("");
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    for (char *t = to; count-- != 0u;) {
        *t++ = (char)value;
        __asm__ volatile("");
    }
    return to;
}

void __aeabi_memcpy(void *to, const void *from, size_t count);
void __aeabi_memcpy(void *to, const void *from, size_t count)
{
    memcpy(to, from, count);
}

void __aeabi_memset(void *to, size_t count, int value);
void __aeabi_memset(void *to, size_t count, int value)
{
    memset(to, value, count);
}

void __aeabi_memclr(void *to, size_t count);
void __aeabi_memclr(void *to, size_t count)
{
    memset(to, 0, count);
}

void __aeabi_memcpy4(void *to, const void *from, size_t count) __attribute__((alias("__aeabi_memcpy")));
void __aeabi_memcpy8(void *to, const void *from, size_t count) __attribute__((alias("__aeabi_memcpy")));
void __aeabi_memset4(void *to, size_t count, int value) __attribute__((alias("__aeabi_memset")));
void __aeabi_memset8(void *to, size_t count, int value) __attribute__((alias("__aeabi_memset")));
void __aeabi_memclr4(void *to, size_t count) __attribute__((alias("__aeabi_memclr")));
void __aeabi_memclr8(void *to, size_t count) __attribute__((alias("__aeabi_memclr")));

static void start(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
    TIMER[0] = 0u;
    TIMER[2] = 0xffffffffu;
    TIMER[1] = 0xffffffffu;
    TIMER[0] = 1u;
    leave((uint32_t)main());
}

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} vector;

/* Entries 2 to 15 are exceptions; none is expected. */
__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    {.stack = &stack_top}, {.handler = start}, {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = fault},    {.handler = fault}, {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = fault},    {.handler = fault}, {.handler = fault}, {.handler = fault}, {.handler = fault},
    {.handler = fault},
};
