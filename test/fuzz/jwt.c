/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens. What is not signed with the secret is refused, whatever it says; what is signed
 * here is accepted exactly when the rules, told again in other words, allow it, and no longer
 * once a bit of it, the secret or the time is another.
 *
 * The input's first byte says what the rest is:
 *
 *   t  a token
 *   s  "header.payload" as it stands, to be signed
 *   j  header and payload as JSON with a line end between them, to be encoded and signed
 *   m  a bit's place, for a token of our own identity
 *   else a script that puts a token together from good and bad claims
 */
#include "peers/jwt.h"

#include <ctype.h>

#include "test/fuzz/fuzz.h"
#include "test/peers/tokens.h"

#define NOW       UINT64_C(1700000000)
#define AUDIENCE  "orig-b"
#define MAKER     "maker"
#define DEPTH_MAX 8
#define SKEW_S    60

#define LEN_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct identity *maker(void)
{
    static const uint8_t seed[IDENTITY_KEY_BYTES] = "not a secret, but random enough";
    static struct identity *identity;
    static struct alloc alloc;

    if (identity == NULL) {
        alloc_init(&alloc, NULL);
        FUZZ_CHECK(identity_new(&alloc, seed, &identity) == PARLEY_OK);
    }
    return identity;
}

static const struct identity_key *trust_maker(void)
{
    static struct identity_key *key;
    static struct alloc alloc;

    if (key == NULL) {
        alloc_init(&alloc, NULL);
        FUZZ_CHECK(identity_key_new(&alloc, identity_public(maker()), &key) == PARLEY_OK);
    }
    return key;
}

/* Whoever it is about: but for MAKER's, nobody here has the private half, so no other EdDSA
 * token ever passes. */
static const struct identity_key *trust_everybody(const char *entity_id, void *user)
{
    static const uint8_t base_point[IDENTITY_KEY_BYTES] = {
        0x58, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
        0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
        0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66};
    static struct identity_key *key;
    static struct alloc alloc;

    (void)user;
    FUZZ_CHECK(entity_id_valid(entity_id));
    if (strcmp(entity_id, MAKER) == 0)
        return trust_maker();
    if (key == NULL) {
        alloc_init(&alloc, NULL);
        FUZZ_CHECK(identity_key_new(&alloc, base_point, &key) == PARLEY_OK);
    }
    return key;
}

static parley_status verify_with(const char *token, size_t len, const char *secret,
                                 uint64_t now_s, struct jwt_claims *claims)
{
    struct alloc alloc = fuzz_alloc();
    char *copy = fuzz_copy(token, len);
    struct jwt_judge judge = {
        .secret = secret,
        .secret_len = strlen(secret),
        .find = trust_everybody,
        .audience = AUDIENCE,
        .now_s = now_s,
        .skew_s = SKEW_S,
    };
    struct json_doc doc;
    parley_status status;

    json_init(&doc, &alloc);
    status = jwt_verify(&doc, copy, len, &judge, claims);
    FUZZ_CHECK(status == PARLEY_OK || status == PARLEY_EREFUSED);
    json_fini(&doc);
    free(copy);
    return status;
}

/* ---- signatures ---- */

/* Three parts, and the last is the signature of the others as we would write it. */
static bool signed_right(const char *token, size_t len)
{
    char *text = fuzz_text(token, len), *again = fuzz_memory(len + 64), *dot;
    bool right;

    dot = strrchr(text, '.');
    right = strlen(text) == len && dot != NULL && strchr(text, '.') != dot;
    if (right) {
        memcpy(again, text, (size_t)(dot - text));
        again[dot - text] = '\0';
        token_sign(again, SECRET);
        right = strcmp(again, text) == 0;
    }
    free(again);
    free(text);
    return right;
}

static void check_claims(const struct jwt_claims *claims)
{
    FUZZ_CHECK(memchr(claims->sub, '\0', sizeof(claims->sub)) != NULL);
    FUZZ_CHECK(entity_id_valid(claims->sub));
}

/* Accepted now, and no longer when any part of it is another. */
static void check_fragile(const char *token, size_t len, size_t salt)
{
    struct jwt_claims claims;
    char *changed = fuzz_copy(token, len);
    size_t bit;

    FUZZ_CHECK(len > 0);
    bit = salt % (8 * len);
    changed[bit / 8] ^= (char)(1 << bit % 8);
    FUZZ_CHECK(verify_with(changed, len, SECRET, NOW, &claims) != PARLEY_OK);
    FUZZ_CHECK(verify_with(token, salt % len, SECRET, NOW, &claims) != PARLEY_OK);
    FUZZ_CHECK(verify_with(token, len, SECRET "x", NOW, &claims) != PARLEY_OK);
    free(changed);
}

