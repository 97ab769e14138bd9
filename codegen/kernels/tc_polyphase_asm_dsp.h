/* SPDX-License-Identifier: MIT-0
 *
 * Assembly of tc_polyphase_dsp.h: input transform, sums, output transform.
 */
#ifndef TC_POLYPHASE_ASM_DSP_H
#define TC_POLYPHASE_ASM_DSP_H

#include "tc_tiles_dsp.h"

#if TC_HAS_DSP
/* clang-format off */
/* One lane pair of a column of odd rows r4-r7 (a0..a3) to T at r1 + `at`, a row of T each. */
#define TC_POLYPHASE_ODD_ASM(rotation, at)                              \
    "sxtab16 r0, lr, r5" rotation "\n"                                  \
    "sxtab16 r3, lr, r7" rotation "\n"                                  \
    "sxtab16 r9, lr, r6" rotation "\n"                                  \
    "sxtab16 r10, lr, r4" rotation "\n"                                 \
    "sub r12, r3, r0\n"                                                 \
    "str r12, [r1, #(" #at " + 3 * 68)]\n"                              \
    "sub r3, r3, r9\n"                                                  \
    "sub r11, r3, r0, lsl #1\n"                                         \
    "str r11, [r1, #(" #at " + 68)]\n"                                  \
    "sub r0, r0, r9\n"                                                  \
    "add r3, r3, r0, lsl #1\n"                                          \
    "str r3, [r1, #(" #at " + 2 * 68)]\n"                               \
    "sub r10, r10, r9\n"                                                \
    "add r10, r12, r10, lsl #1\n"                                       \
    "str r10, [r1, #" #at "]\n"
/* The same of even rows r4-r8, which have a fifth row of T. */
#define TC_POLYPHASE_EVEN_ASM(rotation, at)                             \
    TC_POLYPHASE_ODD_ASM(rotation, at)                                  \
    "sxtab16 r11, lr, r8" rotation "\n"                                 \
    "sub r11, r11, r9\n"                                                \
    "sub r11, r11, r12, lsl #1\n"                                       \
    "str r11, [r1, #(" #at " + 4 * 68)]\n"
TC_TILES_COLUMNS_ASM(tc_polyphase_even_asm, "r8", "20", "ldr r8, [r8, r2]\n", TC_POLYPHASE_EVEN_ASM("", 0),
                     TC_POLYPHASE_EVEN_ASM(", ror #8", 612))
TC_TILES_COLUMNS_ASM(tc_polyphase_odd_asm, "r7", "16", "", TC_POLYPHASE_ODD_ASM("", 0),
                     TC_POLYPHASE_ODD_ASM(", ror #8", 612))

/* One row of odd columns of one tile, in r4-r7, to V at r1 + `at`, positions `stride` bytes apart; r3 is r1 + 2 * stride. */
#define TC_POLYPHASE_ROW_TAIL_ASM(at, stride)                           \
    "add r7, r7, #5120\n"                                               \
    "sub r9, r7, r5\n"                                                  \
    "str r9, [r3, #(" #at " + " stride ")]\n"                           \
    "sub r7, r7, r6\n"                                                  \
    "sub r10, r7, r5, lsl #1\n"                                         \
    "str r10, [r1, #(" #at " + " stride ")]\n"                          \
    "sub r5, r5, r6\n"                                                  \
    "add r7, r7, r5, lsl #1\n"                                          \
    "str r7, [r3, #" #at "]\n"                                          \
    "sub r4, r4, r6\n"                                                  \
    "add r4, r9, r4, lsl #1\n"                                          \
    "str r4, [r1, #" #at "]\n"
/* The row from T at r0 + `from`; even columns have a fifth position, at r12 + `at`. */
#define TC_POLYPHASE_ROW_ODD_ASM(from, at, stride)                      \
    "add r2, r0, #(" #from ")\n"                                        \
    "ldm r2, {r4-r7}\n"                                                 \
    TC_POLYPHASE_ROW_TAIL_ASM(at, stride)
