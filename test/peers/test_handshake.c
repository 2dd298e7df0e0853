/* SPDX-License-Identifier: Apache-2.0
 *
 * The six-step handshake without a network: [six_step] read and verified; two sides that come
 * to the same keys; and every way of meddling that we could think of, each ending in the error
 * that the protocol names.
 */
#include "peers/handshake.h"
#include "test/check.h"
#include "test/peers/vector_members.h"
#include "test/runtime/fail_alloc.h"

#define NOW  UINT64_C(1000000000)
#define WALL UINT64_C(1795382340498209)

static struct alloc alloc;
static struct crypto crypto;
static struct canonical canonical;
static struct json_doc doc;

/** One side. */
struct side {
    struct identity *identity;
    struct identity_key *peer_key;
    struct handshake_parties parties;
    struct handshake handshake;
    struct handshake_random random;
    char text[HANDSHAKE_MESSAGE_MAX]; /* what it said last */
    size_t len;
};

struct two {
    struct side a, b;
};

static void key_of(const struct side *side, struct identity_key **ret_key)
{
    CHECK_STATUS(identity_key_new(&alloc, identity_public(side->identity), ret_key), OK);
}

static void side_begin(struct side *side, const char *own, const char *peer, uint8_t seed)
{
    uint8_t bytes[IDENTITY_SEED_BYTES];

    memset(side, 0, sizeof(*side));
    memset(bytes, seed, sizeof(bytes));
    CHECK_STATUS(identity_new(&alloc, bytes, &side->identity), OK);
    memset(&side->random, seed + 1, sizeof(side->random));
    side->parties = (struct handshake_parties){.crypto = &crypto,
                                               .canonical = &canonical,
                                               .own_id = own,
                                               .identity = side->identity,
                                               .peer_id = peer,
                                               .limits = {65536, 1024, 1u << 20}};
    handshake_init(&side->handshake);
}

static void trust(struct side *side, const struct side *other)
{
    key_of(other, &side->peer_key);
    side->parties.peer_key = side->peer_key;
}

static void begin(struct two *two)
{
    alloc_init(&alloc, NULL);
    json_init(&doc, &alloc);
    canonical_init(&canonical, &alloc);
    CHECK_STATUS(crypto_init(&crypto), OK);
    side_begin(&two->a, "node-a", "node-b", 10);
    side_begin(&two->b, "node-b", "node-a", 20);
    trust(&two->a, &two->b);
    trust(&two->b, &two->a);
}

static void end(struct two *two)
{
    for (unsigned i = 0; i < 2; i++) {
        struct side *side = i == 0 ? &two->a : &two->b;

        handshake_fini(&side->handshake);
        identity_key_free(side->peer_key);
        identity_free(side->identity);
    }
    crypto_fini(&crypto);
    canonical_fini(&canonical);
    json_fini(&doc);
}

static enum handshake_result start(struct side *side)
{
    struct json_out out = {.buffer = side->text, .capacity = sizeof(side->text)};
    enum handshake_result result =
        handshake_start(&side->handshake, &side->parties, &side->random, NOW, WALL, &out);

    side->len = out.len;
    return result;
}

static enum handshake_result hear_at(struct side *side, const char *text, size_t len,
                                     bool proven, uint64_t now)
{
    const struct json_limits limits = {.depth_max = 16, .bytes_max = 1 << 20};
    struct json_out out = {.buffer = side->text, .capacity = sizeof(side->text)};
    struct handshake_message message;
    enum handshake_result result;
    struct json_error error;

    CHECK_STATUS(json_scan(&doc, text, len, &limits, HANDSHAKE_RECORD_DEPTH, &error), OK);
    if (!CHECK(handshake_message_read(&doc, doc.items, &message) == PARLEY_OK))
        return HANDSHAKE_FAILED;
    memset(&side->random.nonce, (int)side->handshake.number + 40, 16);
    result = handshake_receive(&side->handshake, &side->parties, &message, proven,
                               &side->random, now, WALL, &out);
    side->len = out.len;
    return result;
}

static enum handshake_result hear(struct side *side, const struct side *from, bool proven)
{
    return hear_at(side, from->text, from->len, proven, NOW);
}

