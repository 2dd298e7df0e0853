/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames against RFC 6455's own examples (5.7) and against a decoder written from the RFC,
 * which shares nothing with the encoder.
 */
#include "transport/ws_frame.h"

#include <stdlib.h>
#include <string.h>

#include "test/check.h"

#define BUFFER_BYTES (256 * 1024)

struct seen {
    uint8_t opcode;
    bool masked;
    uint8_t mask[4];
    size_t len;
    uint8_t *payload; /* unmasked in place */
};

/* @return bytes of the frame, 0 when it is not whole or not minimal */
static size_t decode(uint8_t *at, size_t left, struct seen *seen)
{
    size_t header = 2;

    if (left < 2 || (at[0] & 0xf0) != 0x80)
        return 0;
    seen->opcode = at[0] & 0x0f;
    seen->masked = (at[1] & 0x80) != 0;
    seen->len = at[1] & 0x7f;
    if (seen->len == 126) {
        seen->len = (size_t)at[2] << 8 | at[3];
        header = 4;
        if (seen->len < 126)
            return 0;
    } else if (seen->len == 127) {
        seen->len = 0;
        for (int i = 2; i < 10; i++)
            seen->len = seen->len << 8 | at[i];
        header = 10;
        if (seen->len < 65536)
            return 0;
    }
    if (seen->masked) {
        memcpy(seen->mask, at + header, 4);
        header += 4;
    }
    if (left < header + seen->len)
        return 0;
    seen->payload = at + header;
    for (size_t i = 0; seen->masked && i < seen->len; i++)
        seen->payload[i] ^= seen->mask[i % 4];
    return header + seen->len;
}

static uint8_t buffer[BUFFER_BYTES];

static struct ws_batch batch_of(size_t capacity, struct ws_masks *masks)
{
    memset(buffer, 0xee, sizeof(buffer));
    return (struct ws_batch){.buffer = buffer, .capacity = capacity, .masks = masks};
}

static bool put(struct ws_batch *batch, enum ws_opcode opcode, const void *data, size_t len)
{
    size_t room;
    char *at = ws_frame_begin(batch, 0, &room);

    if (at == NULL || room < len) {
        if (at != NULL)
            ws_frame_drop(batch);
        return false;
    }
    memcpy(at, data, len);
    ws_frame_end(batch, opcode, len);
    return true;
}

static void unmasked_frames_are_those_of_the_rfc(void)
{
    static const uint8_t hello[] = {0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f};
    static const uint8_t ping[] = {0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f};
    static const uint8_t binary_256[] = {0x82, 0x7e, 0x01, 0x00};
    static const uint8_t binary_64k[] = {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0};
    static uint8_t data[65536];
    struct ws_batch batch = batch_of(BUFFER_BYTES, NULL);

    CHECK(put(&batch, WS_TEXT, "Hello", 5));
    CHECK_BYTES(buffer, batch.used, hello, sizeof(hello));
    batch = batch_of(BUFFER_BYTES, NULL);
    CHECK(put(&batch, WS_PING, "Hello", 5));
    CHECK_BYTES(buffer, batch.used, ping, sizeof(ping));
    batch = batch_of(BUFFER_BYTES, NULL);
    CHECK(put(&batch, WS_BINARY, data, 256));
    CHECK_BYTES(buffer, 4, binary_256, 4);
    CHECK_U64(batch.used, 4 + 256);
    batch = batch_of(BUFFER_BYTES, NULL);
    CHECK(put(&batch, WS_BINARY, data, 65536));
    CHECK_BYTES(buffer, 10, binary_64k, 10);
    CHECK_U64(batch.used, 10 + 65536);
}

static void masking_is_that_of_the_rfc(void)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    static const uint8_t expected[] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
    uint8_t hello[] = "Hello";

    ws_mask(hello, 5, mask);
    CHECK_BYTES(hello, 5, expected, 5);
}