static parley_status verify(const char *token, size_t len, struct jwt_claims *claims)
{
    parley_status status;

    memset(claims, 0xee, sizeof(*claims));
    status = verify_with(token, len, SECRET, NOW, claims);
    if (status != PARLEY_OK) {
        FUZZ_CHECK((uint8_t)claims->sub[0] == 0xee); /* untouched */
        return status;
    }
    FUZZ_CHECK(len > 2 && len <= JWT_BYTES_MAX && signed_right(token, len));
    check_claims(claims);
    check_fragile(token, len, (size_t)(uint8_t)token[len - 1] << 8 | (uint8_t)token[len - 2]);
    return status;
}

static void try_token(const char *text, size_t len)
{
    struct jwt_claims claims;

    verify(text, len, &claims);
}

/* Only one text stands for the same bytes. */
static void try_signed_text(const char *data, size_t len)
{
    char *token = fuzz_memory(len + 64), *from;
    struct jwt_claims claims;

    memcpy(token, data, len);
    token[len] = '\0';
    token_sign(token, SECRET);
    if (verify(token, strlen(token), &claims) == PARLEY_OK) {
        for (from = token; *from != '\0'; from++)
            FUZZ_CHECK(isalnum((unsigned char)*from) || strchr("-_.", *from) != NULL);
    }
    free(token);
}

/* ---- any JSON ---- */

struct text {
    const char *text;
    size_t len;
};

/* A token of any header and payload. @return its length */
static size_t encode(char *token, struct text header, struct text payload)
{
    size_t len = base64url(token, header.text, header.len);

    token[len] = '.';
    base64url(token + len + 1, payload.text, payload.len);
    token_sign(token, SECRET);
    return strlen(token);
}

static bool scan(struct json_doc *doc, const struct alloc *alloc, struct text text)
{
    struct json_limits limits = {.depth_max = DEPTH_MAX, .bytes_max = 1 << 20};
    struct json_error error;

    json_init(doc, alloc);
    return json_scan(doc, text.text, text.len, &limits, 2, &error) == PARLEY_OK &&
           doc->items[0].type == JSON_OBJECT;
}

static bool is(const struct json_doc *doc, const struct json_item *item, const char *text)
{
    char buffer[64];

    return json_string(doc, item, buffer, sizeof(buffer)) == (int)strlen(text) &&
           memcmp(buffer, text, strlen(text)) == 0;
}

/* A number's value is asked of the C library. */
static bool between(const struct json_doc *doc, const struct json_item *item, double above,
                    double most)
{
    double value;
    char *digits;

    if (item->type != JSON_NUMBER)
        return false;
    digits = fuzz_text(doc->text + item->value, item->value_len);
    value = strtod(digits, NULL);
    free(digits);
    return value > above && value <= most;
}

static bool audience_good(const struct json_doc *doc, const struct json_item *item)
{
    bool good = is(doc, item, AUDIENCE);

    if (item->type == JSON_ARRAY) {
        for (item = json_first(doc, item); item != NULL; item = json_next(doc, item))
            good = good || is(doc, item, AUDIENCE);
    }
    return good;
}

/* Walks the members instead of asking for each. */
static bool payload_good(const struct json_doc *doc, char sub[ENVELOPE_ID_MAX + 1])
{
    double soon = (double)NOW + SKEW_S, never = 1.7976931348623157e308;
    bool good = true, has_exp = false, has_sub = false;

    for (const struct json_item *item = json_first(doc, doc->items); item != NULL;
         item = json_next(doc, item)) {
        if (json_key_is(doc, item, "exp", 3)) {
            has_exp = between(doc, item, (double)NOW, never);
        } else if (json_key_is(doc, item, "sub", 3)) {
            has_sub =
                json_string(doc, item, sub, ENVELOPE_ID_MAX + 1) > 0 && entity_id_valid(sub);
        } else if (json_key_is(doc, item, "iat", 3) || json_key_is(doc, item, "nbf", 3)) {
            good = good && between(doc, item, -never, soon);
        } else if (json_key_is(doc, item, "iss", 3)) {
            good = good && is(doc, item, "peer-service");
        } else if (json_key_is(doc, item, "type", 4)) {
            good = good && is(doc, item, "access");
        } else if (json_key_is(doc, item, "aud", 3)) {
            good = good && audience_good(doc, item);
        }
    }
    return good && has_exp && has_sub;
}

static bool header_good(const struct json_doc *doc)
{
    bool has_alg = false;

    for (const struct json_item *item = json_first(doc, doc->items); item != NULL;
         item = json_next(doc, item)) {
        if (json_key_is(doc, item, "crit", 4))
            return false;
        has_alg = has_alg || (json_key_is(doc, item, "alg", 3) && is(doc, item, "HS256"));
    }
    return has_alg;
}

static void try_json(const char *data, size_t len)
{
    const char *end = memchr(data, '\n', len);
    struct text header = {data, end != NULL ? (size_t)(end - data) : len};
    struct text payload = {data + header.len, len - header.len};
    char *token = fuzz_memory(2 * len + 128), sub[ENVELOPE_ID_MAX + 1];
    struct alloc alloc = fuzz_alloc();
    struct json_doc head, body;
    struct jwt_claims claims;
    size_t token_len;
    bool expected;

    token_len = encode(token, header, payload);
    expected = scan(&head, &alloc, header) && header_good(&head);
    expected = scan(&body, &alloc, payload) && payload_good(&body, sub) && expected;
    expected = expected && token_len <= JWT_BYTES_MAX;
    FUZZ_CHECK((verify(token, token_len, &claims) == PARLEY_OK) == expected);
    if (expected)
        FUZZ_CHECK(strcmp(claims.sub, sub) == 0);
    json_fini(&body);
    json_fini(&head);
    free(token);
}