/* Carries messages to and fro until `steps` have been said. */
static void carry(struct two *two, unsigned steps)
{
    CHECK_U64(start(&two->a), HANDSHAKE_SAY);
    for (unsigned step = 2; step <= steps; step++) {
        struct side *from = step % 2 == 0 ? &two->a : &two->b;
        struct side *to = step % 2 == 0 ? &two->b : &two->a;

        CHECK_U64(hear(to, from, step > 5), step >= 5 ? HANDSHAKE_SAY_SEALED : HANDSHAKE_SAY);
    }
}

static void check_error(struct side *side, const struct side *from, bool proven,
                        const char *error)
{
    CHECK_U64(hear(side, from, proven), HANDSHAKE_FAILED);
    CHECK_TEXT(handshake_error_name(side->handshake.error), error);
    CHECK_TEXT(handshake_state_name(side->handshake.state), "ERROR");
}

/* Puts `to` in the place of `from`, which must be there and as long. */
static void replace(struct side *side, const char *from, const char *to)
{
    char *at;

    side->text[side->len] = '\0';
    at = strstr(side->text, from);
    if (CHECK(at != NULL && strlen(from) == strlen(to)))
        for (; *to != '\0'; to++)
            *at++ = *to;
}

/* ---- It works ---- */

static void test_six_steps(void)
{
    struct two two;

    begin(&two);
    carry(&two, 6);
    CHECK_U64(hear(&two.a, &two.b, true), HANDSHAKE_DONE);
    CHECK_TEXT(handshake_state_name(two.a.handshake.state), "READY");
    CHECK_TEXT(handshake_state_name(two.b.handshake.state), "READY");
    CHECK_TEXT(two.a.handshake.keys.session_id, two.b.handshake.keys.session_id);
    CHECK_BYTES(two.a.handshake.keys.secret, 32, two.b.handshake.keys.secret, 32);
    CHECK_U64(two.a.handshake.peer.max_in_flight, 1024);
    CHECK_U64(two.b.handshake.peer.max_batch_bytes, 65536);
    end(&two);
}

static void test_states(void)
{
    static const char *const a[] = {"HANDSHAKE_INIT_SENT",    "HANDSHAKE_INIT_SENT",
                                    "HANDSHAKE_ACK_RECEIVED", "HANDSHAKE_ACK_RECEIVED",
                                    "SESSION_CONFIRMED",      "SESSION_CONFIRMED"};
    static const char *const b[] = {"INITIAL",
                                    "CHALLENGE_SENT",
                                    "CHALLENGE_SENT",
                                    "SESSION_ESTABLISHED",
                                    "SESSION_ESTABLISHED",
                                    "READY"};

    for (unsigned steps = 1; steps <= 6; steps++) {
        struct two two;

        begin(&two);
        carry(&two, steps);
        CHECK_TEXT(handshake_state_name(two.a.handshake.state), a[steps - 1]);
        CHECK_TEXT(handshake_state_name(two.b.handshake.state), b[steps - 1]);
        end(&two);
    }
}

/* What we write is canonical already: both sides hash the same bytes. */
static void test_payloads_are_canonical(void)
{
    struct two two;
    const char *bytes;
    size_t len;

    begin(&two);
    carry(&two, 1);
    CHECK_STATUS(canonical_text(&canonical, two.a.handshake.first, two.a.handshake.first_len,
                                &bytes, &len),
                 OK);
    CHECK_BYTES(two.a.handshake.first, two.a.handshake.first_len, bytes, len);
    end(&two);
}

/* T, recomputed here from its definition. */
static void test_transcript(void)
{
    struct two two;
    uint8_t expected[32], lengths[4][4] = {{0}};
    const char *second, *payload_end;
    size_t second_len;
    struct side answer;

    begin(&two);
    carry(&two, 2);
    answer = two.b;
    answer.text[answer.len] = '\0';
    second = strstr(answer.text, "{\"accepted_version\"");
    payload_end = strstr(answer.text, ",\"timestamp\"");
    second_len = (size_t)(payload_end - second);
    {
        const struct crypto_bytes parts[] = {
            {lengths[0], 4}, {two.a.handshake.first, two.a.handshake.first_len},
            {lengths[1], 4}, {second, second_len},
            {lengths[2], 4}, {"node-a", 6},
            {lengths[3], 4}, {"node-b", 6}};

        for (size_t i = 0; i < 4; i++) {
            lengths[i][2] = (uint8_t)(parts[2 * i + 1].len >> 8);
            lengths[i][3] = (uint8_t)parts[2 * i + 1].len;
        }
        CHECK(crypto_sha256(&crypto, parts, 8, expected));
    }
    CHECK_BYTES(two.b.handshake.transcript, 32, expected, 32);
    CHECK_U64(hear(&two.a, &two.b, false), HANDSHAKE_SAY);
    CHECK_BYTES(two.a.handshake.transcript, 32, expected, 32);
    end(&two);
}

