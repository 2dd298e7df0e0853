/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealed frames: known answers made with another implementation, every bit of a frame, every
 * wrong turn of a counter, and that no nonce comes twice. Prints how fast they are.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "peers/seal.h"
#include "test/check.h"
#include "test/peers/vector_members.h"

#define TEXT "{\"type\":\"batch\"}"

static struct crypto crypto;

static const struct seal_keys keys = {
    .secret = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
               16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
    .session_id = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
};

static void make(struct seal *seal, enum seal_direction direction,
                 enum seal_transport transport, uint32_t epoch, bool sealing)
{
    CHECK_STATUS(seal_init(seal, &crypto, &keys, direction, transport, epoch, sealing), OK);
}

struct both {
    struct seal out, in;
};

static void begin(struct both *both)
{
    CHECK_STATUS(crypto_init(&crypto), OK);
    make(&both->out, SEAL_BY_INITIATOR, SEAL_WEBSOCKET, 1, true);
    make(&both->in, SEAL_BY_INITIATOR, SEAL_WEBSOCKET, 1, false);
}

static void end(struct both *both)
{
    seal_fini(&both->out);
    seal_fini(&both->in);
    crypto_fini(&crypto);
}

/* A frame of exactly its size: a sanitizer sees one byte too many. */
static uint8_t *seal_text(struct seal *seal, const char *text, size_t *ret_len)
{
    uint8_t *frame;

    *ret_len = strlen(text) + SEAL_OVERHEAD;
    frame = malloc(*ret_len);
    memcpy(frame + SEAL_HEADER_BYTES, text, *ret_len - SEAL_OVERHEAD);
    CHECK_STATUS(seal_close_frame(seal, frame, *ret_len - SEAL_OVERHEAD), OK);
    return frame;
}

static parley_status open_copy(struct seal *seal, bool gaps, const uint8_t *frame, size_t len,
                               const char *expected)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    char *text;
    size_t text_len;
    parley_status status;

    memcpy(copy, frame, len);
    status = seal_open_frame(seal, gaps, copy, len, &text, &text_len);
    if (status == PARLEY_OK) {
        CHECK_U64(text_len, strlen(text));
        CHECK_TEXT(text, expected);
    }
    free(copy);
    return status;
}

static void test_known_answers(void)
{
    static const char first[] = "010000000100000000c38e3769784e1d8dc48ae894b87f5ad9e8301ae2653"
                                "af295e68fd9e4198edb12";
    static const char later[] = "010000000700000005fc04aa17c3958831cd307c719c9e06ba4ba3c66effa"
                                "aefeef6db39167e5d4f03";
    uint8_t expected[64], frame[64];
    struct both both;
    struct seal http;
    size_t len;
    uint8_t *sealed;

    begin(&both);
    sealed = seal_text(&both.out, TEXT, &len);
    CHECK_BYTES(sealed, len, expected, vector_hex(first, expected));
    free(sealed);
    make(&http, SEAL_BY_RESPONDER, SEAL_HTTP, 7, true);
    memcpy(frame + SEAL_HEADER_BYTES, TEXT, sizeof(TEXT) - 1);
    CHECK_STATUS(seal_close_as(&http, 5, frame, strlen(TEXT)), OK);
    CHECK_BYTES(frame, strlen(TEXT) + SEAL_OVERHEAD, expected, vector_hex(later, expected));
    seal_fini(&http);
    end(&both);
}

static void test_opens_in_order(void)
{
    static const char *const texts[] = {"", "{}", TEXT, "{\"payload\":\"h\xc3\xa9\"}"};
    struct both both;

    begin(&both);
    for (size_t i = 0; i < 4; i++) {
        size_t len;
        uint8_t *frame = seal_text(&both.out, texts[i], &len);

        CHECK_STATUS(open_copy(&both.in, false, frame, len, texts[i]), OK);
        free(frame);
    }
    end(&both);
}