#define TC_POLYPHASE_ROW_ASM(from, at, stride)                          \
    "add r2, r0, #(" #from ")\n"                                        \
    "ldm r2, {r4-r8}\n"                                                 \
    TC_POLYPHASE_ROW_TAIL_ASM(at, stride)                               \
    "add r8, r8, #15360\n"                                              \
    "sub r8, r8, r6\n"                                                  \
    "sub r8, r8, r9, lsl #1\n"                                          \
    "str r8, [r12, #" #at "]\n"

/* Both tiles of both halves of a row: even columns, then odd ones `odd` bytes on in V. */
#define TC_POLYPHASE_ROW_BODY(stride, odd)                              \
    TC_POLYPHASE_ROW_ASM(0, 0, stride)                                  \
    TC_POLYPHASE_ROW_ASM(16, 8, stride)                                 \
    TC_POLYPHASE_ROW_ASM(612, 4, stride)                                \
    TC_POLYPHASE_ROW_ASM(628, 12, stride)                               \
    "add r1, r1, #(" odd ")\n"                                          \
    "add r3, r3, #(" odd ")\n"                                          \
    TC_POLYPHASE_ROW_ODD_ASM(36, 0, stride)                             \
    TC_POLYPHASE_ROW_ODD_ASM(52, 8, stride)                             \
    TC_POLYPHASE_ROW_ODD_ASM(648, 4, stride)                            \
    TC_POLYPHASE_ROW_ODD_ASM(664, 12, stride)

/* The second pass over 4 channels: `count` rows of T to V. Positions of a row are 16 C words apart (2 C in row 4, whose V
 * is `last`), those of a column 4 C; the fifth column's 2 C. */
#define TC_POLYPHASE_ROWS4(groups)                                      \
    TC_ASSEMBLY void tc_polyphase_rows_##groups(TC_UNREAD const int32_t *columns, TC_UNREAD int32_t *v, \
                                                TC_UNREAD int32_t *fifth)   \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "mov r12, r2\n"                                             \
            "add r3, r1, #(512 * " #groups ")\n"                        \
            "mov lr, #4\n"                                              \
            "1:\n"                                                      \
            TC_POLYPHASE_ROW_BODY("(256 * " #groups ")", "16 * " #groups) \
            "add r0, r0, #68\n"                                         \
            "add r1, r1, #(48 * " #groups ")\n"                         \
            "add r3, r3, #(48 * " #groups ")\n"                         \
            "add r12, r12, #(32 * " #groups ")\n"                       \
            "subs lr, lr, #1\n"                                         \
            "bne 1b\n"                                                  \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }                                                                   \
    TC_ASSEMBLY void tc_polyphase_last_##groups(TC_UNREAD const int32_t *columns, TC_UNREAD int32_t *v, \
                                                TC_UNREAD int32_t *fifth)   \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "mov r12, r2\n"                                             \
            "add r3, r1, #(64 * " #groups ")\n"                         \
            TC_POLYPHASE_ROW_BODY("(32 * " #groups ")", "16 * " #groups) \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

/* Sums of a pair of output channels at positions of `steps` groups: channel o of both tiles, 200 bytes on o+1. */
#define TC_POLYPHASE_SUMS(steps)                                        \
    TC_ASSEMBLY void tc_polyphase_sums_##steps(TC_UNREAD const int32_t *v, TC_UNREAD const int32_t *stream, \
                                               TC_UNREAD int32_t *sums, TC_UNREAD const int32_t *end)       \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "push {r2, r3}\n"                                           \
            "1:\n"                                                      \
            TC_TILES_POSITION_ASM(steps)                                \
            "strd r12, lr, [r8, #200]\n"                                \
            "strd r2, r3, [r8], #8\n"                                   \
            "str r8, [sp]\n"                                            \
            "cmp r8, r9\n"                                              \
            "bne 1b\n"                                                  \
            "add sp, sp, #8\n"                                          \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

/* A' of five values in place: 0 in a, 1 in c, 2 in b, 3 in e. */
#define TC_POLYPHASE_INVERSE_ASM(a, b, c, d, e)                         \
    "add " #b ", " #b ", " #c "\n"                                      \
    "sub " #c ", " #b ", " #c ", lsl #1\n"                              \
    "add " #a ", " #a ", " #b "\n"                                      \
    "add " #a ", " #a ", " #d "\n"                                      \
    "add " #b ", " #b ", " #d ", lsl #2\n"                              \
    "add " #e ", " #e ", " #c "\n"                                      \
    "add " #e ", " #e ", " #d ", lsl #3\n"                              \
    "add " #c ", " #c ", " #d ", lsl #1\n"
