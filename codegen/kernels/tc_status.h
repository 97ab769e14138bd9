/* SPDX-License-Identifier: MIT-0
 * Status codes of the generated entry points.
 */
#ifndef TC_STATUS_H
#define TC_STATUS_H

typedef enum {
    TC_OK = 0,              /* done */
    TC_ERR_NULL = 1,        /* a required pointer is NULL */
    TC_ERR_ARENA_SIZE = 2,  /* arena_bytes is smaller than the model's _ARENA_BYTES */
    TC_ERR_ARENA_ALIGN = 3, /* the arena is not aligned to the model's _ARENA_ALIGN */
    TC_ERR_ROWS = 4         /* an input row after the last one, or the result before it */
} tc_status;

#endif /* TC_STATUS_H */