static void masking_any_length_and_alignment_equals_byte_by_byte(void)
{
    struct check_random random = {check_seed(7)};
    uint8_t data[96], expected[96], mask[4];

    for (size_t len = 0; len <= 64; len++) {
        for (size_t offset = 0; offset < 9; offset++) {
            for (size_t i = 0; i < sizeof(data); i++)
                expected[i] = data[i] = (uint8_t)check_random_next(&random);
            for (size_t i = 0; i < 4; i++)
                mask[i] = (uint8_t)check_random_next(&random);
            for (size_t i = 0; i < len; i++)
                expected[offset + i] ^= mask[i % 4];
            ws_mask(data + offset, len, mask);
            if (!CHECK_BYTES(data, sizeof(data), expected, sizeof(expected)))
                return;
        }
    }
}

static void check_length(size_t len, struct ws_masks *masks, size_t payload_min)
{
    static uint8_t data[BUFFER_BYTES / 2];
    struct ws_batch batch = batch_of(BUFFER_BYTES, masks);
    struct seen seen;
    size_t room;
    char *at;

    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 31 + len);
    at = ws_frame_begin(&batch, payload_min, &room);
    if (!CHECK(at != NULL && room >= len))
        return;
    memcpy(at, data, len);
    ws_frame_end(&batch, WS_TEXT, len);
    CHECK_U64(decode(buffer, batch.used, &seen), batch.used);
    CHECK_U64(seen.masked, masks != NULL);
    CHECK_U64(seen.opcode, WS_TEXT);
    if (CHECK_U64(seen.len, len))
        CHECK(memcmp(seen.payload, data, len) == 0);
}

static void every_length_class_survives_whatever_begin_was_told(void)
{
    static const size_t lengths[] = {0,   1,     2,     125,   126,   127,    255,   256,
                                     257, 65534, 65535, 65536, 65537, 100000, 131000};
    struct ws_masks masks;

    ws_masks_init(&masks);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        for (size_t j = 0; j <= i; j++) {
            check_length(lengths[i], NULL, lengths[j]);
            check_length(lengths[i], &masks, lengths[j]);
        }
    }
}

static void a_batch_holds_many_frames_of_all_kinds(void)
{
    struct check_random random = {check_seed(11)};
    static uint8_t copy[BUFFER_BYTES];
    static size_t lengths[4096];
    struct ws_masks masks;
    struct ws_batch batch;
    size_t frames = 0, at = 0;

    ws_masks_init(&masks);
    batch = batch_of(BUFFER_BYTES, &masks);
    memset(copy, 'x', sizeof(copy));
    while (frames < 4096) {
        size_t len = check_random_below(&random, frames % 50 == 0 ? 20000 : 200);

        if (!put(&batch, WS_BINARY, copy, len))
            break;
        lengths[frames++] = len;
    }
    CHECK(frames > 100);
    CHECK_U64(batch.frames, frames);
    for (size_t i = 0; i < frames; i++) {
        struct seen seen;
        size_t used = decode(buffer + at, batch.used - at, &seen);

        if (!CHECK(used != 0) || !CHECK_U64(seen.len, lengths[i]) ||
            !CHECK(memcmp(seen.payload, copy, seen.len) == 0))
            return;
        at += used;
    }
    CHECK_U64(at, batch.used);
}

static void room_is_never_exceeded(void)
{
    struct ws_masks masks;

    ws_masks_init(&masks);
    for (size_t capacity = 0; capacity < 400; capacity++) {
        struct ws_batch batch = batch_of(capacity, capacity % 2 == 0 ? &masks : NULL);
        size_t room;

        while (ws_frame_begin(&batch, 1, &room) != NULL)
            ws_frame_end(&batch, WS_TEXT, room < 130 ? room : 130);
        CHECK(batch.used <= capacity);
        CHECK(capacity < WS_HEADER_MAX + 1 || batch.frames > 0);
        CHECK_U64(buffer[capacity], 0xee);
    }
}

static void begin_refuses_what_does_not_fit(void)
{
    struct ws_batch batch = batch_of(100, NULL);
    size_t room = 7;

    CHECK(ws_frame_begin(&batch, 100 - WS_HEADER_MAX + 1, &room) == NULL);
    CHECK_U64(room, 7); /* untouched */
    CHECK(ws_frame_begin(&batch, 100 - WS_HEADER_MAX, &room) != NULL);
    CHECK_U64(room, 100 - WS_HEADER_MAX);
}

