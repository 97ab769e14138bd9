/* SPDX-License-Identifier: MIT-0 */
#include "fault.h"

#include "frame.h"
#include "port.h"

extern uint32_t tc_stack_start[], tc_stack_end[];
void tc_fault_report(const uint32_t *frame, uint32_t exception) __attribute__((noreturn, used));

#define CFSR (*(volatile uint32_t *)0xE000ED28u)
#define HFSR (*(volatile uint32_t *)0xE000ED2Cu)
#define MMFAR (*(volatile uint32_t *)0xE000ED34u)
#define BFAR (*(volatile uint32_t *)0xE000ED38u)
#define FAULT_STACK_BYTES 512

/* Own stack: the fault may be that the other one ran over. */
uint8_t tc_fault_stack[FAULT_STACK_BYTES] __attribute__((aligned(8), used));
static tc_frame fault_frame;
static tc_frame request;

/* r0 = the exception frame the core pushed, r1 = the exception's number */
__asm(".syntax unified\n"
      ".section .text.tc_fault_entry,\"ax\",%progbits\n"
      ".thumb\n"
      ".thumb_func\n"
      ".global tc_fault_entry\n"
      ".type tc_fault_entry,%function\n"
      "tc_fault_entry:\n"
      "    mrs r0, msp\n"
      "    mrs r1, ipsr\n"
      "    ldr r2, =tc_fault_stack + 512\n"
      "    mov sp, r2\n"
      "    b.w tc_fault_report\n"
      ".ltorg\n"
      ".size tc_fault_entry, . - tc_fault_entry\n"
      ".text\n");

void tc_fault_report(const uint32_t *frame, uint32_t exception)
{
    const uintptr_t at = (uintptr_t)frame;
    const bool has_frame = at >= (uintptr_t)tc_stack_start && at + 32u <= (uintptr_t)tc_stack_end;
    uint8_t *const payload = tc_frame_payload(&fault_frame);
    tc_put_u32(payload, exception);
    tc_put_u32(payload + 4, has_frame ? frame[6] : 0u); /* pc */
    tc_put_u32(payload + 8, has_frame ? frame[5] : 0u); /* lr */
    tc_put_u32(payload + 12, (uint32_t)at);
    tc_put_u32(payload + 16, CFSR);
    tc_put_u32(payload + 20, HFSR);
    tc_put_u32(payload + 24, MMFAR);
    tc_put_u32(payload + 28, BFAR);
    port_fault_uart();
    tc_frame_send(&fault_frame, TC_MSG_FAULT, 0u, 32u);
    for (;;) {
        if (tc_frame_receive(&request) != TC_RECEIVED_NOTHING) {
            tc_frame_resend(&fault_frame);
        }
    }
}
