/* SPDX-License-Identifier: Apache-2.0
 *
 * The three-way handshake in both roles: against its vectors, with itself, and meddled with.
 */
#include "peers/canonical.h"
#include "peers/handshake_old.h"
#include "peers/payload_crypt.h"
#include "test/check.h"
#include "test/peers/vector_members.h"

static struct alloc alloc;
static struct crypto crypto;
static struct json_doc doc;

/** "a" initiates, "b" responds; their identities are the vectors'. */
struct two {
    struct identity *a, *b;
    struct identity_key *key_a, *key_b;
    struct handshake_old_parties as_a, as_b;
    struct handshake_old_random random_a, random_b;
    struct handshake_old handshake;
    struct old_session session_a, session_b;
    char session_id[ENVELOPE_SESSION_MAX + 1];
    char text[HANDSHAKE_OLD_TEXT_MAX + 1]; /* what was said last */
};

static void identity_of(const cJSON *all, int index, struct identity **identity,
                        struct identity_key **key)
{
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItem(all, "identities"), index);
    uint8_t seed[32];

    member_hex(item, "seed", seed);
    CHECK_STATUS(identity_new(&alloc, seed, identity), OK);
    CHECK_STATUS(identity_key_new(&alloc, identity_public(*identity), key), OK);
}

static void begin(struct two *two)
{
    cJSON *all = vectors_load();

    memset(two, 0, sizeof(*two));
    alloc_init(&alloc, NULL);
    json_init(&doc, &alloc);
    CHECK_STATUS(crypto_init(&crypto), OK);
    identity_of(all, 0, &two->a, &two->key_a);
    identity_of(all, 1, &two->b, &two->key_b);
    two->as_a = (struct handshake_old_parties){&crypto, two->a, two->key_b};
    two->as_b = (struct handshake_old_parties){&crypto, two->b, two->key_a};
    memset(&two->random_a, 0xab, sizeof(two->random_a));
    memset(two->random_a.ephemeral, 0x41, 32); /* [e2e_session_keys] */
    memset(two->random_b.ephemeral, 0x42, 32);
    cJSON_Delete(all);
}

static void end(struct two *two)
{
    identity_free(two->a);
    identity_free(two->b);
    identity_key_free(two->key_a);
    identity_key_free(two->key_b);
    crypto_fini(&crypto);
    json_fini(&doc);
}

static const struct json_item *scan(const char *text)
{
    const struct json_limits limits = {.depth_max = 8, .bytes_max = 1 << 20};
    struct json_error error;

    CHECK_STATUS(json_scan(&doc, text, strlen(text), &limits, 2, &error), OK);
    return doc.items;
}

static struct json_out into(struct two *two)
{
    memset(two->text, 0, sizeof(two->text));
    return (struct json_out){.buffer = two->text, .capacity = HANDSHAKE_OLD_TEXT_MAX};
}

static void start(struct two *two)
{
    struct json_out out = into(two);

    CHECK(handshake_old_start(&two->handshake, &two->as_a, &two->random_a, &out));
}

/* What was said is copied first: the answer is written over it. */
static parley_status answer(struct two *two)
{
    char heard[HANDSHAKE_OLD_TEXT_MAX + 1];
    struct json_out out;

    memcpy(heard, two->text, sizeof(heard));
    out = into(two);
    return handshake_old_answer(&two->as_b, &two->random_b, &doc, scan(heard), &two->session_b,
                                two->session_id, &out);
}

static parley_status finish(struct two *two)
{
    char heard[HANDSHAKE_OLD_TEXT_MAX + 1];
    struct json_out out;

    memcpy(heard, two->text, sizeof(heard));
    out = into(two);
    return handshake_old_finish(&two->handshake, &two->as_a, &doc, scan(heard),
                                UINT64_C(1700000000000000), &two->session_a, &out);
}