static void test_six_step_vector(void)
{
    cJSON *all = vectors_load();
    const cJSON *steps = cJSON_GetObjectItem(cJSON_GetObjectItem(all, "six_step"), "steps");
    const struct json_limits limits = {.depth_max = 16, .bytes_max = 1 << 20};
    struct two two;

    begin(&two);
    for (int i = 0; i < 6; i++) {
        const cJSON *step = cJSON_GetArrayItem(steps, i);
        const cJSON *id = cJSON_GetArrayItem(cJSON_GetObjectItem(all, "identities"), i % 2);
        const char *text = member_text(step, "wire_json");
        struct handshake_message message;
        struct identity_key *key = NULL;
        struct json_error error;
        uint8_t bytes[32];

        member_hex(id, "ed25519_public", bytes);
        CHECK_STATUS(identity_key_new(&alloc, bytes, &key), OK);
        CHECK_STATUS(
            json_scan(&doc, text, strlen(text), &limits, HANDSHAKE_RECORD_DEPTH, &error), OK);
        CHECK_STATUS(handshake_message_read(&doc, doc.items, &message), OK);
        CHECK_U64(message.step, (unsigned)i + 1);
        CHECK_STATUS(handshake_message_verify(&canonical, &message, key), OK);
        message.signature[i] ^= 1;
        CHECK_STATUS(handshake_message_verify(&canonical, &message, key), EREFUSED);
        identity_key_free(key);
    }
    end(&two);
    cJSON_Delete(all);
}

static void test_both_begin(void)
{
    struct two two;

    begin(&two);
    CHECK_U64(start(&two.a), HANDSHAKE_SAY);
    CHECK_U64(start(&two.b), HANDSHAKE_SAY);
    CHECK_U64(hear(&two.a, &two.b, false), HANDSHAKE_IGNORED); /* "node-a" is the smaller */
    end(&two);

    begin(&two);
    CHECK_U64(start(&two.a), HANDSHAKE_SAY);
    CHECK_U64(start(&two.b), HANDSHAKE_SAY);
    CHECK_U64(hear(&two.b, &two.a, false), HANDSHAKE_SAY);
    for (unsigned step = 3; step <= 6; step++) {
        struct side *from = step % 2 == 0 ? &two.a : &two.b;

        hear(step % 2 == 0 ? &two.b : &two.a, from, step > 5);
    }
    CHECK_U64(hear(&two.a, &two.b, true), HANDSHAKE_DONE);
    CHECK(two.a.handshake.initiator && !two.b.handshake.initiator);
    CHECK_BYTES(two.a.handshake.keys.secret, 32, two.b.handshake.keys.secret, 32);
    end(&two);
}

/* ---- Meddling ---- */

static void test_every_byte_of_every_step(void)
{
    for (unsigned step = 1; step <= 6; step++) {
        struct two two;
        struct side before;
        size_t taken = 0;

        begin(&two);
        carry(&two, step);
        before = step % 2 == 0 ? two.a : two.b;
        for (size_t i = 0; i < (step % 2 == 0 ? two.b.len : two.a.len); i += 3) {
            struct side copy = before, from = step % 2 == 0 ? two.b : two.a;
            const struct json_limits limits = {.depth_max = 16, .bytes_max = 1 << 20};
            struct handshake_message message;
            struct json_error error;

            from.text[i] ^= 1;
            if (json_scan(&doc, from.text, from.len, &limits, HANDSHAKE_RECORD_DEPTH,
                          &error) != PARLEY_OK ||
                handshake_message_read(&doc, doc.items, &message) != PARLEY_OK)
                continue;
            taken += hear(&copy, &from, step >= 5) != HANDSHAKE_FAILED;
        }
        /* Only the nulls' keys, `type` and step 1's session_id are not looked at here; the id
         * is what step 4 signs. */
        CHECK(taken <= 60);
        end(&two);
    }
}