static void a_limit_holds_but_for_a_large_frame_alone(void)
{
    struct ws_batch batch = batch_of(1000, NULL);
    size_t room;

    batch.limit = 100;
    CHECK(ws_frame_begin(&batch, 1, &room) != NULL);
    CHECK_U64(room, 100 - WS_HEADER_MAX); /* what fits within the limit is kept there */
    ws_frame_end(&batch, WS_TEXT, 40);
    CHECK(ws_frame_begin(&batch, 60, &room) == NULL);
    CHECK(ws_frame_begin(&batch, 500, &room) == NULL);
    batch = batch_of(1000, NULL);
    batch.limit = 100;
    CHECK(ws_frame_begin(&batch, 500, &room) != NULL);
    CHECK_U64(room, 1000 - WS_HEADER_MAX);
    ws_frame_end(&batch, WS_TEXT, 500);
    CHECK(ws_frame_begin(&batch, 1, &room) == NULL);
}

static void a_dropped_frame_leaves_nothing(void)
{
    static const uint8_t expected[] = {0x81, 0x01, 'b'};
    struct ws_batch batch = batch_of(BUFFER_BYTES, NULL);
    size_t room;

    memset(ws_frame_begin(&batch, 0, &room), 'a', 100);
    ws_frame_drop(&batch);
    CHECK_U64(batch.used, 0);
    CHECK_U64(batch.frames, 0);
    CHECK(put(&batch, WS_TEXT, "b", 1));
    CHECK_BYTES(buffer, batch.used, expected, sizeof(expected));
}

static int compare_masks(const void *a, const void *b)
{
    uint32_t x, y;

    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    return x < y ? -1 : x > y;
}

static void masks_are_fresh_and_never_zero(void)
{
    enum { FRAMES = 8192 }; /* eight refills of the pool */
    static uint32_t seen_masks[FRAMES];
    struct ws_masks masks;
    size_t repeats = 0;

    ws_masks_init(&masks);
    for (size_t i = 0; i < FRAMES; i++) {
        struct ws_batch batch = {.buffer = buffer, .capacity = 100, .masks = &masks};
        struct seen seen;

        CHECK(put(&batch, WS_TEXT, "", 0));
        decode(buffer, batch.used, &seen);
        memcpy(&seen_masks[i], seen.mask, 4);
        if (!CHECK(seen_masks[i] != 0))
            return;
    }
    qsort(seen_masks, FRAMES, sizeof(seen_masks[0]), compare_masks);
    for (size_t i = 1; i < FRAMES; i++)
        repeats += seen_masks[i] == seen_masks[i - 1];
    CHECK(repeats < 4); /* by chance: 1 in 128 runs has one */
}

static void zero_masks_in_the_pool_are_skipped(void)
{
    struct ws_masks masks = {.used = 0};
    struct ws_batch batch = batch_of(100, &masks);
    struct seen seen;

    memcpy(masks.pool + 8, "\1\2\3\4", 4);
    CHECK(put(&batch, WS_TEXT, "x", 1));
    decode(buffer, batch.used, &seen);
    CHECK_BYTES(seen.mask, 4, "\1\2\3\4", 4);
}

static const struct check_test tests[] = {
    {"unmasked frames are those of the RFC", unmasked_frames_are_those_of_the_rfc},
    {"masking is that of the RFC", masking_is_that_of_the_rfc},
    {"masking any length and alignment equals byte by byte",
     masking_any_length_and_alignment_equals_byte_by_byte},
    {"every length class survives whatever begin was told",
     every_length_class_survives_whatever_begin_was_told},
    {"a batch holds many frames of all kinds", a_batch_holds_many_frames_of_all_kinds},
    {"room is never exceeded", room_is_never_exceeded},
    {"begin refuses what does not fit", begin_refuses_what_does_not_fit},
    {"a limit holds but for a large frame alone", a_limit_holds_but_for_a_large_frame_alone},
    {"a dropped frame leaves nothing", a_dropped_frame_leaves_nothing},
    {"masks are fresh and never zero", masks_are_fresh_and_never_zero},
    {"zero masks in the pool are skipped", zero_masks_in_the_pool_are_skipped},
};

CHECK_MAIN("ws_frame", tests)
