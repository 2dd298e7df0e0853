/* SPDX-License-Identifier: Apache-2.0
 *
 * Both payload encryptions of older peers: their vectors, there and back, and what is refused.
 */
#include "peers/identity.h"
#include "peers/payload_crypt.h"
#include "test/check.h"
#include "test/peers/vector_members.h"

static struct alloc alloc;
static struct crypto crypto;
static struct json_doc doc;

static void begin(void)
{
    alloc_init(&alloc, NULL);
    json_init(&doc, &alloc);
    CHECK_STATUS(crypto_init(&crypto), OK);
}

static void end(void)
{
    json_fini(&doc);
    crypto_fini(&crypto);
}

static const uint8_t nonce[PAYLOAD_NONCE_BYTES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

/* Decrypts a payload's text, which is copied to exactly its size. */
static parley_status decrypt(const char *text, const uint8_t key[32], enum payload_form form,
                             char *plain, size_t plain_len)
{
    const struct json_limits limits = {.depth_max = 8, .bytes_max = 1 << 20};
    struct payload_sealed sealed;
    struct json_error error;
    parley_status status;
    char *buffer;
    size_t len = 0;

    CHECK_STATUS(json_scan(&doc, text, strlen(text), &limits, 3, &error), OK);
    status = payload_sealed_read(&doc, doc.items, &sealed);
    if (status != PARLEY_OK || sealed.form != form)
        return PARLEY_EPROTO;
    buffer = malloc(payload_buffer_bytes(&sealed));
    status = payload_decrypt(&crypto, key, &doc, &sealed, buffer, &len);
    if (status == PARLEY_OK) {
        CHECK_U64(strlen(buffer), len);
        snprintf(plain, plain_len, "%s", buffer);
    }
    free(buffer);
    return status;
}

static char *text_of(const cJSON *object, const char *key)
{
    return cJSON_PrintUnformatted(cJSON_GetObjectItem(object, key));
}

static void identity_key_of(const cJSON *vector, uint8_t key[32])
{
    uint8_t shared[32], expected[32];

    member_hex(vector, "x25519_shared", shared);
    CHECK(payload_key_by_identity(&crypto, shared, key));
    CHECK_BYTES(key, 32, expected, member_hex(vector, "key", expected));
}

static void session_key_of(const cJSON *all, uint8_t key[32])
{
    const cJSON *vector = cJSON_GetObjectItem(all, "e2e_session_keys");
    uint8_t own[32], other[32], expected[32];

    member_hex(vector, "ephemeral_private_b", own);
    member_hex(vector, "ephemeral_public_a", other);
    CHECK_STATUS(payload_key_by_session(&crypto, own, other, key), OK);
    CHECK_BYTES(key, 32, expected, member_hex(vector, "encryption_key", expected));
}

static void test_encrypted_payload(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector = cJSON_GetObjectItem(all, "encrypted_payload");
    const cJSON *twelve = cJSON_GetObjectItem(vector, "also_opens_with_12_byte_nonce");
    char *payload = text_of(vector, "payload"), buffer[1024], plain[256];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};
    const char *text = member_text(vector, "plaintext_utf8");
    uint8_t key[32], expected[128], made[128];
    cJSON *parsed, *again;

    begin();
    identity_key_of(vector, key);
    CHECK_STATUS(decrypt(payload, key, PAYLOAD_BY_IDENTITY, plain, sizeof(plain)), OK);
    CHECK_TEXT(plain, text);
    CHECK(payload_encrypt(&crypto, PAYLOAD_BY_IDENTITY, key, nonce, NULL, text, strlen(text),
                          &out));
    buffer[out.len] = '\0';
    parsed = cJSON_Parse(buffer);
    again = cJSON_GetObjectItem(parsed, "_encrypted_payload");
    CHECK_BYTES(made, member_base64(again, "ciphertext", made), expected,
                member_hex(twelve, "ciphertext_and_tag", expected));
    CHECK_STATUS(decrypt(buffer, key, PAYLOAD_BY_IDENTITY, plain, sizeof(plain)), OK);
    CHECK_TEXT(plain, text);
    end();
    cJSON_free(payload);
    cJSON_Delete(parsed);
    cJSON_Delete(all);
}

/* Both sides come to the vector's secret from their identities. */
static void test_identities_agree(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector = cJSON_GetObjectItem(all, "encrypted_payload");
    const cJSON *ids = cJSON_GetObjectItem(all, "identities");
    uint8_t seed[32], other[32], shared[32], expected[32];
    struct identity *identity = NULL;

    begin();
    member_hex(cJSON_GetArrayItem(ids, 0), "seed", seed);
    member_hex(cJSON_GetArrayItem(ids, 1), "ed25519_public", other);
    CHECK_STATUS(identity_new(&alloc, seed, &identity), OK);
    CHECK_STATUS(identity_shared(identity, other, shared), OK);
    CHECK_BYTES(shared, 32, expected, member_hex(vector, "x25519_shared", expected));
    identity_free(identity);
    end();
    cJSON_Delete(all);
}