/* ---- from good and bad claims ---- */

/* The first `good` of each list are. */
struct choices {
    const char *texts[10];
    uint8_t good, len;
};

static const struct choices headers = {
    {"{\"alg\":\"HS256\"}", "{\"typ\":\"JWT\",\"alg\":\"HS256\"}", "{\"alg\":\"none\"}",
     "{\"alg\":\"HS512\"}", "{\"alg\":\"HS256\",\"crit\":[]}", "{}", "[\"HS256\"]"},
    2,
    7};

static const struct choices claims_of[] = {
    {{"{\"sub\":\"a\"", "{\"sub\":\"A.b_c:d-9\"", "{\"sub\":\"\"", "{\"sub\":\"a b\"",
      "{\"sub\":1", "{\"s\":\"a\""},
     2,
     6},
    {{",\"exp\":1700000001", ",\"exp\":1700000000.5", ",\"exp\":2e9", ",\"exp\":1700000000",
      ",\"exp\":\"1700000300\"", ",\"exp\":-2e9", ",\"exp\":null", ""},
     3,
     8},
    {{"", ",\"iat\":1700000060", ",\"iat\":0", ",\"iat\":1700000061", ",\"iat\":\"0\""}, 3, 5},
    {{"", ",\"nbf\":1700000060", ",\"nbf\":1700000060.5", ",\"nbf\":null"}, 2, 4},
    {{"", ",\"iss\":\"peer-service\"", ",\"iss\":\"peer\"", ",\"iss\":null"}, 2, 4},
    {{"", ",\"type\":\"access\"", ",\"type\":\"refresh\""}, 2, 3},
    {{"", ",\"aud\":\"orig-b\"", ",\"aud\":[\"x\",\"orig-b\"]", ",\"aud\":\"orig-c\"",
      ",\"aud\":[]", ",\"aud\":[[\"orig-b\"]]", ",\"aud\":null"},
     3,
     7},
};

static const char *choose(struct fuzz_script *script, const struct choices *from, bool *good)
{
    uint8_t choice = fuzz_byte(script) % from->len;

    *good = *good && choice < from->good;
    return from->texts[choice];
}

static void try_script(struct fuzz_script *script)
{
    char payload[512], token[1024];
    struct jwt_claims claims;
    bool good = true;
    const char *header = choose(script, &headers, &good);
    size_t len = 0;

    for (size_t i = 0; i < LEN_OF(claims_of); i++)
        len += (size_t)snprintf(payload + len, sizeof(payload) - len, "%s",
                                choose(script, &claims_of[i], &good));
    len += (size_t)snprintf(payload + len, sizeof(payload) - len, "}");
    len = encode(token, (struct text){header, strlen(header)}, (struct text){payload, len});
    FUZZ_CHECK((verify(token, len, &claims) == PARLEY_OK) == good);
    FUZZ_CHECK(verify_with(token, len, SECRET, NOW * 2, &claims) != PARLEY_OK); /* expired */
}

/* What we make is taken, and nothing that differs from it. */
static void try_made(struct fuzz_script *script)
{
    char token[JWT_MADE_MAX + 1];
    struct jwt_claims claims;
    size_t bit;

    FUZZ_CHECK(jwt_make(maker(), MAKER, AUDIENCE, NOW, token) == PARLEY_OK);
    FUZZ_CHECK(verify_with(token, strlen(token), SECRET, NOW, &claims) == PARLEY_OK);
    FUZZ_CHECK(claims.kind == JWT_EDDSA && claims.known && claims.for_us);
    FUZZ_CHECK(strcmp(claims.sub, MAKER) == 0);
    FUZZ_CHECK(verify_with(token, strlen(token), SECRET, NOW + JWT_VALID_S, &claims) !=
               PARLEY_OK);
    bit = (size_t)(fuzz_byte(script) << 8 | fuzz_byte(script)) % (8 * strlen(token));
    token[bit / 8] ^= (char)(1 << bit % 8);
    FUZZ_CHECK(verify_with(token, strlen(token), SECRET, NOW, &claims) != PARLEY_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_script script = fuzz_script(data, len);
    const char *text = (const char *)data + 1;
    uint8_t kind = fuzz_byte(&script);

    if (len == 0)
        return 0;
    if (kind == 't')
        try_token(text, len - 1);
    else if (kind == 's')
        try_signed_text(text, len - 1);
    else if (kind == 'j')
        try_json(text, len - 1);
    else if (kind == 'm')
        try_made(&script);
    else
        try_script(&script);
    return 0;
}
