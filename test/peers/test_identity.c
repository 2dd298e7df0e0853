/* SPDX-License-Identifier: Apache-2.0
 *
 * Identities against what the older implementation computed, and against the keys that an
 * attacker would like to be trusted.
 */
#include <cjson/cJSON.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peers/base64.h"
#include "peers/identity.h"
#include "test/check.h"
#include "test/runtime/fail_alloc.h"

static struct alloc alloc;
static cJSON *vectors;
static struct identity *ours[2]; /* of the vectors' seeds */
static struct identity_key *keys[2];

/* ---- Setting up ---- */

static const cJSON *member(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static const char *text_of(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(member(object, key));

    return CHECK(text != NULL) ? text : "";
}

static const uint8_t *hex_of(const cJSON *object, const char *key, uint8_t bytes[32])
{
    const char *text = text_of(object, key);

    CHECK(identity_from_hex(text, strlen(text), bytes));
    return bytes;
}

static bool begin(void)
{
    static char text[256 * 1024];
    FILE *file = fopen("test/vectors.json", "rb");
    size_t len = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
    uint8_t seed[32];

    if (file != NULL)
        fclose(file);
    text[len] = '\0';
    alloc_init(&alloc, NULL);
    vectors = cJSON_Parse(text);
    if (!CHECK(vectors != NULL))
        return false;
    for (int i = 0; i < 2; i++) {
        hex_of(cJSON_GetArrayItem(member(vectors, "identities"), i), "seed", seed);
        if (!CHECK_STATUS(identity_new(&alloc, seed, &ours[i]), OK) ||
            !CHECK_STATUS(identity_key_new(&alloc, identity_public(ours[i]), &keys[i]), OK))
            return false;
    }
    return true;
}

static void end(void)
{
    for (int i = 0; i < 2; i++) {
        identity_free(ours[i]);
        identity_key_free(keys[i]);
        ours[i] = NULL;
        keys[i] = NULL;
    }
    cJSON_Delete(vectors);
    vectors = NULL;
}

/* ---- The vectors ---- */

static void seeds_give_the_public_keys(void)
{
    const cJSON *entry;
    uint8_t expected[32];
    int i = 0;

    if (begin()) {
        cJSON_ArrayForEach(entry, member(vectors, "identities"))
        {
            hex_of(entry, "ed25519_public", expected);
            CHECK_BYTES(identity_public(ours[i]), 32, expected, 32);
            CHECK_BYTES(identity_key_bytes(keys[i]), 32, expected, 32);
            i++;
        }
        CHECK_U64(i, 2);
    }
    end();
}

/* What OpenSSL derives from a private and a public key on X25519. */
static void plain_x25519(const uint8_t private[32], const uint8_t public[32], uint8_t ret[32])
{
    EVP_PKEY *mine = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private, 32);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public, 32);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(mine, NULL);
    size_t len = 32;

    CHECK(EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, theirs) == 1 &&
          EVP_PKEY_derive(ctx, ret, &len) == 1);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(mine);
    EVP_PKEY_free(theirs);
}

/* Both maps: our private half meets the peer's mapped public half, and the other way. */
static void both_maps_to_x25519_hold(void)
{
    uint8_t expected[32], shared[32], mapped[2][2][32];
    const cJSON *entry;
    int i = 0;

    if (begin()) {
        hex_of(member(vectors, "encrypted_payload"), "x25519_shared", expected);
        CHECK_STATUS(identity_shared(ours[0], identity_public(ours[1]), shared), OK);
        CHECK_BYTES(shared, 32, expected, 32);
        CHECK_STATUS(identity_shared(ours[1], identity_public(ours[0]), shared), OK);
        CHECK_BYTES(shared, 32, expected, 32);
        cJSON_ArrayForEach(entry, member(vectors, "identities"))
        {
            hex_of(entry, "x25519_private_from_ed25519", mapped[i][0]);
            hex_of(entry, "x25519_public_from_ed25519", mapped[i][1]);
            i++;
        }
        plain_x25519(mapped[0][0], mapped[1][1], shared);
        CHECK_BYTES(shared, 32, expected, 32);
        plain_x25519(mapped[0][0], mapped[0][1], expected); /* with ourselves */
        CHECK_STATUS(identity_shared(ours[0], identity_public(ours[0]), shared), OK);
        CHECK_BYTES(shared, 32, expected, 32);
    }
    end();
}

