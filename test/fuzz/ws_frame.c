/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames as we write them, by a script of begin, end and drop, against a decoder written
 * from RFC 6455 (5.2) that shares nothing with the encoder. The frames that come in are
 * taken apart by libwebsockets; what they carry is the business of the other targets.
 */
#include "transport/ws_frame.h"

#include "test/fuzz/fuzz.h"

#define FRAMES_MAX 24

struct expected {
    uint8_t opcode;
    uint8_t fill; /* the payload's first byte; the others count up from it */
    size_t len;
};

struct frames {
    struct ws_batch batch;
    struct expected list[FRAMES_MAX];
    size_t len;
};

static uint64_t big_endian(const uint8_t *at, size_t len)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; i++)
        value = value << 8 | at[i];
    return value;
}

/* @return the payload's length, which is in its shortest form; *ret_at is behind it */
static uint64_t decode_length(const uint8_t **ret_at, const uint8_t *end)
{
    const uint8_t *at = *ret_at;
    unsigned low = *at++ & 0x7f;
    size_t more = low < 126 ? 0 : low == 126 ? 2 : 8;
    uint64_t len = low;

    FUZZ_CHECK((size_t)(end - at) >= more);
    if (more > 0) {
        len = big_endian(at, more);
        FUZZ_CHECK(more == 2 ? len >= 126 : len >= 65536 && len >> 63 == 0);
    }
    *ret_at = at + more;
    return len;
}

static const uint8_t *decode_one(const uint8_t *at, const uint8_t *end, bool masked,
                                 const struct expected *expected)
{
    uint8_t mask[4] = {0};

    FUZZ_CHECK(end - at >= 2);
    FUZZ_CHECK(at[0] == (0x80 | expected->opcode)); /* whole, no extension */
    FUZZ_CHECK((at[1] >> 7) == masked);
    at++;
    FUZZ_CHECK(decode_length(&at, end) == expected->len);
    if (masked) {
        FUZZ_CHECK(end - at >= 4);
        memcpy(mask, at, 4);
        at += 4;
        FUZZ_CHECK(big_endian(mask, 4) != 0);
    }
    FUZZ_CHECK((size_t)(end - at) >= expected->len);
    for (size_t i = 0; i < expected->len; i++)
        FUZZ_CHECK((at[i] ^ mask[i % 4]) == (uint8_t)(expected->fill + i));
    return at + expected->len;
}

static void decode_all(const struct frames *frames)
{
    const uint8_t *at = frames->batch.buffer, *end = at + frames->batch.used;

    for (size_t i = 0; i < frames->len; i++)
        at = decode_one(at, end, frames->batch.masks != NULL, &frames->list[i]);
    FUZZ_CHECK(at == end);
}

/* A limit is passed only by a frame that is alone in the batch. */
static void check_batch(const struct frames *frames)
{
    const struct ws_batch *batch = &frames->batch;

    FUZZ_CHECK(batch->used <= batch->capacity && batch->payload == 0);
    FUZZ_CHECK(batch->frames == frames->len);
    if (batch->limit != 0 && batch->limit <= batch->capacity && batch->frames > 1)
        FUZZ_CHECK(batch->used <= batch->limit || frames->list[0].len + 2 > batch->limit - 14);
}

static void put(struct frames *frames, struct fuzz_script *script, uint8_t operation)
{
    static const uint8_t opcodes[] = {WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING, WS_PONG};
    struct ws_batch *batch = &frames->batch;
    struct expected *frame = &frames->list[frames->len];
    size_t payload_min = fuzz_u16(script), used = batch->used, room = 0;
    char *at = ws_frame_begin(batch, payload_min, &room);

    if (at == NULL) {
        FUZZ_CHECK(batch->used == used && batch->payload == 0);
        return;
    }
    FUZZ_CHECK(room >= payload_min && (uint8_t *)at > batch->buffer + used);
    FUZZ_CHECK((uint8_t *)at + room <= batch->buffer + batch->capacity);
    frame->len = operation & 8 ? room : payload_min;
    frame->opcode = opcodes[operation % 5];
    frame->fill = operation;
    for (size_t i = 0; i < frame->len; i++)
        at[i] = (char)(frame->fill + i);
    if (operation & 16) {
        ws_frame_drop(batch);
        return;
    }
    ws_frame_end(batch, (enum ws_opcode)frame->opcode, frame->len);
    frames->len++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct ws_masks masks;
    struct fuzz_script script = fuzz_script(data, len);
    struct frames frames = {.len = 0};
    uint8_t flags = fuzz_byte(&script);
    size_t capacity = (size_t)fuzz_u16(&script) << (flags & 2 ? 1 : 0);

    ws_masks_init(&masks);
    frames.batch = (struct ws_batch){.buffer = fuzz_memory(capacity),
                                     .capacity = capacity,
                                     .limit = flags & 4 ? fuzz_u16(&script) : 0,
                                     .masks = flags & 1 ? &masks : NULL};
    while (fuzz_more(&script) && frames.len < FRAMES_MAX) {
        put(&frames, &script, fuzz_byte(&script));
        check_batch(&frames);
    }
    decode_all(&frames);
    free(frames.batch.buffer);
    return 0;
}
