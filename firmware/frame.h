/* SPDX-License-Identifier: MIT-0
 * Frames over the port's UART: COBS, CRC-32, bounded length (see protocol.h).
 */
#ifndef TC_FRAME_H
#define TC_FRAME_H

#include "protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint8_t bytes[TC_FRAME_MAX]; /* type, seq, payload, and room for the CRC */
    uint32_t payload_bytes;
} tc_frame;

static inline uint8_t *tc_frame_payload(tc_frame *frame)
{
    return frame->bytes + 2;
}

static inline void tc_put_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void tc_put_u32(uint8_t *at, uint32_t value)
{
    tc_put_u16(at, value);
    tc_put_u16(at + 2, value >> 16);
}

static inline void tc_put_u64(uint8_t *at, uint64_t value)
{
    tc_put_u32(at, (uint32_t)value);
    tc_put_u32(at + 4, (uint32_t)(value >> 32));
}

static inline uint32_t tc_get_u16(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static inline uint32_t tc_get_u32(const uint8_t *at)
{
    return tc_get_u16(at) | tc_get_u16(at + 2) << 16;
}

typedef enum {
    TC_RECEIVED_NOTHING, /* no whole frame yet */
    TC_RECEIVED_FRAME,
    TC_RECEIVED_BAD /* a frame ended, but its COBS code, length or CRC is wrong */
} tc_received;

/* Take the bytes that are there; stops at the end of a frame. Empty frames are skipped: they flush the line. */
tc_received tc_frame_receive(tc_frame *frame);

/* Valid and bad frames received since start-up. */
uint32_t tc_frame_count_good(void);
uint32_t tc_frame_count_bad(void);

/* Add the CRC and send. The frame may be sent again unchanged. */
void tc_frame_send(tc_frame *frame, uint8_t type, uint8_t seq, uint32_t payload_bytes);
void tc_frame_resend(const tc_frame *frame);

/* CRC-32 (IEEE 802.3, reflected, as zlib's crc32). */
uint32_t tc_crc32(const uint8_t *bytes, size_t count);

#endif