/* The id of the session is proven by step 4 at the latest. */
static void test_session_id_swapped(void)
{
    struct two two;
    char own[ENVELOPE_SESSION_MAX + 1], other[ENVELOPE_SESSION_MAX + 1];
    char said[128], put[128];

    begin(&two);
    CHECK_U64(start(&two.a), HANDSHAKE_SAY);
    snprintf(own, sizeof(own), "%s", two.a.handshake.keys.session_id);
    snprintf(other, sizeof(other), "%s", own);
    other[0] = other[0] == 'f' ? 'e' : 'f';
    replace(&two.a, own, other);
    CHECK_U64(hear(&two.b, &two.a, false), HANDSHAKE_SAY);
    replace(&two.b, other, own);
    CHECK_U64(hear(&two.a, &two.b, false), HANDSHAKE_SAY);
    /* the envelopes', which are not signed */
    snprintf(said, sizeof(said), "\"recipient_id\":\"node-b\",\"session_id\":\"%s", own);
    snprintf(put, sizeof(put), "\"recipient_id\":\"node-b\",\"session_id\":\"%s", other);
    replace(&two.a, said, put);
    CHECK_U64(hear(&two.b, &two.a, false), HANDSHAKE_SAY);
    snprintf(said, sizeof(said), "\"recipient_id\":\"node-a\",\"session_id\":\"%s", other);
    snprintf(put, sizeof(put), "\"recipient_id\":\"node-a\",\"session_id\":\"%s", own);
    replace(&two.b, said, put);
    check_error(&two.a, &two.b, false, "SESSION_NOT_FOUND");
    end(&two);
}

static void test_wrong_identity(void)
{
    struct two two;
    struct side stranger;

    begin(&two);
    side_begin(&stranger, "node-a", "node-b", 77); /* calls itself node-a */
    trust(&stranger, &two.b);
    CHECK_U64(start(&stranger), HANDSHAKE_SAY);
    check_error(&two.b, &stranger, false, "INVALID_SIGNATURE");
    handshake_fini(&stranger.handshake);
    identity_key_free(stranger.peer_key);
    identity_free(stranger.identity);
    end(&two);
}

/* Step 1 was said to node-c, and is carried to node-b. */
static void test_bound_to_its_recipient(void)
{
    uint8_t transcript[32];
    struct two two;

    begin(&two);
    two.a.parties.peer_id = "node-c";
    CHECK_U64(start(&two.a), HANDSHAKE_SAY);
    replace(&two.a, "node-c", "node-b"); /* not signed */
    CHECK_U64(hear(&two.b, &two.a, false), HANDSHAKE_SAY);
    replace(&two.b, "\"sender_id\":\"node-b\"", "\"sender_id\":\"node-c\"");
    check_error(&two.a, &two.b, false, "INVALID_SIGNATURE");
    end(&two);

    /* With a key trusted for both names T differs, and with it every proof. */
    begin(&two);
    carry(&two, 2);
    memcpy(transcript, two.b.handshake.transcript, 32);
    end(&two);
    begin(&two);
    two.a.parties.peer_id = "node-c";
    two.b.parties.own_id = "node-c";
    carry(&two, 2);
    CHECK(memcmp(transcript, two.b.handshake.transcript, 32) != 0);
    end(&two);
}

/* A step 3 of another handshake of the same two: signed, and over another T. */
static void test_replayed_response(void)
{
    struct two two;
    struct side replayed;

    begin(&two);
    carry(&two, 3);
    replayed = two.a;
    end(&two);
    begin(&two);
    two.b.random.challenge[0] ^= 1;
    carry(&two, 2);
    check_error(&two.b, &replayed, false, "CHALLENGE_INVALID");
    end(&two);
}

