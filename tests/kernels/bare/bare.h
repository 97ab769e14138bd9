/* SPDX-License-Identifier: MIT-0
 * What a test image may call; boot.c has it for the target, host.c for the host.
 */
#ifndef BARE_H
#define BARE_H

#include <stdint.h>

void bare_print(const char *text);
void bare_print_number(uint32_t value);
uint32_t bare_ticks(void);

#endif
