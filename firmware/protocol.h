/* SPDX-License-Identifier: MIT-0
 * The serial protocol: frame limits and message numbers. tinycompress/device/messages.py mirrors this file (a test
 * compares the two).
 *
 * A frame is COBS(type u8, seq u8, payload, CRC-32 of all before it) followed by 0x00; integers are little endian. The
 * host sends requests, the target answers each one with the same seq and type | TC_REPLY. A repeated request (same
 * type and seq as the last one) is answered from the stored reply and not carried out again; HELLO is always carried
 * out.
 */
#ifndef TC_PROTOCOL_H
#define TC_PROTOCOL_H

#define TC_PROTOCOL_VERSION 1
#define TC_PAYLOAD_MAX 1024 /* payload bytes of one frame */
#define TC_FRAME_MAX (2 + TC_PAYLOAD_MAX + 4)
#define TC_BAUD_DEFAULT 115200
#define TC_BAUD_REVERT_MS 1500 /* without a valid frame at a new baud rate, the target goes back to the default */
#define TC_REPLY 0x80          /* added to a request's type in its reply */
#define TC_CHUNK_HEADER 5      /* index u8, offset u32 before the data of a chunk */

/* requests */
#define TC_MSG_HELLO 0x01
#define TC_MSG_SET_BAUD 0x02
#define TC_MSG_WRITE_INPUT 0x03
#define TC_MSG_INVOKE 0x04
#define TC_MSG_READ_OUTPUT 0x05
#define TC_MSG_PROFILE 0x06
#define TC_MSG_TRACE 0x07
#define TC_MSG_STATS 0x08
#define TC_MSG_RESET_STATE 0x09
#define TC_MSG_ROW_ACK 0x0A /* the host took a ROW; no reply */

/* from the target, unasked */
#define TC_MSG_ROW 0xC0   /* one piece of a traced tensor row; seq counts up, ROW_ACK carries it back */
#define TC_MSG_ERROR 0xE0 /* the request was refused; payload: a code below, u8 */
#define TC_MSG_FAULT 0xF0 /* the processor faulted; nothing else is answered until a reset */

/* ERROR codes */
#define TC_ERROR_BAD_FRAME 1 /* CRC or COBS wrong, or too long; seq is 0 */
#define TC_ERROR_UNKNOWN 2   /* no such request in this build */
#define TC_ERROR_LENGTH 3    /* payload length does not fit the request */
#define TC_ERROR_RANGE 4     /* tensor index, offset or count outside its range */
#define TC_ERROR_BAUD 5      /* the rate cannot be generated within 2 % */
#define TC_ERROR_HOST_GONE 6 /* a traced row was never acknowledged */

/* HELLO flags */
#define TC_FLAG_HOOKS 1 /* built with TC_HOOKS: PROFILE and TRACE are there, timings include the hooks */
#define TC_FLAG_STATE 2 /* the model keeps state between inferences */

#endif