static void test_both_roles(void)
{
    cJSON *all = vectors_load();
    const cJSON *keys = cJSON_GetObjectItem(all, "e2e_session_keys");
    uint8_t expected[32];
    struct two two;
    char id[37];

    begin(&two);
    start(&two);
    CHECK_CONTAINS(two.text, "\"e2e_enabled\":true");
    snprintf(id, sizeof(id), "%s", two.handshake.session_id);
    CHECK_STATUS(answer(&two), OK);
    CHECK_TEXT(two.session_id, id); /* for the outer envelope */
    CHECK_CONTAINS(two.text, id);
    CHECK_CONTAINS(two.text, two.session_b.id);
    CHECK_STATUS(finish(&two), OK);
    CHECK_CONTAINS(two.text, "\"confirm\":true");
    CHECK_TEXT(two.session_a.id, two.session_b.id);
    CHECK_BYTES(two.session_a.key, 32, expected, member_hex(keys, "encryption_key", expected));
    CHECK_BYTES(two.session_b.key, 32, expected, 32);
    end(&two);
    cJSON_Delete(all);
}

/* [handshake_v10_challenge_response] was made by the first identity. */
static void test_challenge_response(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector = cJSON_GetObjectItem(all, "handshake_v10_challenge_response");
    struct two two;

    begin(&two);
    start(&two); /* its challenge is the vector's */
    CHECK_TEXT(two.handshake.challenge, member_text(vector, "challenge"));
    two.as_b.identity = two.a;
    two.as_b.peer_key = two.key_a;
    CHECK_STATUS(answer(&two), OK);
    CHECK_CONTAINS(two.text, member_text(vector, "signature_b64"));
    end(&two);
    cJSON_Delete(all);
}

/* The transcript of another layer of the old program: its envelopes' signatures, and its ways
 * to prove and to agree. */
static void test_three_way_vector(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector = cJSON_GetObjectItem(all, "three_way_e2e_crypto");
    const cJSON *steps = cJSON_GetObjectItem(vector, "steps");
    uint8_t challenge[32], expected[32], digest[32], signature[66];
    struct two two;

    begin(&two);
    for (int i = 0; i < 3; i++) {
        const cJSON *step = cJSON_GetArrayItem(steps, i);
        const char *text = member_text(step, "canonical_utf8");

        member_base64(step, "signature_b64", signature);
        CHECK(identity_verify(i == 1 ? two.key_b : two.key_a, text, strlen(text), signature));
    }
    member_hex(vector, "challenge", challenge);
    {
        const struct crypto_bytes parts[] = {{challenge, 32}, {identity_public(two.b), 32}};

        CHECK(crypto_sha256(&crypto, parts, 2, digest));
    }
    CHECK_BYTES(digest, 32, expected, member_hex(vector, "expected", expected));
    end(&two);
    cJSON_Delete(all);
}

static void replace(struct two *two, const char *from, const char *to)
{
    char *at = strstr(two->text, from);

    if (!CHECK(at != NULL && strlen(from) == strlen(to)))
        return;
    for (; *to != '\0'; to++)
        *at++ = *to;
}

static void test_meddled_ack(void)
{
    static const char *const changes[][2] = {
        {"\"e2e_accepted\":true", "\"e2e_accepted\":null"},
        {"\"public_key\":\"2", "\"public_key\":\"3"},
        {"\"e2e_ephemeral_key\":\"E", "\"e2e_ephemeral_key\":\"!"},
        {"{\"session_id\":\"", "{\"session_iD\":\""},
        {"\"challenge_response\"", "\"challenge_responsE\""},
    };

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        struct two two;

        begin(&two);
        start(&two);
        CHECK_STATUS(answer(&two), OK);
        replace(&two, changes[i][0], changes[i][1]);
        CHECK(finish(&two) != PARLEY_OK);
        end(&two);
    }
}

/* Who has not the key cannot meet the challenge, whatever public key it names. */
static void test_challenge_unmet(void)
{
    struct two two;

    begin(&two);
    start(&two);
    two.as_b.identity = two.a;
    CHECK_STATUS(answer(&two), OK);
    CHECK_STATUS(finish(&two), EREFUSED);
    end(&two);
}

static void test_stranger(void)
{
    struct two two;

    begin(&two);
    start(&two);
    two.as_b.peer_key = two.key_b; /* trusts another key for the initiator */
    CHECK_STATUS(answer(&two), EREFUSED);
    end(&two);
}

static const struct check_test tests[] = {
    {"both roles lead to [e2e_session_keys]", test_both_roles},
    {"[handshake_v10_challenge_response]", test_challenge_response},
    {"[three_way_e2e_crypto]", test_three_way_vector},
    {"an acknowledgement that was changed", test_meddled_ack},
    {"a challenge that is not met", test_challenge_unmet},
    {"a key that is not trusted", test_stranger},
};

CHECK_MAIN("three-way handshake", tests)
