/* SPDX-License-Identifier: Apache-2.0
 *
 * header.payload.signature, each in base64url without padding. Decoding is canonical: no
 * two texts decode to the same bytes, so no bit of a token can be changed and the token
 * still pass.
 */
#include "peers/jwt.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define MAC_BYTES      32
#define PART_BYTES_MAX (JWT_BYTES_MAX / 4 * 3 + 3)
#define DEPTH_MAX      8 /* of nesting in header and payload */
#define ISSUER         "peer-service"

struct part {
    const char *text;
    size_t len;
};

/* ---- The three parts ---- */

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-')
        return 62;
    return c == '_' ? 63 : -1;
}

/* @return whether it is base64url of at most `capacity` bytes, with the bits that are left
 * over all zero */
static bool decode(struct part part, uint8_t *bytes, size_t capacity, size_t *ret_len)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t len = 0;

    if (part.len % 4 == 1)
        return false;
    for (size_t i = 0; i < part.len; i++) {
        int digit = digit_of(part.text[i]);

        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        if (len == capacity)
            return false;
        bytes[len++] = (uint8_t)(bits >> held);
        bits &= (UINT32_C(1) << held) - 1;
    }
    *ret_len = len;
    return bits == 0;
}

static bool split(const char *token, size_t len, struct part parts[3])
{
    size_t from = 0, count = 0;

    for (size_t i = 0; i <= len; i++) {
        if (i < len && token[i] != '.')
            continue;
        if (count == 3 || i == from)
            return false;
        parts[count++] = (struct part){token + from, i - from};
        from = i + 1;
    }
    return count == 3;
}

/* ---- What they say ---- */

static parley_status scan_part(struct json_doc *doc, struct part part, uint8_t *bytes)
{
    struct json_limits limits = {.depth_max = DEPTH_MAX, .bytes_max = PART_BYTES_MAX};
    struct json_error error;
    parley_status status;
    size_t len;

    if (!decode(part, bytes, PART_BYTES_MAX, &len))
        return PARLEY_EREFUSED;
    status = json_scan(doc, (const char *)bytes, len, &limits, 2, &error);
    if (status == PARLEY_OK && doc->items[0].type != JSON_OBJECT)
        status = PARLEY_EREFUSED;
    return status == PARLEY_OK || status == PARLEY_ENOMEM ? status : PARLEY_EREFUSED;
}

static bool is_text(const struct json_doc *doc, const struct json_item *item, const char *text)
{
    char buffer[ENVELOPE_ID_MAX + 1];

    return item != NULL && json_string(doc, item, buffer, sizeof(buffer)) >= 0 &&
           strcmp(buffer, text) == 0;
}

static bool absent_or(const struct json_doc *doc, const char *key, const char *text)
{
    const struct json_item *item = json_member(doc, doc->items, key);

    return item == NULL || is_text(doc, item, text);
}

/* An extension we do not know would change the meaning of the rest: RFC 7515, 4.1.11. */
static enum jwt_kind read_kind(const struct json_doc *doc)
{
    const struct json_item *algorithm = json_member(doc, doc->items, "alg");

    if (json_member(doc, doc->items, "crit") != NULL)
        return JWT_OTHER;
    if (is_text(doc, algorithm, "HS256"))
        return JWT_HS256;
    return is_text(doc, algorithm, "EdDSA") ? JWT_EDDSA : JWT_OTHER;
}

static bool time_allows(const struct json_doc *doc, uint64_t now_s, uint32_t skew_s)
{
    static const char *const beginnings[] = {"iat", "nbf"};
    const struct json_item *item = json_member(doc, doc->items, "exp");
    double seconds;

    if (item == NULL || !json_double(doc, item, &seconds) || seconds <= (double)now_s)
        return false;
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
        item = json_member(doc, doc->items, beginnings[i]);
        if (item != NULL &&
            (!json_double(doc, item, &seconds) || seconds > (double)now_s + skew_s))
            return false;
    }
    return true;
}

/* One name or a list of them: RFC 7519, 4.1.3. */
static bool names_audience(const struct json_doc *doc, const char *audience)
{
    const struct json_item *item = json_member(doc, doc->items, "aud");

    if (item == NULL || item->type != JSON_ARRAY)
        return item == NULL || is_text(doc, item, audience);
    for (item = json_first(doc, item); item != NULL; item = json_next(doc, item)) {
        if (is_text(doc, item, audience))
            return true;
    }
    return false;
}

static bool read_sub(const struct json_doc *doc, struct jwt_claims *claims)
{
    const struct json_item *sub = json_member(doc, doc->items, "sub");

    return sub != NULL && json_string(doc, sub, claims->sub, sizeof(claims->sub)) >= 0 &&
           entity_id_valid(claims->sub);
}

static bool payload_allows(const struct json_doc *doc, const struct jwt_judge *judge,
                           struct jwt_claims *claims)
{
    claims->for_us = json_member(doc, doc->items, "aud") != NULL;
    return time_allows(doc, judge->now_s, judge->skew_s) && absent_or(doc, "iss", ISSUER) &&
           absent_or(doc, "type", "access") && names_audience(doc, judge->audience);
}

/* ---- Who signed ---- */

static const char *signed_text(const struct part parts[3])
{
    return parts[0].text;
}

/* With the dot between them. */
static size_t signed_len(const struct part parts[3])
{
    return parts[0].len + 1 + parts[1].len;
}