static void test_every_bit_counts(void)
{
    struct both both;
    size_t len;
    uint8_t *frame;

    begin(&both);
    frame = seal_text(&both.out, TEXT, &len);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(open_copy(&both.in, false, frame, len, TEXT) != PARLEY_OK);
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t shorter = 0; shorter < len; shorter++)
        CHECK(open_copy(&both.in, false, frame, shorter, TEXT) != PARLEY_OK);
    CHECK_STATUS(open_copy(&both.in, false, frame, len, TEXT), OK); /* nothing had stuck */
    free(frame);
    end(&both);
}

static void test_repeats_and_turns(void)
{
    struct both both;
    uint8_t *frames[4];
    size_t len;

    begin(&both);
    for (size_t i = 0; i < 4; i++)
        frames[i] = seal_text(&both.out, TEXT, &len);
    CHECK_STATUS(open_copy(&both.in, false, frames[1], len, TEXT),
                 EINVAL); /* one is missing */
    CHECK_STATUS(open_copy(&both.in, false, frames[0], len, TEXT), OK);
    CHECK_STATUS(open_copy(&both.in, false, frames[0], len, TEXT), EINVAL); /* again */
    CHECK_STATUS(open_copy(&both.in, true, frames[2], len, TEXT), OK);
    CHECK_STATUS(open_copy(&both.in, true, frames[1], len, TEXT), EINVAL); /* it went by */
    CHECK_STATUS(open_copy(&both.in, true, frames[3], len, TEXT), OK);
    for (size_t i = 0; i < 4; i++)
        free(frames[i]);
    end(&both);
}

static void check_foreign(enum seal_direction direction, enum seal_transport transport,
                          uint32_t epoch, const char *id)
{
    struct seal_keys other = keys;
    struct both both;
    struct seal in;
    uint8_t *frame;
    size_t len;

    begin(&both);
    snprintf(other.session_id, sizeof(other.session_id), "%s", id);
    CHECK_STATUS(seal_init(&in, &crypto, &other, direction, transport, epoch, false), OK);
    frame = seal_text(&both.out, TEXT, &len);
    CHECK(open_copy(&in, false, frame, len, TEXT) != PARLEY_OK);
    free(frame);
    seal_fini(&in);
    end(&both);
}

static void test_bound_to_its_use(void)
{
    check_foreign(SEAL_BY_RESPONDER, SEAL_WEBSOCKET, 1, keys.session_id);
    check_foreign(SEAL_BY_INITIATOR, SEAL_HTTP, 1, keys.session_id);
    check_foreign(SEAL_BY_INITIATOR, SEAL_WEBSOCKET, 2, keys.session_id);
    check_foreign(SEAL_BY_INITIATOR, SEAL_WEBSOCKET, 1, "another");
}

static void test_counter_ends(void)
{
    uint8_t frame[64] = {0}, before[64] = {0};
    struct both both;

    begin(&both);
    both.out.next = (uint64_t)SEAL_FRAMES_MAX + SEAL_FRAMES_BEYOND - 1;
    CHECK_STATUS(seal_close_frame(&both.out, frame, 4), OK);
    memcpy(before, frame, sizeof(frame));
    CHECK_STATUS(seal_close_frame(&both.out, frame, 4), ELIMIT);
    CHECK_BYTES(frame, sizeof(frame), before, sizeof(before)); /* nothing was sealed */
    CHECK_STATUS(seal_close_as(&both.out, 3, frame, 4), EINVAL);
    end(&both);
}

/* ---- What it is made of ---- */