/* Signs `text` with the first identity; Ed25519 gives the one signature. */
static void check_signed(const char *text, const char *signature_b64)
{
    uint8_t signature[64];
    char expected[66] = {0};
    size_t expected_len = 0;

    CHECK_STATUS(identity_sign(ours[0], text, strlen(text), signature), OK);
    CHECK(strlen(signature_b64) == 88 &&
          base64_decode(signature_b64, 88, expected, &expected_len));
    CHECK_BYTES(signature, 64, expected, expected_len);
    CHECK(identity_verify(keys[0], text, strlen(text), signature));
    CHECK(!identity_verify(keys[1], text, strlen(text), signature));
    CHECK(!identity_verify(keys[0], text, strlen(text) - 1, signature));
}

static void the_older_signatures_come_out(void)
{
    const cJSON *entry;
    size_t count = 0;

    if (begin()) {
        cJSON_ArrayForEach(entry, member(vectors, "signed_messages"))
        {
            check_signed(text_of(entry, "canonical_utf8"), text_of(entry, "signature_b64"));
            count++;
        }
        CHECK(count > 0);
        entry = member(vectors, "sign_bytes");
        check_signed(text_of(entry, "canonical_utf8"), text_of(entry, "signature_b64"));
        entry = member(vectors, "handshake_v10_challenge_response");
        check_signed(text_of(entry, "canonical_utf8"), text_of(entry, "signature_b64"));
    }
    end();
}

static void the_older_clients_signature_verifies(void)
{
    uint8_t halves[2][32], signature[64];
    const char *text, *hex;
    const cJSON *entry;

    if (begin()) {
        entry = member(vectors, "ws_client_signature");
        text = text_of(entry, "signed_bytes_utf8");
        hex = text_of(entry, "signature_hex");
        CHECK(strlen(hex) == 128 && identity_from_hex(hex, 64, halves[0]) &&
              identity_from_hex(hex + 64, 64, halves[1]));
        memcpy(signature, halves, sizeof(signature));
        CHECK(identity_verify(keys[0], text, strlen(text), signature));
    }
    end();
}

/* ---- What must not verify ---- */

static void every_bit_of_a_signature_counts(void)
{
    static const char text[] = "{\"payload\":{\"text\":\"hi\"}}";
    char changed[sizeof(text)];
    uint8_t signature[64];
    size_t taken = 0;

    if (begin()) {
        CHECK_STATUS(identity_sign(ours[0], text, sizeof(text), signature), OK);
        for (size_t bit = 0; bit < 8 * sizeof(signature); bit++) {
            signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
            taken += identity_verify(keys[0], text, sizeof(text), signature);
            signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t bit = 0; bit < 8 * sizeof(text); bit += 3) {
            memcpy(changed, text, sizeof(text));
            changed[bit / 8] ^= (char)(1 << bit % 8);
            taken += identity_verify(keys[0], changed, sizeof(text), signature);
        }
        CHECK_U64(taken, 0);
        CHECK(identity_verify(keys[0], text, sizeof(text), signature));
        CHECK(ERR_peek_error() == 0); /* which TLS on the same thread would trip over */
    }
    end();
}

/* Adds L, the group's order, to the second half: the same equation, another signature. */
static void a_second_form_of_a_signature_is_refused(void)
{
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a,       0x63,
                                      0x12, 0x58, 0xd6, 0x9c, 0xf7,       0xa2,
                                      0xde, 0xf9, 0xde, 0x14, [31] = 0x10};
    uint8_t signature[64];
    unsigned carry = 0;

    if (begin()) {
        CHECK_STATUS(identity_sign(ours[0], "x", 1, signature), OK);
        for (size_t i = 0; i < 32; i++) {
            carry += signature[32 + i] + order[i];
            signature[32 + i] = (uint8_t)carry;
            carry >>= 8;
        }
        CHECK(!identity_verify(keys[0], "x", 1, signature));
    }
    end();
}

/* ---- Which keys are acceptable ---- */

#define FF30   "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define ZERO30 "000000000000000000000000000000000000000000000000000000000000"

static const char *const unacceptable[] = {
    /* of order 1, 2, 4 and 8, with either sign */
    "01" ZERO30 "00",
    "01" ZERO30 "80",
    "ec" FF30 "7f",
    "ec" FF30 "ff",
    "00" ZERO30 "00",
    "00" ZERO30 "80",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    /* y from p on: second encodings of 0, 1, 3 and 18 */
    "ed" FF30 "7f",
    "ed" FF30 "ff",
    "ee" FF30 "7f",
    "ee" FF30 "ff",
    "f0" FF30 "7f",
    "ff" FF30 "7f",
    "ff" FF30 "ff",
};

