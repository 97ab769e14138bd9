/* SPDX-License-Identifier: MIT-0
 * The few functions compilers call on their own. Linked without any C library.
 */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *a, const void *b, size_t count);

/* The loops below must not be turned back into calls of the functions they implement. */
#if defined(__clang__)
#define NO_LOOP_IDIOM
#else
#define NO_LOOP_IDIOM __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

static inline int is_word_aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3u) == 0u;
}

NO_LOOP_IDIOM void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if (is_word_aligned(d, s)) {
        for (; count >= 16u; count -= 16u, d += 16, s += 16) {
            const uint32_t a = ((const uint32_t *)(const void *)s)[0];
            const uint32_t b = ((const uint32_t *)(const void *)s)[1];
            const uint32_t c = ((const uint32_t *)(const void *)s)[2];
            const uint32_t e = ((const uint32_t *)(const void *)s)[3];
            ((uint32_t *)(void *)d)[0] = a;
            ((uint32_t *)(void *)d)[1] = b;
            ((uint32_t *)(void *)d)[2] = c;
            ((uint32_t *)(void *)d)[3] = e;
        }
        for (; count >= 4u; count -= 4u, d += 4, s += 4) {
            *(uint32_t *)(void *)d = *(const uint32_t *)(const void *)s;
        }
    }
    while (count-- != 0u) {
        *d++ = *s++;
    }
    return to;
}

NO_LOOP_IDIOM void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((uintptr_t)d - (uintptr_t)s >= count) {
        return memcpy(to, from, count);
    }
    while (count-- != 0u) {
        d[count] = s[count];
    }
    return to;
}

NO_LOOP_IDIOM void *memset(void *to, int value, size_t count)
{
    uint8_t *d = to;
    const uint32_t word = (uint32_t)(uint8_t)value * 0x01010101u;
    while (count != 0u && ((uintptr_t)d & 3u) != 0u) {
        *d++ = (uint8_t)value;
        count--;
    }
    for (; count >= 4u; count -= 4u, d += 4) {
        *(uint32_t *)(void *)d = word;
    }
    while (count-- != 0u) {
        *d++ = (uint8_t)value;
    }
    return to;
}

NO_LOOP_IDIOM int memcmp(const void *a, const void *b, size_t count)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (size_t i = 0; i < count; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

/* Arm's run-time ABI names of the same; clang calls these. memset has its last two arguments swapped. */
void __aeabi_memcpy(void *to, const void *from, size_t count);
void __aeabi_memcpy4(void *to, const void *from, size_t count);
void __aeabi_memcpy8(void *to, const void *from, size_t count);
void __aeabi_memmove(void *to, const void *from, size_t count);
void __aeabi_memmove4(void *to, const void *from, size_t count);
void __aeabi_memmove8(void *to, const void *from, size_t count);
void __aeabi_memset(void *to, size_t count, int value);
void __aeabi_memset4(void *to, size_t count, int value);
void __aeabi_memset8(void *to, size_t count, int value);
void __aeabi_memclr(void *to, size_t count);
void __aeabi_memclr4(void *to, size_t count);
void __aeabi_memclr8(void *to, size_t count);

#define MEMCPY_AS(name) \
    void name(void *to, const void *from, size_t count) \
    { \
        (void)memcpy(to, from, count); \
    }
#define MEMMOVE_AS(name) \
    void name(void *to, const void *from, size_t count) \
    { \
        (void)memmove(to, from, count); \
    }
#define MEMSET_AS(name) \
    void name(void *to, size_t count, int value) \
    { \
        (void)memset(to, value, count); \
    }
#define MEMCLR_AS(name) \
    void name(void *to, size_t count) \
    { \
        (void)memset(to, 0, count); \
    }
MEMCPY_AS(__aeabi_memcpy)
MEMCPY_AS(__aeabi_memcpy4)
MEMCPY_AS(__aeabi_memcpy8)
MEMMOVE_AS(__aeabi_memmove)
MEMMOVE_AS(__aeabi_memmove4)
MEMMOVE_AS(__aeabi_memmove8)
MEMSET_AS(__aeabi_memset)
MEMSET_AS(__aeabi_memset4)
MEMSET_AS(__aeabi_memset8)
MEMCLR_AS(__aeabi_memclr)
MEMCLR_AS(__aeabi_memclr4)
MEMCLR_AS(__aeabi_memclr8)