static void test_hkdf(void)
{
    /* RFC 5869, A.1 and A.3, cut to what is asked for here */
    static const char okm1[] =
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        "34007208d5b887185865";
    static const char okm3[] =
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
        "9d201395faa4b61a96c8";
    uint8_t secret[22], salt[13], info[10], prk[32], okm[42], expected[64];

    CHECK_STATUS(crypto_init(&crypto), OK);
    memset(secret, 0x0b, sizeof(secret));
    vector_hex("000102030405060708090a0b0c", salt);
    vector_hex("f0f1f2f3f4f5f6f7f8f9", info);
    CHECK(crypto_hkdf_extract(&crypto, salt, sizeof(salt), secret, sizeof(secret), prk));
    CHECK(crypto_hkdf_expand(&crypto, prk, info, sizeof(info), okm, sizeof(okm)));
    CHECK_BYTES(okm, sizeof(okm), expected, vector_hex(okm1, expected));
    CHECK(crypto_hkdf_extract(&crypto, NULL, 0, secret, sizeof(secret), prk));
    CHECK(crypto_hkdf_expand(&crypto, prk, "", 0, okm, sizeof(okm)));
    CHECK_BYTES(okm, sizeof(okm), expected, vector_hex(okm3, expected));
    crypto_fini(&crypto);
}

/* Points of small order in all their forms: no secret comes of them. */
static void test_small_order_refused(void)
{
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    uint8_t point[32], shared[32];

    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        vector_hex(points[i], point);
        CHECK_STATUS(crypto_x25519(keys.secret, point, shared), EREFUSED);
    }
}

static void test_e2e_session_keys(void)
{
    cJSON *all = vectors_load();
    const cJSON *vector = cJSON_GetObjectItem(all, "e2e_session_keys");
    uint8_t own[32], other[32], shared[32], boxed[32], expected[32];

    member_hex(vector, "ephemeral_private_a", own);
    CHECK(crypto_x25519_public(own, other));
    CHECK_BYTES(other, 32, expected, member_hex(vector, "ephemeral_public_a", expected));
    member_hex(vector, "ephemeral_public_b", other);
    CHECK_STATUS(crypto_x25519(own, other, shared), OK);
    CHECK_BYTES(shared, 32, expected, member_hex(vector, "x25519_raw", expected));
    crypto_hsalsa20(shared, boxed);
    CHECK_BYTES(boxed, 32, expected, member_hex(vector, "hsalsa20_box_shared_key", expected));
    cJSON_Delete(all);
}

/* ---- Speed ---- */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void measure(struct both *both, size_t len, unsigned rounds)
{
    uint8_t *frame = calloc(1, len + SEAL_OVERHEAD);
    double sealing = 0, opening = 0;
    char *text;
    size_t text_len;

    for (unsigned i = 0; i < rounds; i++) {
        double start = seconds(), sealed;

        CHECK_STATUS(seal_close_frame(&both->out, frame, len), OK);
        sealed = seconds();
        CHECK_STATUS(
            seal_open_frame(&both->in, false, frame, len + SEAL_OVERHEAD, &text, &text_len),
            OK);
        opening += seconds() - sealed;
        sealing += sealed - start;
    }
    printf("  sealing %zu bytes: %.2f us (%.2f GB/s); opening: %.2f us (%.2f GB/s)\n", len,
           sealing / rounds * 1e6, (double)len * rounds / sealing / 1e9,
           opening / rounds * 1e6, (double)len * rounds / opening / 1e9);
    free(frame);
}

static void test_speed(void)
{
    struct both both;

    begin(&both);
    measure(&both, 300, 20000);
    measure(&both, 65536, 500);
    end(&both);
}

static const struct check_test tests[] = {
    {"known answers", test_known_answers},
    {"frames open in order", test_opens_in_order},
    {"every bit of a frame counts", test_every_bit_counts},
    {"repeats and wrong turns are refused", test_repeats_and_turns},
    {"a frame is bound to direction, transport, epoch and session", test_bound_to_its_use},
    {"the counter ends before it wraps", test_counter_ends},
    {"HKDF as in RFC 5869", test_hkdf},
    {"keys of small order are refused", test_small_order_refused},
    {"[e2e_session_keys] up to HSalsa20", test_e2e_session_keys},
    {"speed", test_speed},
};

CHECK_MAIN("seal", tests)
