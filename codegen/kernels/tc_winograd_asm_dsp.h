/* SPDX-License-Identifier: MIT-0
 *
 * Assembly of tc_winograd_dsp.h: input transform, sums, output transform.
 */
#ifndef TC_WINOGRAD_ASM_DSP_H
#define TC_WINOGRAD_ASM_DSP_H

#include "tc_tiles_dsp.h"

#if TC_HAS_DSP
/* clang-format off */
/* One lane pair of a column, raw rows in r4-r9, to the six rows of T at r1 + `at`: r0 p, r3 u, r10 s, r11 a3, r12 q. */
#define TC_WINOGRAD_COLUMN_ASM(rotation, at)                            \
    "sxtab16 r0, lr, r8" rotation "\n"                                  \
    "sxtab16 r3, lr, r6" rotation "\n"                                  \
    "sxtab16 r11, lr, r4" rotation "\n"                                 \
    "sub r10, r0, r3\n"                                                 \
    "sub r0, r0, r3, lsl #2\n"                                          \
    "sub r11, r11, r3\n"                                                \
    "add r11, r10, r11, lsl #2\n"                                       \
    "str r11, [r1, #" #at "]\n"                                         \
    "sxtab16 r3, lr, r5" rotation "\n"                                  \
    "sxtab16 r11, lr, r7" rotation "\n"                                 \
    "sub r12, r11, r3, lsl #2\n"                                        \
    "sub r3, r11, r3\n"                                                 \
    "add r0, r0, r12\n"                                                 \
    "str r0, [r1, #(" #at " + 40)]\n"                                   \
    "sub r0, r0, r12, lsl #1\n"                                         \
    "str r0, [r1, #(" #at " + 80)]\n"                                   \
    "sxtab16 r0, lr, r9" rotation "\n"                                  \
    "sub r0, r0, r11\n"                                                 \
    "sub r0, r0, r3, lsl #2\n"                                          \
    "str r0, [r1, #(" #at " + 200)]\n"                                  \
    "add r11, r10, r3, lsl #1\n"                                        \
    "str r11, [r1, #(" #at " + 120)]\n"                                 \
    "sub r10, r10, r3, lsl #1\n"                                        \
    "str r10, [r1, #(" #at " + 160)]\n"
#define TC_WINOGRAD_LOAD_ASM                                            \
    "ldr r8, [r8, r2]\n"                                                \
    "ldr r9, [r9, r2]\n"
TC_TILES_COLUMNS_ASM(tc_winograd_columns_asm, "r9", "24", TC_WINOGRAD_LOAD_ASM, TC_WINOGRAD_COLUMN_ASM("", 0),
                     TC_WINOGRAD_COLUMN_ASM(", ror #8", 240))

/* One row of one tile, columns in r4-r9, to V at r1 (and r3 = r1 + half of the tile) + `at`. */
#define TC_WINOGRAD_ROW_ASM(steps, at)                                  \
    "add r8, r8, #13312\n"                                              \
    "add r9, r9, #13312\n"                                              \
    "sub r10, r8, r6\n"                                                 \
    "sub r11, r8, r6, lsl #2\n"                                         \
    "sub r4, r4, r6\n"                                                  \
    "add r4, r10, r4, lsl #2\n"                                         \
    "str r4, [r1, #" #at "]\n"                                          \
    "sub r12, r7, r5\n"                                                 \
    "sub r6, r7, r5, lsl #2\n"                                          \
    "sub r9, r9, r7\n"                                                  \
    "sub r9, r9, r12, lsl #2\n"                                         \
    "str r9, [r3, #(" #at " + 2 * 96 * " #steps ")]\n"                  \
    "add r5, r11, r6\n"                                                 \
    "str r5, [r1, #(" #at " + 96 * " #steps ")]\n"                      \
    "sub r6, r11, r6\n"                                                 \
    "str r6, [r1, #(" #at " + 2 * 96 * " #steps ")]\n"                  \
    "add r7, r10, r12, lsl #1\n"                                        \
    "str r7, [r3, #" #at "]\n"                                          \
    "sub r8, r10, r12, lsl #1\n"                                        \
    "str r8, [r3, #(" #at " + 96 * " #steps ")]\n"