static void test_e2e_message(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector = cJSON_GetObjectItem(all, "e2e_message");
    char *payload = text_of(vector, "payload_in_peer_service"), plain[256], buffer[1024];
    struct json_out out = {.buffer = buffer, .capacity = sizeof(buffer)};
    uint8_t key[32], other_key[32] = {1};

    begin();
    session_key_of(all, key);
    CHECK_STATUS(decrypt(payload, key, PAYLOAD_BY_SESSION, plain, sizeof(plain)), OK);
    CHECK_TEXT(plain, member_text(vector, "plaintext_utf8"));
    CHECK_STATUS(decrypt(payload, other_key, PAYLOAD_BY_SESSION, plain, sizeof(plain)),
                 EREFUSED);
    CHECK(
        payload_encrypt(&crypto, PAYLOAD_BY_SESSION, key, nonce, "s-1", "{\"a\":1}", 7, &out));
    buffer[out.len] = '\0';
    CHECK_CONTAINS(buffer, "{\"_e2e_encrypted\":true,\"session_id\":\"s-1\",\"data\":\"");
    CHECK_STATUS(decrypt(buffer, key, PAYLOAD_BY_SESSION, plain, sizeof(plain)), OK);
    CHECK_TEXT(plain, "{\"a\":1}");
    end();
    cJSON_free(payload);
    cJSON_Delete(all);
}

/* Every length around the blocks of base64 and of the cipher. */
static void test_every_length(void)
{
    char payload[200], plain[256];
    const uint8_t key[32] = {7};

    begin();
    for (size_t len = 0; len < sizeof(payload); len++) {
        size_t room = payload_encrypted_bytes(len);
        struct json_out out = {.buffer = malloc(room), .capacity = room};

        memset(payload, 'x', len);
        payload[len] = '\0';
        CHECK(payload_encrypt(&crypto, PAYLOAD_BY_SESSION, key, nonce,
                              "00000000-0000-4000-8000-000000000000", payload, len, &out));
        out.buffer[out.len] = '\0';
        CHECK_STATUS(decrypt(out.buffer, key, PAYLOAD_BY_SESSION, plain, sizeof(plain)), OK);
        CHECK_TEXT(plain, payload);
        free(out.buffer);
    }
    end();
}

static void test_no_room_no_plaintext(void)
{
    static const char secret[] = "{\"secret\":\"hunter2 hunter2 hunter2\"}";
    const uint8_t key[32] = {7};
    char buffer[256];

    begin();
    for (size_t room = 0; room < 120; room++) {
        struct json_out out = {.buffer = buffer, .capacity = room};

        memset(buffer, 0, sizeof(buffer));
        if (payload_encrypt(&crypto, PAYLOAD_BY_IDENTITY, key, nonce, NULL, secret,
                            strlen(secret), &out))
            continue;
        for (size_t i = 0; i + 7 < sizeof(buffer); i++)
            CHECK(memcmp(buffer + i, "hunter2", 7) != 0);
    }
    end();
}

static void test_malformed(void)
{
    static const char *const refused[] = {
        "{\"_e2e_encrypted\":true,\"session_id\":\"s\",\"data\":\"AAAA\",\"nonce\":\"AAAA\"}",
        "{\"_e2e_encrypted\":true,\"session_id\":\"s\",\"data\":\"!\",\"nonce\":"
        "\"AAECAwQFBgcICQoL\"}",
        "{\"_e2e_encrypted\":true,\"session_id\":\"s\",\"data\":\"\",\"nonce\":"
        "\"AAECAwQFBgcICQoL\"}",
    };
    static const char *const none[] = {
        "{\"_e2e_encrypted\":true}",
        "{\"_e2e_encrypted\":true,\"data\":1,\"nonce\":\"\"}",
        "{\"_encrypted_payload\":{}}",
        "{\"_encrypted_payload\":{\"ciphertext\":\"\"}}",
    };
    static const char *const plain_ones[] = {"{}", "{\"_e2e_encrypted\":false}",
                                             "{\"_encrypted_payload\":null}", "{\"a\":1}"};
    const struct json_limits limits = {.depth_max = 8, .bytes_max = 1 << 20};
    const uint8_t key[32] = {7};
    struct payload_sealed sealed;
    struct json_error error;
    char plain[64];

    begin();
    for (size_t i = 0; i < 3; i++)
        CHECK_STATUS(decrypt(refused[i], key, PAYLOAD_BY_SESSION, plain, sizeof(plain)),
                     EREFUSED);
    for (size_t i = 0; i < 4; i++) {
        json_scan(&doc, none[i], strlen(none[i]), &limits, 3, &error);
        CHECK_STATUS(payload_sealed_read(&doc, doc.items, &sealed), EPROTO);
        json_scan(&doc, plain_ones[i], strlen(plain_ones[i]), &limits, 3, &error);
        CHECK_STATUS(payload_sealed_read(&doc, doc.items, &sealed), OK);
        CHECK_U64(sealed.form, PAYLOAD_PLAIN);
    }
    end();
}

static const struct check_test tests[] = {
    {"[encrypted_payload], with nonces of 16 and 12 bytes", test_encrypted_payload},
    {"[encrypted_payload], its secret from two identities", test_identities_agree},
    {"[e2e_message]", test_e2e_message},
    {"every length there and back", test_every_length},
    {"without room nothing of the payload is written", test_no_room_no_plaintext},
    {"malformed payloads", test_malformed},
};

CHECK_MAIN("payload encryption", tests)
