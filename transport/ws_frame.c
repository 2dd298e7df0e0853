/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames for LWS_WRITE_RAW: several of them in one buffer, so that one send carries many.
 *
 * A payload is written before its length is known, so begin guesses how long the header
 * will be and end moves the payload by a few bytes where the guess was wrong. The guess is
 * right for batches (126 to 65535 bytes); what is moved otherwise is short, or rare.
 */
#include "transport/ws_frame.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FIN      0x80
#define MASKED   0x80
#define LEN_16   126
#define LEN_64   127
#define MASK_LEN 4

void ws_masks_init(struct ws_masks *masks)
{
    masks->used = sizeof(masks->pool);
}

static void refill(struct ws_masks *masks)
{
    size_t have = 0;

    while (have < sizeof(masks->pool)) {
        ssize_t got = getrandom(masks->pool + have, sizeof(masks->pool) - have, 0);

        if (got > 0)
            have += (size_t)got;
        else
            assert(errno == EINTR); /* nothing else can happen to a valid buffer */
    }
    masks->used = 0;
}

/* A mask of four zero bytes is legal but hides nothing: the pool's next one is taken. */
static void next_mask(struct ws_masks *masks, uint8_t mask[MASK_LEN])
{
    static const uint8_t zero[MASK_LEN];

    do {
        if (masks->used + MASK_LEN > sizeof(masks->pool))
            refill(masks);
        memcpy(mask, masks->pool + masks->used, MASK_LEN);
        masks->used += MASK_LEN;
    } while (memcmp(mask, zero, MASK_LEN) == 0);
}

void ws_mask(uint8_t *data, size_t len, const uint8_t mask[4])
{
    uint64_t wide, word;
    size_t i = 0;

    memcpy(&wide, mask, MASK_LEN);
    memcpy((uint8_t *)&wide + MASK_LEN, mask, MASK_LEN);
    for (; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        word ^= wide;
        memcpy(data + i, &word, sizeof(word));
    }
    for (; i < len; i++)
        data[i] ^= mask[i % MASK_LEN];
}

static size_t header_len(const struct ws_batch *batch, size_t payload)
{
    size_t length = payload < LEN_16 ? 2 : payload <= UINT16_MAX ? 4 : 10;

    return length + (batch->masks != NULL ? MASK_LEN : 0);
}

/* What of the buffer the next frame may use. */
static size_t end_of_room(const struct ws_batch *batch, size_t payload_min)
{
    size_t end = batch->limit;

    if (end == 0 || end > batch->capacity)
        return batch->capacity;
    if (batch->frames == 0 && payload_min + WS_HEADER_MAX > end - batch->used)
        return batch->capacity;
    return end;
}

char *ws_frame_begin(struct ws_batch *batch, size_t payload_min, size_t *ret_room)
{
    size_t end = end_of_room(batch, payload_min);
    size_t left = end > batch->used ? end - batch->used : 0;
    size_t room, guess;

    assert(batch->payload == 0 && batch->used <= batch->capacity);
    if (left < WS_HEADER_MAX || left - WS_HEADER_MAX < payload_min)
        return NULL;
    room = left - WS_HEADER_MAX;
    guess = payload_min > LEN_16 ? payload_min : LEN_16;
    batch->payload = batch->used + header_len(batch, guess < room ? guess : room);
    *ret_room = room;
    return (char *)batch->buffer + batch->payload;
}

static uint8_t *put_length(uint8_t *at, size_t len, uint8_t masked)
{
    if (len < LEN_16) {
        *at++ = (uint8_t)(masked | len);
        return at;
    }
    *at++ = masked | (len <= UINT16_MAX ? LEN_16 : LEN_64);
    for (int shift = len <= UINT16_MAX ? 8 : 56; shift >= 0; shift -= 8)
        *at++ = (uint8_t)((uint64_t)len >> shift);
    return at;
}

void ws_frame_end(struct ws_batch *batch, enum ws_opcode opcode, size_t len)
{
    uint8_t *start = batch->buffer + batch->used;
    size_t header = header_len(batch, len);
    uint8_t *at = start;

    assert(batch->payload != 0);
    assert(batch->used + WS_HEADER_MAX + len <= batch->capacity);
    if (batch->payload != batch->used + header)
        memmove(start + header, batch->buffer + batch->payload, len);
    *at++ = (uint8_t)(FIN | opcode);
    at = put_length(at, len, batch->masks != NULL ? MASKED : 0);
    if (batch->masks != NULL) {
        next_mask(batch->masks, at);
        ws_mask(at + MASK_LEN, len, at);
        at += MASK_LEN;
    }
    assert(at == start + header);
    batch->used += header + len;
    batch->payload = 0;
    batch->frames++;
}

void ws_frame_drop(struct ws_batch *batch)
{
    assert(batch->payload != 0);
    batch->payload = 0;
}