static parley_status check_mac(const struct part parts[3], const struct jwt_judge *judge)
{
    uint8_t said[MAC_BYTES], right[EVP_MAX_MD_SIZE];
    unsigned right_len = 0;
    size_t said_len;
    int difference;

    if (judge->secret == NULL || !decode(parts[2], said, sizeof(said), &said_len) ||
        said_len != sizeof(said))
        return PARLEY_EREFUSED;
    if (HMAC(EVP_sha256(), judge->secret, (int)judge->secret_len,
             (const uint8_t *)signed_text(parts), signed_len(parts), right,
             &right_len) == NULL ||
        right_len != sizeof(said))
        return PARLEY_ENOMEM; /* nothing else can fail there */
    difference = CRYPTO_memcmp(said, right, sizeof(said));
    OPENSSL_cleanse(right, sizeof(right));
    return difference == 0 ? PARLEY_OK : PARLEY_EREFUSED;
}

static bool check_signature(const struct part parts[3], const struct identity_key *key)
{
    uint8_t said[IDENTITY_SIGNATURE_BYTES];
    size_t said_len;

    return decode(parts[2], said, sizeof(said), &said_len) && said_len == sizeof(said) &&
           identity_verify(key, signed_text(parts), signed_len(parts), said);
}

/* What it says is read once it is proven that somebody with the secret wrote it. */
static parley_status verify_hs256(struct json_doc *doc, const struct part parts[3],
                                  const struct jwt_judge *judge, struct jwt_claims *claims)
{
    uint8_t bytes[PART_BYTES_MAX];
    parley_status status = check_mac(parts, judge);

    if (status == PARLEY_OK)
        status = scan_part(doc, parts[1], bytes);
    if (status == PARLEY_OK && !(payload_allows(doc, judge, claims) && read_sub(doc, claims)))
        status = PARLEY_EREFUSED;
    return status;
}

/* Whose key it is to be checked with stands inside. The key of somebody who is not trusted is
 * not there, and what is out of date is not worth the time that checking takes. */
static parley_status verify_eddsa(struct json_doc *doc, const struct part parts[3],
                                  const struct jwt_judge *judge, struct jwt_claims *claims)
{
    uint8_t bytes[PART_BYTES_MAX];
    const struct identity_key *key;
    parley_status status = scan_part(doc, parts[1], bytes);

    if (status != PARLEY_OK)
        return status;
    key = judge->find != NULL && read_sub(doc, claims) ? judge->find(claims->sub, judge->user)
                                                       : NULL;
    claims->known = key != NULL;
    if (key == NULL || !payload_allows(doc, judge, claims) || !check_signature(parts, key))
        return PARLEY_EREFUSED;
    return PARLEY_OK;
}

parley_status jwt_verify(struct json_doc *doc, const char *token, size_t len,
                         const struct jwt_judge *judge, struct jwt_claims *ret_claims)
{
    struct jwt_claims claims = {.kind = JWT_OTHER};
    uint8_t bytes[PART_BYTES_MAX];
    struct part parts[3];
    parley_status status;

    assert(judge->secret == NULL || (judge->secret_len > 0 && judge->secret_len <= INT32_MAX));
    ret_claims->kind = JWT_OTHER;
    ret_claims->known = false;
    if (len > JWT_BYTES_MAX || !split(token, len, parts))
        return PARLEY_EREFUSED;
    status = scan_part(doc, parts[0], bytes);
    if (status != PARLEY_OK)
        return status;
    claims.kind = read_kind(doc);
    status = PARLEY_EREFUSED;
    if (claims.kind == JWT_HS256)
        status = verify_hs256(doc, parts, judge, &claims);
    else if (claims.kind == JWT_EDDSA)
        status = verify_eddsa(doc, parts, judge, &claims);
    ret_claims->kind = claims.kind;
    ret_claims->known = claims.known;
    if (status == PARLEY_OK)
        *ret_claims = claims;
    return status;
}

/* ---- Ours ---- */

/* Base64url without padding. @return characters */
static size_t encode(const void *bytes, size_t len, char *text)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *in = bytes;
    uint32_t bits = 0;
    unsigned held = 0;
    size_t used = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | in[i];
        for (held += 8; held >= 6; held -= 6)
            text[used++] = digits[bits >> (held - 6) & 63];
    }
    if (held > 0)
        text[used++] = digits[bits << (6 - held) & 63];
    return used;
}

/* Both names are entities' ids, in which nothing needs an escape. */
parley_status jwt_make(const struct identity *identity, const char *sub, const char *audience,
                       uint64_t now_s, char token[JWT_MADE_MAX + 1])
{
    static const char header[] = "{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}";
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    char payload[2 * ENVELOPE_ID_MAX + 128], text[JWT_MADE_MAX + 1];
    parley_status status;
    size_t used;
    int len;

    assert(entity_id_valid(sub) && entity_id_valid(audience));
    len = snprintf(payload, sizeof(payload),
                   "{\"sub\":\"%s\",\"iat\":%" PRIu64 ",\"exp\":%" PRIu64 ",\"iss\":\"" ISSUER
                   "\",\"aud\":\"%s\"}",
                   sub, now_s, now_s + JWT_VALID_S, audience);
    used = encode(header, sizeof(header) - 1, text);
    text[used++] = '.';
    used += encode(payload, (size_t)len, text + used);
    status = identity_sign(identity, text, used, signature);
    if (status == PARLEY_OK) {
        text[used++] = '.';
        used += encode(signature, sizeof(signature), text + used);
        memcpy(token, text, used);
        token[used] = '\0';
    }
    OPENSSL_cleanse(text, sizeof(text));
    return status;
}
