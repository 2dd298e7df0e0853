/* SPDX-License-Identifier: Apache-2.0
 *
 * WebSocket frames written by ourselves (RFC 6455, 5.2), several into one buffer.
 *
 * A batch is a buffer being filled with whole frames. The owner of the bytes writes each
 * payload in place: begin gives room behind the header, end writes the header (and masks,
 * in the client's role). Masks come from a pool of random bytes refilled in bulk.
 */
#ifndef PARLEY_TRANSPORT_WS_FRAME_H
#define PARLEY_TRANSPORT_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ws_opcode { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

#define WS_HEADER_MAX 14

/** Random masks; one per worker. */
struct ws_masks {
    uint8_t pool[4096];
    size_t used; /* starts at sizeof(pool) */
};

void ws_masks_init(struct ws_masks *masks);

struct ws_batch {
    uint8_t *buffer;
    size_t capacity;
    size_t limit;   /* 0: none; else only a frame that is alone in the batch may end beyond */
    size_t used;    /* whole frames */
    size_t payload; /* offset of the open frame's payload, 0: none open */
    size_t frames;
    struct ws_masks *masks; /* NULL: server's role, unmasked */
};

/**
 * Opens a frame.
 *
 * @param ret_room bytes the payload may have; it keeps the batch within its limit unless
 *                 this is the first frame and `payload_min` alone exceeds that
 * @return where to write the payload, NULL when fewer than `payload_min` fit
 */
char *ws_frame_begin(struct ws_batch *batch, size_t payload_min, size_t *ret_room);

/** Closes the open frame with a payload of `len` bytes (at most the room). */
void ws_frame_end(struct ws_batch *batch, enum ws_opcode opcode, size_t len);

/** Drops the open frame. */
void ws_frame_drop(struct ws_batch *batch);

/** XORs `len` bytes with the mask, which starts at its first byte. */
void ws_mask(uint8_t *data, size_t len, const uint8_t mask[4]);

#endif
