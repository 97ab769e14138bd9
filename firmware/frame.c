/* SPDX-License-Identifier: MIT-0 */
#include "frame.h"

#include "port.h"

static struct {
    uint32_t used;    /* decoded bytes so far */
    uint8_t left;     /* literal bytes until the next COBS code byte */
    uint8_t code;     /* the last code byte; 0 before the first one */
    bool is_overlong; /* the frame does not fit: dropped up to its end */
    uint32_t good_count;
    uint32_t bad_count;
} rx;

uint32_t tc_frame_count_good(void)
{
    return rx.good_count;
}

uint32_t tc_frame_count_bad(void)
{
    return rx.bad_count;
}

uint32_t tc_crc32(const uint8_t *bytes, size_t count)
{
    /* remainders of the sixteen possible nibbles, polynomial 0xEDB88320 */
    static const uint32_t table[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
                                       0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
                                       0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return ~crc;
}

static void rx_append(tc_frame *frame, uint8_t byte)
{
    if (rx.used < TC_FRAME_MAX) {
        frame->bytes[rx.used++] = byte;
    } else {
        rx.is_overlong = true;
    }
}

/* A zero byte arrived: judge what came before it and make ready for the next frame. */
static tc_received rx_end(tc_frame *frame)
{
    const bool is_empty = rx.code == 0u;
    bool is_good = !rx.is_overlong && rx.left == 0u && rx.used >= 6u;
    if (is_good) {
        const uint32_t body_bytes = rx.used - 4u;
        is_good = tc_crc32(frame->bytes, body_bytes) == tc_get_u32(frame->bytes + body_bytes);
        frame->payload_bytes = body_bytes - 2u;
    }
    rx.used = 0u;
    rx.left = 0u;
    rx.code = 0u;
    rx.is_overlong = false;
    if (is_empty) {
        return TC_RECEIVED_NOTHING;
    }
    if (is_good) {
        rx.good_count++;
        return TC_RECEIVED_FRAME;
    }
    rx.bad_count++;
    return TC_RECEIVED_BAD;
}

tc_received tc_frame_receive(tc_frame *frame)
{
    uint8_t byte;
    while (port_uart_get(&byte)) {
        if (byte == 0u) {
            const tc_received result = rx_end(frame);
            if (result != TC_RECEIVED_NOTHING) {
                return result;
            }
        } else if (rx.left != 0u) {
            rx_append(frame, byte);
            rx.left--;
        } else {
            /* code byte: the group before it stands for a zero unless it was full or this is the first one */
            if (rx.code != 0u && rx.code != 0xFFu) {
                rx_append(frame, 0u);
            }
            rx.code = byte;
            rx.left = (uint8_t)(byte - 1u);
        }
    }
    return TC_RECEIVED_NOTHING;
}

void tc_frame_resend(const tc_frame *frame)
{
    const uint32_t total = frame->payload_bytes + 6u;
    uint32_t at = 0u;
    bool is_more = true; /* another group follows: data is left, or this one stood for a zero at the very end */
    port_uart_put(0u);
    while (is_more) {
        uint32_t run = 0u;
        while (run < 254u && at + run < total && frame->bytes[at + run] != 0u) {
            run++;
        }
        port_uart_put((uint8_t)(run + 1u));
        for (uint32_t i = 0u; i < run; i++) {
            port_uart_put(frame->bytes[at + i]);
        }
        at += run;
        is_more = at < total;
        if (run < 254u) {
            at++; /* stopped at a zero, which this group's code byte stands for */
        }
    }
    port_uart_put(0u);
}

void tc_frame_send(tc_frame *frame, uint8_t type, uint8_t seq, uint32_t payload_bytes)
{
    frame->bytes[0] = type;
    frame->bytes[1] = seq;
    frame->payload_bytes = payload_bytes;
    tc_put_u32(frame->bytes + 2u + payload_bytes, tc_crc32(frame->bytes, 2u + payload_bytes));
    tc_frame_resend(frame);
}
