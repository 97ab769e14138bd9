/* SPDX-License-Identifier: MIT-0 */
#ifndef TC_STATUS_H
#define TC_STATUS_H
typedef enum { TC_OK = 0, TC_ERR_NULL = 1, TC_ERR_ARENA_SIZE = 2, TC_ERR_ARENA_ALIGN = 3 } tc_status;
#endif
