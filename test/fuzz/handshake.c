/* SPDX-License-Identifier: Apache-2.0
 *
 * Handshakes and sealed frames, fed by somebody who has no key. Whatever comes: it is no step
 * that its sender signed, so it fails or is passed over, and says nothing; it opens under no
 * seal, and the frame that does open afterwards is the one that was sealed.
 */
#include "peers/handshake.h"
#include "peers/seal.h"
#include "test/fuzz/fuzz.h"

#define NOW UINT64_C(1000000000)

struct world {
    struct alloc alloc;
    struct crypto crypto;
    struct canonical canonical;
    struct identity *own, *other;
    struct identity_key *other_key;
};

static struct world *world_get(void)
{
    static struct world world;
    static const uint8_t seeds[2][IDENTITY_SEED_BYTES] = {{1}, {2}};

    if (world.own != NULL)
        return &world;
    alloc_init(&world.alloc, NULL);
    canonical_init(&world.canonical, &world.alloc);
    FUZZ_CHECK(crypto_init(&world.crypto) == PARLEY_OK);
    FUZZ_CHECK(identity_new(&world.alloc, seeds[0], &world.own) == PARLEY_OK);
    FUZZ_CHECK(identity_new(&world.alloc, seeds[1], &world.other) == PARLEY_OK);
    FUZZ_CHECK(identity_key_new(&world.alloc, identity_public(world.other),
                                &world.other_key) == PARLEY_OK);
    return &world;
}

/* ---- Steps ---- */

static void hear(struct world *world, const struct handshake_message *message,
                 enum handshake_state state, bool proven)
{
    const struct handshake_parties parties = {.crypto = &world->crypto,
                                              .canonical = &world->canonical,
                                              .own_id = "node-b",
                                              .identity = world->own,
                                              .peer_id = "node-a",
                                              .peer_key = world->other_key};
    const struct handshake_random random = {{3}, {4}, {5}, {6}};
    static struct handshake handshake;
    char said[HANDSHAKE_MESSAGE_MAX];
    struct json_out out = {.buffer = said, .capacity = sizeof(said)};
    enum handshake_result result;

    handshake_init(&handshake);
    handshake.state = state;
    handshake.until_ns = NOW + 1;
    snprintf(handshake.keys.session_id, sizeof(handshake.keys.session_id), "s");
    result = handshake_receive(&handshake, &parties, message, proven, &random, NOW, NOW, &out);
    FUZZ_CHECK(result == HANDSHAKE_FAILED && out.len == 0);
    FUZZ_CHECK(handshake.state == HANDSHAKE_ERROR && handshake.error != HANDSHAKE_E_NONE);
}

static void fuzz_step(struct world *world, const char *text, size_t len)
{
    const struct json_limits limits = {.depth_max = 32, .bytes_max = 1 << 20};
    struct handshake_message message;
    struct json_error error;
    struct json_doc doc;

    json_init(&doc, &world->alloc);
    if (json_scan(&doc, text, len, &limits, HANDSHAKE_RECORD_DEPTH, &error) == PARLEY_OK &&
        handshake_message_read(&doc, doc.items, &message) == PARLEY_OK) {
        FUZZ_CHECK(message.payload->value_len <= HANDSHAKE_PAYLOAD_MAX);
        FUZZ_CHECK(handshake_message_verify(&world->canonical, &message, world->other_key) ==
                   PARLEY_EREFUSED);
        for (enum handshake_state state = HANDSHAKE_INITIAL; state < HANDSHAKE_READY; state++)
            hear(world, &message, state, message.step >= STEP_CONFIRM);
    }
    json_fini(&doc);
}

/* ---- Frames ---- */

static void fuzz_frame(struct world *world, const uint8_t *data, size_t len)
{
    static const uint8_t text[4] = {'t', 'e', 'x', 't'};
    const struct seal_keys keys = {.secret = {7}, .session_id = "s"};
    char *copy = fuzz_copy((const char *)data, len), *opened;
    uint8_t frame[SEAL_OVERHEAD + 4] = {0};
    struct seal out, in;
    size_t opened_len;

    FUZZ_CHECK(seal_init(&out, &world->crypto, &keys, SEAL_BY_INITIATOR, SEAL_WEBSOCKET, 1,
                         true) == PARLEY_OK &&
               seal_init(&in, &world->crypto, &keys, SEAL_BY_INITIATOR, SEAL_WEBSOCKET, 1,
                         false) == PARLEY_OK);
    FUZZ_CHECK(seal_open_frame(&in, len % 2 == 0, copy, len, &opened, &opened_len) !=
               PARLEY_OK);
    FUZZ_CHECK(in.next == 0); /* nothing has stuck */
    memcpy(frame + SEAL_HEADER_BYTES, text, sizeof(text));
    FUZZ_CHECK(seal_close_frame(&out, frame, 4) == PARLEY_OK);
    FUZZ_CHECK(seal_open_frame(&in, false, frame, sizeof(frame), &opened, &opened_len) ==
               PARLEY_OK);
    FUZZ_CHECK(opened_len == 4 && memcmp(opened, text, sizeof(text)) == 0);
    seal_fini(&out);
    seal_fini(&in);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world *world = world_get();

    if (len > 0 && data[0] == '{')
        fuzz_step(world, (const char *)data, len);
    else
        fuzz_frame(world, data, len);
    return 0;
}