/* The second pass over 4 channels: V holds, per position, `steps` groups of 4 words (tile 0 twice, tile 1 twice). */
#define TC_WINOGRAD_ROWS(steps)                                         \
    TC_ASSEMBLY void tc_winograd_rows_##steps(TC_UNREAD const int32_t *columns, TC_UNREAD int32_t *v) \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "add r3, r1, #(3 * 96 * " #steps ")\n"                      \
            "mov lr, #6\n"                                              \
            "1:\n"                                                      \
            "ldm r0, {r4-r9}\n"                                         \
            TC_WINOGRAD_ROW_ASM(steps, 0)                               \
            "add r2, r0, #16\n"                                         \
            "ldm r2, {r4-r9}\n"                                         \
            TC_WINOGRAD_ROW_ASM(steps, 8)                               \
            "add r2, r0, #240\n"                                        \
            "ldm r2, {r4-r9}\n"                                         \
            TC_WINOGRAD_ROW_ASM(steps, 4)                               \
            "add r2, r0, #256\n"                                        \
            "ldm r2, {r4-r9}\n"                                         \
            TC_WINOGRAD_ROW_ASM(steps, 12)                              \
            "add r0, r0, #40\n"                                         \
            "add r1, r1, #(16 * " #steps ")\n"                          \
            "add r3, r3, #(16 * " #steps ")\n"                          \
            "subs lr, lr, #1\n"                                         \
            "bne 1b\n"                                                  \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

/* Sums of a pair of output channels at all positions: channel o of both tiles, 288 bytes on channel o+1 of both. */
#define TC_WINOGRAD_POSITION_ASM(steps, at)                             \
    TC_TILES_POSITION_ASM(steps)                                        \
    "strd r12, lr, [r8, #(288 + " #at ")]\n"                            \
    "strd r2, r3, [r8, #" #at "]\n"
#define TC_WINOGRAD_SUMS(steps)                                         \
    TC_ASSEMBLY void tc_winograd_sums_##steps(TC_UNREAD const int32_t *v, TC_UNREAD const int32_t *stream, \
                                              TC_UNREAD int32_t *sums)  \
    {                                                                   \
        __asm__ volatile(                                               \
            "push {r4-r11, lr}\n"                                       \
            "add r3, r2, #288\n"                                        \
            "push {r2, r3}\n"                                           \
            "1:\n"                                                      \
            TC_WINOGRAD_POSITION_ASM(steps, 0)                          \
            TC_WINOGRAD_POSITION_ASM(steps, 8)                          \
            TC_WINOGRAD_POSITION_ASM(steps, 16)                         \
            "add r8, r8, #24\n"                                         \
            "str r8, [sp]\n"                                            \
            "cmp r8, r9\n"                                              \
            "bne 1b\n"                                                  \
            "add sp, sp, #8\n"                                          \
            "pop {r4-r11, pc}\n" ::: TC_ASSEMBLY_CLOBBERS);             \
    }

/* A' of six values in place: 0 in a, 1 in c, 2 in b, 3 in f. */
#define TC_WINOGRAD_INVERSE_ASM(a, b, c, d, e, f)                       \
    "add " #b ", " #b ", " #c "\n"                                      \
    "sub " #c ", " #b ", " #c ", lsl #1\n"                              \
    "add " #d ", " #d ", " #e "\n"                                      \
    "sub " #e ", " #d ", " #e ", lsl #1\n"                              \
    "add " #a ", " #a ", " #d "\n"                                      \
    "add " #a ", " #a ", " #b ", lsl #2\n"                              \
    "add " #f ", " #f ", " #c "\n"                                      \
    "add " #f ", " #f ", " #e ", lsl #1\n"                              \
    "add " #c ", " #e ", " #c ", lsl #1\n"                              \
    "add " #b ", " #b ", " #d "\n"

#define TC_WINOGRAD_TILES_ASM                                           \
    TC_WINOGRAD_INVERSE_ASM(r1, r3, r5, r7, r9, r11)                    \
    TC_WINOGRAD_INVERSE_ASM(r2, r4, r6, r8, r10, r12)

