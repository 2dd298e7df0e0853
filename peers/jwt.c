/* SPDX-License-Identifier: Apache-2.0
 *
 * header.payload.signature, each in base64url without padding. Decoding is canonical: no
 * two texts decode to the same bytes, so no bit of a token can be changed and the token
 * still pass.
 */
#include "peers/jwt.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define SIGNATURE_BYTES 32
#define PART_BYTES_MAX  (JWT_BYTES_MAX / 4 * 3 + 3)
#define DEPTH_MAX       8 /* of nesting in header and payload */

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

static parley_status check_signature(const struct part parts[3], const char *secret,
                                     size_t secret_len)
{
    const char *signed_text = parts[0].text;
    size_t signed_len = parts[0].len + 1 + parts[1].len; /* with the dot between them */
    uint8_t said[SIGNATURE_BYTES], right[EVP_MAX_MD_SIZE];
    unsigned right_len = 0;
    size_t said_len;

    if (!decode(parts[2], said, sizeof(said), &said_len) || said_len != sizeof(said))
        return PARLEY_EREFUSED;
    if (HMAC(EVP_sha256(), secret, (int)secret_len, (const uint8_t *)signed_text, signed_len,
             right, &right_len) == NULL ||
        right_len != sizeof(said))
        return PARLEY_ENOMEM; /* nothing else can fail there */
    return CRYPTO_memcmp(said, right, sizeof(said)) == 0 ? PARLEY_OK : PARLEY_EREFUSED;
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
static bool header_allows(const struct json_doc *doc)
{
    return is_text(doc, json_member(doc, doc->items, "alg"), "HS256") &&
           json_member(doc, doc->items, "crit") == NULL;
}

static bool time_allows(const struct json_doc *doc, uint64_t now_s)
{
    static const char *const beginnings[] = {"iat", "nbf"};
    const struct json_item *item = json_member(doc, doc->items, "exp");
    double seconds;

    if (item == NULL || !json_double(doc, item, &seconds) || seconds <= (double)now_s)
        return false;
    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
        item = json_member(doc, doc->items, beginnings[i]);
        if (item != NULL &&
            (!json_double(doc, item, &seconds) || seconds > (double)now_s + JWT_SKEW_S))
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

static bool payload_allows(const struct json_doc *doc, const char *audience, uint64_t now_s,
                           struct jwt_claims *claims)
{
    const struct json_item *sub = json_member(doc, doc->items, "sub");

    return time_allows(doc, now_s) && absent_or(doc, "iss", "peer-service") &&
           absent_or(doc, "type", "access") && names_audience(doc, audience) && sub != NULL &&
           json_string(doc, sub, claims->sub, sizeof(claims->sub)) >= 0 &&
           entity_id_valid(claims->sub);
}

parley_status jwt_verify(struct json_doc *doc, const char *token, size_t len,
                         const char *secret, size_t secret_len, const char *audience,
                         uint64_t now_s, struct jwt_claims *ret_claims)
{
    uint8_t bytes[PART_BYTES_MAX];
    struct jwt_claims claims;
    struct part parts[3];
    parley_status status;

    assert(secret_len > 0 && secret_len <= INT32_MAX);
    if (len > JWT_BYTES_MAX || !split(token, len, parts))
        return PARLEY_EREFUSED;
    status = check_signature(parts, secret, secret_len);
    if (status == PARLEY_OK)
        status = scan_part(doc, parts[0], bytes);
    if (status == PARLEY_OK && !header_allows(doc))
        status = PARLEY_EREFUSED;
    if (status == PARLEY_OK)
        status = scan_part(doc, parts[1], bytes);
    if (status == PARLEY_OK && !payload_allows(doc, audience, now_s, &claims))
        status = PARLEY_EREFUSED;
    if (status == PARLEY_OK)
        *ret_claims = claims;
    return status;
}
