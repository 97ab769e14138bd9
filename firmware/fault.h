/* SPDX-License-Identifier: MIT-0
 * Faults are reported as a FAULT frame and then for every frame received, until a reset.
 */
#ifndef TC_FAULT_H
#define TC_FAULT_H

/* Vector of every fault and unexpected exception. */
void tc_fault_entry(void);

#endif