static void small_order_and_second_encodings_are_refused(void)
{
    struct identity_key *key = NULL;
    uint8_t bytes[32], shared[32];

    if (begin()) {
        for (size_t i = 0; i < sizeof(unacceptable) / sizeof(unacceptable[0]); i++) {
            CHECK(identity_from_hex(unacceptable[i], 64, bytes));
            if (identity_key_acceptable(bytes) ||
                identity_key_new(&alloc, bytes, &key) != PARLEY_EINVAL ||
                identity_shared(ours[0], bytes, shared) != PARLEY_EINVAL)
                CHECK_TEXT(unacceptable[i], "(taken)"); /* says which one */
        }
        CHECK(key == NULL);
    }
    end();
}

/* Half of all y belong to no point. OpenSSL would take such a key and verify nothing. */
static void a_key_that_is_no_point_is_refused(void)
{
    struct check_random random = {check_seed(20261123)};
    size_t points = 0;

    if (begin()) {
        for (int round = 0; round < 400; round++) {
            struct identity_key *key = NULL;
            uint8_t bytes[32], shared[32];
            parley_status status;

            for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)check_random_next(&random);
            status = identity_key_new(&alloc, bytes, &key);
            points += status == PARLEY_OK;
            CHECK(status == PARLEY_OK || status == PARLEY_EINVAL);
            CHECK(identity_shared(ours[0], bytes, shared) == status);
            identity_key_free(key);
        }
        CHECK(points > 120 && points < 280);
        CHECK(ERR_peek_error() == 0);
    }
    end();
}

/* ---- As text ---- */

static void fingerprints_are_those_of_ssh(void)
{
    char text[IDENTITY_FINGERPRINT_CHARS + 1], hex[IDENTITY_KEY_HEX + 1];
    uint8_t bytes[32];

    if (begin()) { /* as `ssh-keygen -lf` prints the vectors' two keys */
        identity_fingerprint(identity_public(ours[0]), text);
        CHECK_TEXT(text, "SHA256:lbmsoA0yIEcEiVDRnMWuzm+nV+3ZEEpVIURqFoeSspg");
        identity_fingerprint(identity_public(ours[1]), text);
        CHECK_TEXT(text, "SHA256:ICWTIMFqIa1seHwfScxOpzmnnS/35sGRnuqEN5d9eOM");
        identity_hex(identity_public(ours[0]), hex);
        CHECK_TEXT(hex, "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8");
        CHECK(identity_from_hex(
            "03A107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531B8", 64, bytes));
        CHECK_BYTES(bytes, 32, identity_public(ours[0]), 32);
        CHECK(!identity_from_hex(hex, 63, bytes));
        CHECK(!identity_from_hex(
            "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531bg", 64, bytes));
    }
    end();
}

static void want_of_memory_is_a_status(void)
{
    struct fail_alloc state = {0};
    struct alloc failing = fail_alloc_init(&state, 0);
    struct identity *identity = NULL;
    struct identity_key *key = NULL;

    if (begin()) {
        CHECK_STATUS(identity_new(&failing, identity_public(ours[0]), &identity), ENOMEM);
        CHECK_STATUS(identity_key_new(&failing, identity_public(ours[0]), &key), ENOMEM);
        CHECK(identity == NULL && key == NULL);
        CHECK_U64(state.out, 0);
    }
    end();
}

static const struct check_test tests[] = {
    {"seeds give the public keys", seeds_give_the_public_keys},
    {"both maps to X25519 hold", both_maps_to_x25519_hold},
    {"the older signatures come out", the_older_signatures_come_out},
    {"the older client's signature verifies", the_older_clients_signature_verifies},
    {"every bit of a signature counts", every_bit_of_a_signature_counts},
    {"a second form of a signature is refused", a_second_form_of_a_signature_is_refused},
    {"keys of small order and second encodings are refused",
     small_order_and_second_encodings_are_refused},
    {"a key that is no point is refused", a_key_that_is_no_point_is_refused},
    {"fingerprints are those of ssh", fingerprints_are_those_of_ssh},
    {"want of memory is a status", want_of_memory_is_a_status},
};

CHECK_MAIN("identities", tests)