/* Row `row` of both tiles, whose values have k = `high`, high - 1, high - 2, high - 2; the addends begin at `from`. */
#define TC_WINOGRAD_MASK_0
#define TC_WINOGRAD_MASK_1 "ldr r10, [sp, #216]\n"
#define TC_WINOGRAD_OUTPUT_ROW_ASM(shift, is_signed, row, high, from)   \
    "add r0, sp, #(48 * " #row ")\n"                                    \
    "ldm r0, {r1-r12}\n"                                                \
    TC_WINOGRAD_TILES_ASM                                               \
    "ldrd r7, r8, [sp, #" #from "]\n"                                   \
    "ldr r9, [sp, #(" #from " + 8)]\n"                                  \
    TC_WINOGRAD_MASK_##is_signed                                        \
    TC_TILES_BOTH_ASM(is_signed, r1, r2, r7, r10, shift, high)          \
    TC_TILES_BOTH_ASM(is_signed, r5, r6, r8, r10, shift, (high - 1))    \
    TC_TILES_BOTH_ASM(is_signed, r3, r4, r9, r10, shift, (high - 2))    \
    TC_TILES_BOTH_ASM(is_signed, r11, r12, r9, r10, shift, (high - 2))  \
    TC_TILES_STORE_ASM(row, "220", r11, r12)

#define TC_WINOGRAD_OUTPUT_COLUMN_ASM(column)                           \
    "ldmia r0!, {r1-r12}\n"                                             \
    TC_WINOGRAD_TILES_ASM                                               \
    TC_TILES_SAVE_ASM(column, "48", r11, r12)

/* Frame: 0 the tiles after the first pass, 192 multiplier, 196 addends, 216 sign mask, 220 places, 236 channels. */
#define TC_WINOGRAD_OUTPUT(shift, is_signed)                            \
    TC_ASSEMBLY void tc_winograd_output_##shift##_##is_signed TC_TILES_OUTPUT_PARAMETERS \
    {                                                                   \
        __asm__ volatile(                                               \
            TC_TILES_ENTER_ASM                                          \
            "ldm r1, {r4-r10}\n"                                        \
            "push {r4-r10}\n"                                           \
            "mov lr, r4\n"                                              \
            "sub sp, sp, #192\n" ::: TC_ASSEMBLY_CLOBBERS);             \
        __asm__ volatile(                                               \
            TC_WINOGRAD_OUTPUT_COLUMN_ASM(0)                            \
            TC_WINOGRAD_OUTPUT_COLUMN_ASM(1)                            \
            TC_WINOGRAD_OUTPUT_COLUMN_ASM(2)                            \
            TC_WINOGRAD_OUTPUT_COLUMN_ASM(3) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(                                               \
            TC_WINOGRAD_OUTPUT_COLUMN_ASM(4)                            \
            TC_WINOGRAD_OUTPUT_COLUMN_ASM(5) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_WINOGRAD_OUTPUT_ROW_ASM(shift, is_signed, 3, 4, 204) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_WINOGRAD_OUTPUT_ROW_ASM(shift, is_signed, 2, 4, 204) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_WINOGRAD_OUTPUT_ROW_ASM(shift, is_signed, 1, 5, 200) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_WINOGRAD_OUTPUT_ROW_ASM(shift, is_signed, 0, 6, 196) ::: TC_ASSEMBLY_CLOBBERS); \
        __asm__ volatile(TC_TILES_LEAVE_ASM("240") ::: TC_ASSEMBLY_CLOBBERS); \
    }
#define TC_WINOGRAD_FOR_STEPS(X) \
    X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16)
TC_WINOGRAD_FOR_STEPS(TC_WINOGRAD_ROWS)
TC_WINOGRAD_FOR_STEPS(TC_WINOGRAD_SUMS)
TC_TILES_FOR_SHIFTS(TC_TILES_OUTPUTS, TC_WINOGRAD_OUTPUT)

#define TC_WINOGRAD_CASE_ROWS(steps)            \
    case 4 * steps:                             \
        tc_winograd_rows_##steps(columns, v);   \
        break;
#define TC_WINOGRAD_CASE_SUMS(steps)                \
    case 4 * steps:                                 \
        tc_winograd_sums_##steps(v, stream, sums);  \
        break;
/* clang-format on */
#endif

#endif
