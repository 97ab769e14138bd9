/* SPDX-License-Identifier: MIT
 * Native block hook for Unicorn: counts executed Thumb instructions exactly, and notices code that a real core would
 * not run. Built for the host and loaded with ctypes; Python sets the exported variables before the first run.
 */
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define SLOTS (1u << 19) /* halfwords in 1 MB of flash; larger images are refused by Python */

enum { FLAG_FLOAT = 1, FLAG_DOUBLE = 2 };
enum { TROUBLE_NONE = 0, TROUBLE_OUTSIDE = 1, TROUBLE_FPU_OFF = 2, TROUBLE_DOUBLE = 3 };

EXPORT const uint8_t *tc_image; /* a copy of the flash */
EXPORT uint32_t tc_image_bytes;
EXPORT uint32_t tc_image_base; /* and where the core sees it: two address ranges */
EXPORT uint32_t tc_image_alias;
EXPORT uint32_t tc_is_fpu_on;
EXPORT void (*tc_stop)(void *uc);
EXPORT uint64_t tc_instructions;
EXPORT uint32_t tc_trouble; /* the first thing that went wrong, and where */
EXPORT uint32_t tc_trouble_address;

static struct {
    uint16_t bytes;
    uint16_t count;
    uint8_t flags;
} blocks[SLOTS];

static uint32_t halfword(uint32_t offset)
{
    return (uint32_t)tc_image[offset] | (uint32_t)tc_image[offset + 1u] << 8;
}

/* Coprocessors 10 and 11 are the FPU; double-precision arithmetic is CP11 data processing (bit 4 clear). */
static uint8_t float_flags(uint32_t first, uint32_t second)
{
    const uint32_t coprocessor = second >> 8 & 15u;
    if ((first & 0xEC00u) != 0xEC00u || (first & 0x0300u) == 0x0300u || (coprocessor & 14u) != 10u) {
        return 0;
    }
    const int is_arithmetic = (first & 0x0F00u) == 0x0E00u && (second & 0x10u) == 0u;
    return (uint8_t)(FLAG_FLOAT | (coprocessor == 11u && is_arithmetic ? FLAG_DOUBLE : 0));
}

static void stop_with(void *uc, uint32_t trouble, uint32_t address)
{
    if (tc_trouble == TROUBLE_NONE) {
        tc_trouble = trouble;
        tc_trouble_address = address;
        tc_stop(uc);
    }
}

static void decode(uint32_t offset, uint32_t bytes)
{
    uint32_t count = 0u;
    uint8_t flags = 0;
    for (uint32_t at = offset; at < offset + bytes;) {
        const uint32_t first = halfword(at);
        const int is_wide = (first & 0xE000u) == 0xE000u && (first & 0x1800u) != 0u;
        if (is_wide) {
            flags |= float_flags(first, halfword(at + 2u));
        }
        at += is_wide ? 4u : 2u;
        count++;
    }
    blocks[offset >> 1].bytes = (uint16_t)bytes;
    blocks[offset >> 1].count = (uint16_t)count;
    blocks[offset >> 1].flags = flags;
}

EXPORT void tc_block(void *uc, uint64_t address, uint32_t bytes, void *user)
{
    uint32_t offset = (uint32_t)address - tc_image_base;
    (void)user;
    if (offset >= tc_image_bytes) {
        offset = (uint32_t)address - tc_image_alias;
    }
    if (offset >= tc_image_bytes || bytes > tc_image_bytes - offset) {
        stop_with(uc, TROUBLE_OUTSIDE, (uint32_t)address);
        return;
    }
    if (blocks[offset >> 1].bytes != bytes) {
        decode(offset, bytes);
    }
    const uint8_t flags = blocks[offset >> 1].flags;
    if ((flags & FLAG_FLOAT) != 0 && tc_is_fpu_on == 0u) {
        stop_with(uc, TROUBLE_FPU_OFF, (uint32_t)address);
    } else if ((flags & FLAG_DOUBLE) != 0) {
        stop_with(uc, TROUBLE_DOUBLE, (uint32_t)address);
    }
    tc_instructions += blocks[offset >> 1].count;
}