static void test_out_of_turn(void)
{
    struct two two;

    begin(&two);
    carry(&two, 3);
    two.b.handshake.state = HANDSHAKE_SESSION_ESTABLISHED;
    check_error(&two.b, &two.a, false, "INVALID_STATE"); /* 3 again */
    end(&two);
    begin(&two);
    carry(&two, 2);
    two.b.handshake.peer_number = 0;
    check_error(&two.a, &two.a, false, "INVALID_STATE"); /* its own step 1, sent back */
    end(&two);
    begin(&two);
    carry(&two, 3);
    two.b.handshake.peer_number = 7;
    check_error(&two.b, &two.a, false, "SEQUENCE_ERROR");
    end(&two);
}

static void test_last_steps_only_sealed(void)
{
    struct two two;

    begin(&two);
    carry(&two, 5);
    check_error(&two.b, &two.a, false, "ENCRYPTION_NOT_READY");
    end(&two);
    begin(&two);
    carry(&two, 6);
    check_error(&two.a, &two.b, false, "ENCRYPTION_NOT_READY");
    end(&two);
}

/* Signed by who it should be, and of no use: the secret would be nobody's. */
static void test_small_order(void)
{
    struct two two;

    begin(&two);
    CHECK(crypto_x25519_public(two.a.random.ephemeral, two.a.handshake.public_key));
    {
        static const uint8_t zero[32];
        char own[64] = "", none[64] = "";
        struct handshake_fields fields = {.step = STEP_INIT,
                                          .sender_id = "node-a",
                                          .recipient_id = "node-b",
                                          .session_id = "s",
                                          .timestamp_us = WALL,
                                          .nonce = two.a.random.nonce};
        struct json_out out = {.buffer = two.a.text, .capacity = sizeof(two.a.text)};
        char *at;

        CHECK_U64(start(&two.a), HANDSHAKE_SAY);
        base64_encode((const char *)two.a.handshake.public_key, 32, own);
        base64_encode((const char *)zero, 32, none);
        at = strstr(two.a.handshake.first, own);
        for (size_t i = 0; at != NULL && none[i] != '\0'; i++)
            at[i] = none[i];
        fields.payload = two.a.handshake.first;
        fields.payload_len = two.a.handshake.first_len;
        CHECK_STATUS(handshake_message_write(&out, &canonical, two.a.identity, &fields), OK);
        two.a.len = out.len;
    }
    check_error(&two.b, &two.a, false, "AUTHENTICATION_FAILED");
    end(&two);
}

static void test_expires(void)
{
    struct two two;

    begin(&two);
    carry(&two, 2);
    CHECK(!handshake_expire(&two.a.handshake, NOW + HANDSHAKE_NS_MAX - 1));
    CHECK_U64(hear_at(&two.a, two.b.text, two.b.len, false, NOW + HANDSHAKE_NS_MAX),
              HANDSHAKE_FAILED);
    CHECK_TEXT(handshake_state_name(two.a.handshake.state), "EXPIRED");
    CHECK_TEXT(handshake_error_name(two.a.handshake.error), "CHALLENGE_EXPIRED");
    end(&two);
}

static void test_wrong_version(void)
{
    struct two two;

    begin(&two);
    CHECK_U64(start(&two.a), HANDSHAKE_SAY);
    replace(&two.a, "\"version\":\"1.1\"", "\"version\":\"1.2\"");
    check_error(&two.b, &two.a, false, "INVALID_SIGNATURE"); /* it is signed */
    end(&two);
}

static const struct check_test tests[] = {
    {"six steps lead to the same keys", test_six_steps},
    {"the states on the way", test_states},
    {"our payloads are canonical", test_payloads_are_canonical},
    {"T, from its definition", test_transcript},
    {"[six_step] is read and verified", test_six_step_vector},
    {"both begin: the smaller id goes on", test_both_begin},
    {"bytes changed in every step", test_every_byte_of_every_step},
    {"the session's id is bound", test_session_id_swapped},
    {"an identity that is not trusted", test_wrong_identity},
    {"what was said to another node", test_bound_to_its_recipient},
    {"a response of another handshake", test_replayed_response},
    {"steps out of turn", test_out_of_turn},
    {"steps 5 and 6 unsealed", test_last_steps_only_sealed},
    {"a key of small order", test_small_order},
    {"it takes 60 s at most", test_expires},
    {"another version", test_wrong_version},
};

CHECK_MAIN("handshake", tests)