#define TC_POLYPHASE_TILES_ASM                                          \
    TC_POLYPHASE_INVERSE_ASM(r1, r3, r5, r7, r9)                        \
    TC_POLYPHASE_INVERSE_ASM(r2, r4, r6, r8, r10)
#define TC_POLYPHASE_COLUMN_ASM(column)                                 \
    "ldrd r9, r10, [r0, #(128 - 24 * " #column ")]\n"                   \
    "ldmia r0!, {r1-r8}\n"                                              \
    TC_POLYPHASE_TILES_ASM                                              \
    TC_TILES_SAVE_ASM(column, "40", r9, r10)

#define TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, row)              \
    "add r0, sp, #(40 * " #row ")\n"                                    \
    "ldm r0, {r1-r10}\n"                                                \
    TC_POLYPHASE_TILES_ASM                                              \
    TC_TILES_BOTH_ASM(is_signed, r1, r2, r12, r11, shift, 2)            \
    TC_TILES_BOTH_ASM(is_signed, r3, r4, r12, r11, shift, 2)            \
    TC_TILES_BOTH_ASM(is_signed, r5, r6, r12, r11, shift, 2)            \
    TC_TILES_BOTH_ASM(is_signed, r9, r10, r12, r11, shift, 2)           \
    TC_TILES_STORE_ASM(row, "160", r9, r10)

/* lr multiplier, r12 addend, r11 sign mask. Frame: 0 the tiles after the first pass, 160 places, 176 channels. */
#define TC_POLYPHASE_OUTPUT(shift, is_signed)                           \
    TC_ASSEMBLY void tc_polyphase_output_##shift##_##is_signed TC_TILES_OUTPUT_PARAMETERS \
    {                                                                   \
        __asm__ volatile(                                               \
            TC_TILES_ENTER_ASM                                          \
            "ldrd lr, r12, [r1]\n"                                      \
            "ldr r11, [r1, #8]\n"                                       \
            "sub sp, sp, #160\n" ::: TC_ASSEMBLY_CLOBBERS);             \
        __asm__ volatile(TC_POLYPHASE_COLUMN_ASM(0) TC_POLYPHASE_COLUMN_ASM(1) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_COLUMN_ASM(2) TC_POLYPHASE_COLUMN_ASM(3) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(                                               \
            "add r0, r0, #32\n"                                         \
            "ldm r0, {r1-r10}\n"                                        \
            TC_POLYPHASE_TILES_ASM                                      \
            TC_TILES_SAVE_ASM(4, "40", r9, r10) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, 3) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, 2) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, 1) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_POLYPHASE_OUTPUT_ROW_ASM(shift, is_signed, 0) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_TILES_LEAVE_ASM("180") ::: TC_ASSEMBLY_CLOBBERS); \
    }

#define TC_POLYPHASE_FOR_GROUPS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8)
#define TC_POLYPHASE_FOR_STEPS(X) \
    TC_POLYPHASE_FOR_GROUPS(X) X(10) X(12) X(14) X(16) X(20) X(24) X(28) X(32)
TC_POLYPHASE_FOR_GROUPS(TC_POLYPHASE_ROWS4)
TC_POLYPHASE_FOR_STEPS(TC_POLYPHASE_SUMS)
TC_TILES_FOR_SHIFTS(TC_TILES_OUTPUTS, TC_POLYPHASE_OUTPUT)

#define TC_POLYPHASE_CASE_ROWS(groups)                                                  \
    case 4 * groups:                                                                    \
        tc_polyphase_rows_##groups(columns, v, v + 72 * channels);                      \
        tc_polyphase_last_##groups(columns + 68, v + 64 * channels, v + 80 * channels); \
        tc_polyphase_rows_##groups(columns + 85, v + 2 * channels, v + 73 * channels);  \
        break;
#define TC_POLYPHASE_CASE_SUMS(steps)                       \
    case steps:                                             \
        tc_polyphase_sums_##steps(v, stream, sums, end);    \
        break;
/* clang-format on */
#endif

#endif
