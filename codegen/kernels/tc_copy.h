/* SPDX-License-Identifier: MIT-0
 *
 * Copying and filling runs of bytes: rows and parts of rows, often too short for a library's call to be worth it. Runs
 * may lie anywhere; where a word may be read and written at any address, it is done by words. First the attributes of
 * functions and loops that all kernels share.
 */
#ifndef TC_COPY_H
#define TC_COPY_H

#include <stddef.h>
#include <stdint.h>

#define TC_INLINE static inline __attribute__((always_inline, unused))

/* A function whose body is its assembly. Nothing may be assumed about its registers or its unread parameters. */
#if defined(__clang__)
#define TC_ASSEMBLY static __attribute__((naked, noinline, unused, aligned(8)))
#else
#define TC_ASSEMBLY static __attribute__((naked, noinline, noipa, unused, aligned(8)))
#endif
#define TC_ASSEMBLY_CLOBBERS "r0", "r1", "r2", "r3", "r12", "lr", "cc", "memory"
#define TC_UNREAD __attribute__((unused))

/* Before a loop: unroll it, up to `count` times. */
#define TC_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define TC_UNROLL(count) TC_PRAGMA(clang loop unroll_count(count))
#else
#define TC_UNROLL(count) TC_PRAGMA(GCC unroll count)
#endif

/* Four bytes at any address, first byte lowest. */
TC_INLINE uint32_t tc_load32(const int8_t *p)
{
    uint32_t word;
    __builtin_memcpy(&word, p, 4);
    return word;
}

TC_INLINE void tc_store32(int8_t *p, uint32_t word)
{
    __builtin_memcpy(p, &word, 4);
}

#if defined(__ARM_FEATURE_UNALIGNED) && defined(__thumb2__)
/* clang-format off */
/* r0 to, r1 from, r2 bytes, r3 runs, r6 bytes left, r7 gap. Shifted left by 29, the lengths 8 and 4 in the bytes left
 * are the carry and the sign. */
TC_ASSEMBLY void tc_copy_run_after_run(TC_UNREAD int8_t *to, TC_UNREAD const int8_t *from, TC_UNREAD int32_t bytes,
                                       TC_UNREAD int32_t runs, TC_UNREAD int32_t gap)
{
    __asm__ volatile(
        "push {r4-r7, lr}\n"
        "ldr r7, [sp, #20]\n"
        "orr r4, r0, r1\n"
        "orr r5, r2, r7\n"
        "orr r4, r4, r5\n"
        "lsls r4, r4, #30\n"
        "bne 5f\n"
        "1:\n"
        "subs r6, r2, #16\n"
        "blt 3f\n"
        "2:\n"
        "ldmia r1!, {r4, r5, r12, lr}\n"
        "stmia r0!, {r4, r5, r12, lr}\n"
        "subs r6, r6, #16\n"
        "bge 2b\n"
        "3:\n"
        "lsls r6, r6, #29\n"
        "itt cs\n"
        "ldmiacs r1!, {r4, r5}\n"
        "stmiacs r0!, {r4, r5}\n"
        "itt mi\n"
        "ldrmi r4, [r1], #4\n"
        "strmi r4, [r0], #4\n"
        "add r0, r0, r7\n"
        "subs r3, r3, #1\n"
        "bne 1b\n"
        "pop {r4-r7, pc}\n"
        "5:\n"
        "and lr, r2, #3\n"
        "6:\n"
        "tst r2, #4\n"
        "itt ne\n"
        "ldrne r4, [r1], #4\n"
        "strne r4, [r0], #4\n"
        "lsrs r6, r2, #3\n"
        "beq 8f\n"
        "7:\n"
        "ldr r4, [r1], #4\n"
        "ldr r5, [r1], #4\n"
        "str r4, [r0], #4\n"
        "str r5, [r0], #4\n"
        "subs r6, r6, #1\n"
        "bne 7b\n"
        "8:\n"
        "lsls r6, lr, #31\n"
        "itt cs\n"
        "ldrhcs r4, [r1], #2\n"
        "strhcs r4, [r0], #2\n"
        "itt mi\n"
        "ldrbmi r4, [r1], #1\n"
        "strbmi r4, [r0], #1\n"
        "add r0, r0, r7\n"
        "subs r3, r3, #1\n"
        "bne 6b\n"
        "pop {r4-r7, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);
}
/* clang-format on */
#else
static inline void tc_copy_run_after_run(int8_t *to, const int8_t *from, int32_t bytes, int32_t runs, int32_t gap)
{
    for (; runs > 0; --runs, to += bytes + gap, from += bytes) {
        if (to != from) {
            __builtin_memcpy(to, from, (size_t)bytes);
        }
    }
}
#endif

/* Copies bytes >= 0 bytes; the ranges don't overlap, or are the same. Few bytes, as constants mostly are, need no call.
 */
TC_INLINE void tc_copy(void *to, const void *from, int32_t bytes)
{
    int8_t *out = (int8_t *)to;
    const int8_t *in = (const int8_t *)from;
    const int32_t words = bytes & ~3;
    uint16_t half;
    if (bytes >= 4) {
        if (!__builtin_constant_p(bytes) || bytes > 16) {
            tc_copy_run_after_run(out, in, bytes, 1, 0);
            return;
        }
        for (int32_t i = 0; i < words; i += 4) {
            tc_store32(out + i, tc_load32(in + i));
        }
    }
    if (bytes & 2) {
        __builtin_memcpy(&half, in + words, 2);
        __builtin_memcpy(out + words, &half, 2);
    }
    if (bytes & 1) {
        out[bytes - 1] = in[bytes - 1];
    }
}

/* Fills bytes >= 0 bytes, a multiple of the period of the word's bytes, with the word again and again. */
TC_INLINE void tc_fill(int8_t *out, uint32_t word, int32_t bytes)
{
    for (; bytes >= 4; bytes -= 4, out += 4) {
        tc_store32(out, word);
    }
    for (; bytes > 0; --bytes, word >>= 8) {
        *out++ = (int8_t)(word & 0xffu);
    }
}

#endif /* TC_COPY_H */
