/* SPDX-License-Identifier: MIT-0
 * Stack painting and its high-water mark.
 */
#ifndef TC_STACK_H
#define TC_STACK_H

#include <stdint.h>

/* Fill the unused stack with a pattern. Called at boot and before a measurement. */
void tc_stack_paint(void);

/* Size of the stack, and the bytes of it used since it was last painted. */
uint32_t tc_stack_bytes(void);
uint32_t tc_stack_high_water(void);

#endif
