/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens verified: the vectors, every rule by a token that breaks it, every bit flipped.
 */
#include <cjson/cJSON.h>
#include <stdlib.h>

#include "peers/jwt.h"
#include "test/check.h"
#include "test/peers/tokens.h"
#include "test/runtime/fail_alloc.h"

#define NOW      UINT64_C(1700000000)
#define AUDIENCE "orig-b"

static struct alloc alloc;
static struct json_doc doc;
static struct identity *ours;     /* of the vectors' first seed */
static struct identity_key *keys; /* its public half, trusted to be "a"'s */

static const struct identity_key *find_key(const char *entity_id, void *user)
{
    (void)user;
    return strcmp(entity_id, "a") == 0 ? keys : NULL;
}

/* The bytes are copied to exactly as many: a sanitizer sees one too far. */
static parley_status verify_bytes(const char *token, size_t len, const char *secret,
                                  uint64_t now, struct jwt_claims *claims)
{
    struct jwt_judge judge = {
        .secret = secret,
        .secret_len = secret != NULL ? strlen(secret) : 0,
        .find = find_key,
        .audience = AUDIENCE,
        .now_s = now,
        .skew_s = 60,
    };
    char *copy = malloc(len > 0 ? len : 1);
    parley_status status;

    memcpy(copy, token, len);
    status = jwt_verify(&doc, copy, len, &judge, claims);
    free(copy);
    return status;
}

static parley_status verify(const char *token, struct jwt_claims *claims)
{
    return verify_bytes(token, strlen(token), SECRET, NOW, claims);
}

static parley_status judge(const char *header, const char *payload)
{
    struct jwt_claims claims;
    char token[8192];

    token_make(token, header, payload, SECRET);
    return verify(token, &claims);
}

static void check_refused(const char *header, const char *payload)
{
    if (judge(header, payload) != PARLEY_EREFUSED)
        CHECK_TEXT(payload, header); /* says which one */
}

static void check_taken(const char *payload)
{
    if (judge(HEADER_HS256, payload) != PARLEY_OK)
        CHECK_TEXT(payload, "(refused)");
}

static void begin(void)
{
    uint8_t seed[IDENTITY_SEED_BYTES];

    for (size_t i = 0; i < sizeof(seed); i++)
        seed[i] = (uint8_t)i;
    alloc_init(&alloc, NULL);
    json_init(&doc, &alloc);
    CHECK_STATUS(identity_new(&alloc, seed, &ours), OK);
    CHECK_STATUS(identity_key_new(&alloc, identity_public(ours), &keys), OK);
}

static void end(void)
{
    json_fini(&doc);
    identity_free(ours);
    identity_key_free(keys);
}

/* ---- The vectors ---- */

static cJSON *vectors(void)
{
    static char text[256 * 1024];
    FILE *file = fopen("test/vectors.json", "rb");
    size_t len;

    if (file == NULL)
        return NULL; /* which fails the test */
    len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = '\0';
    return cJSON_Parse(text);
}

static const cJSON *vector(const cJSON *all, const char *algorithm, const char *key)
{
    return cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(all, "jwt"), algorithm),
                               key);
}

static void the_vectors_hold(void)
{
    cJSON *all = vectors();
    struct jwt_claims claims = {.sub = "-"};
    char made[JWT_MADE_MAX + 1];
    const char *token, *secret;
    uint64_t now;

    begin();
    if (CHECK(all != NULL)) {
        token = vector(all, "hs256", "token")->valuestring;
        secret = vector(all, "hs256", "secret")->valuestring;
        now = (uint64_t)vector(all, "hs256", "now")->valuedouble;
        CHECK_STATUS(verify_bytes(token, strlen(token), secret, now, &claims), OK);
        CHECK_TEXT(claims.sub, "orig-a");
        CHECK_STATUS(verify_bytes(token, strlen(token), "another", now, &claims), EREFUSED);
        CHECK(claims.kind == JWT_HS256 && !claims.for_us);
        CHECK_STATUS(verify_bytes(token, strlen(token), NULL, now, &claims), EREFUSED);
        token = vector(all, "eddsa", "token")->valuestring;
        now = (uint64_t)vector(all, "eddsa", "now")->valuedouble;
        CHECK_STATUS(verify_bytes(token, strlen(token), NULL, now, &claims), OK);
        CHECK_STATUS(verify_bytes(token, strlen(token), secret, now, &claims), OK);
        CHECK_TEXT(claims.sub, "a");
        CHECK(claims.kind == JWT_EDDSA && claims.known && claims.for_us);
        CHECK_STATUS(jwt_make(ours, "a", AUDIENCE, now, made), OK);
        CHECK_TEXT(made, token); /* to the byte: Ed25519 gives the one signature */
    }
    cJSON_Delete(all);
    end();
}

/* ---- The rules ---- */

#define SUB "\"sub\":\"a\""
#define EXP "\"exp\":1700000300"

static void times_are_kept(void)
{
    struct jwt_claims claims;
    char token[1024];

    begin();
    check_taken("{" SUB "," EXP "}");
    check_taken("{" SUB ",\"exp\":1700000001}");
    check_taken("{" SUB ",\"exp\":1700000000.5}");
    check_taken("{" SUB ",\"exp\":1.7000003e9}");
    check_taken("{" SUB "," EXP ",\"iat\":1700000060,\"nbf\":1700000060}");
    check_taken("{" SUB "," EXP ",\"iat\":0,\"nbf\":-5}");
    check_refused(HEADER_HS256, "{" SUB "}");
    check_refused(HEADER_HS256, "{" SUB ",\"exp\":1700000000}");
    check_refused(HEADER_HS256, "{" SUB ",\"exp\":1699999999}");
    check_refused(HEADER_HS256, "{" SUB ",\"exp\":-1}");
    check_refused(HEADER_HS256, "{" SUB ",\"exp\":\"1700000300\"}");
    check_refused(HEADER_HS256, "{" SUB ",\"exp\":null}");
    check_refused(HEADER_HS256, "{" SUB ",\"exp\":[1700000300]}");
    check_refused(HEADER_HS256, "{" SUB ",\"exp\":1e999}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"iat\":1700000061}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"nbf\":1700000061}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"nbf\":\"0\"}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"iat\":null}");
    token_make(token, HEADER_HS256, "{" SUB "," EXP "}", SECRET);
    CHECK_STATUS(verify_bytes(token, strlen(token), SECRET, NOW + 299, &claims), OK);
    CHECK_STATUS(verify_bytes(token, strlen(token), SECRET, NOW + 300, &claims), EREFUSED);
    CHECK_STATUS(verify_bytes(token, strlen(token), SECRET, UINT64_MAX, &claims), EREFUSED);
    end();
}

static void nothing_else_signed_with_the_secret_is_taken(void)
{
    static const char *const headers[] = {
        "{\"alg\":\"none\"}",
        "{\"alg\":\"None\"}",
        "{\"alg\":\"hs256\"}",
        "{\"alg\":\"HS384\"}",
        "{\"alg\":\"HS512\"}",
        "{\"alg\":\"RS256\"}",
        "{\"alg\":\"EdDSA\"}",
        "{\"alg\":\"HS256 \"}",
        "{\"alg\":\"HS256\\u0000\"}",
        "{\"alg\":256}",
        "{\"alg\":null}",
        "{\"alg\":[\"HS256\"]}",
        "{\"ALG\":\"HS256\"}",
        "{\"typ\":\"JWT\"}",
        "{\"alg\":\"none\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
        "[\"HS256\"]",
        "\"HS256\"",
        "{}",
        "{\"alg\":\"HS256\"",
        "{\"alg\":\"HS256\"}}",
    };

    begin();
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        check_refused(headers[i], "{" SUB "," EXP "}");
    end();
}

/* ---- Signed by an identity ---- */

/* "header.payload" with the signature of `ours`. */
static void eddsa_token(char *token, const char *header, const char *payload)
{
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    size_t len = base64url(token, header, strlen(header));

    token[len++] = '.';
    len += base64url(token + len, payload, strlen(payload));
    CHECK_STATUS(identity_sign(ours, token, len, signature), OK);
    token[len++] = '.';
    base64url(token + len, signature, sizeof(signature));
}

#define HEADER_EDDSA "{\"alg\":\"EdDSA\",\"typ\":\"JWT\"}"

static void check_eddsa(const char *header, const char *payload, const char *expected,
                        bool known)
{
    struct jwt_claims claims = {.known = !known};
    char token[8192];

    eddsa_token(token, header, payload);
    if (!CHECK_TEXT(parley_status_name(verify(token, &claims)), expected) ||
        !CHECK(claims.known == known))
        fprintf(stderr, "    payload: %s\n", payload);
}

static void an_identitys_token_obeys_the_same_rules(void)
{
    struct jwt_claims claims;
    char token[JWT_MADE_MAX + 1];
    size_t taken = 0, len;

    begin();
    check_eddsa(HEADER_EDDSA, "{" SUB "," EXP ",\"aud\":\"orig-b\"}", "OK", true);
    check_eddsa(HEADER_EDDSA, "{" SUB "," EXP "}", "OK", true);
    check_eddsa(HEADER_EDDSA, "{" SUB "," EXP ",\"aud\":\"orig-c\"}", "EREFUSED", true);
    check_eddsa(HEADER_EDDSA, "{" SUB ",\"exp\":1700000000}", "EREFUSED", true);
    check_eddsa(HEADER_EDDSA, "{" SUB "," EXP ",\"iat\":1700000061}", "EREFUSED", true);
    check_eddsa(HEADER_EDDSA, "{" SUB "," EXP ",\"iss\":\"other\"}", "EREFUSED", true);
    check_eddsa(HEADER_EDDSA, "{\"sub\":\"b\"," EXP "}", "EREFUSED", false);
    check_eddsa(HEADER_EDDSA, "{" EXP "}", "EREFUSED", false);
    check_eddsa("{\"alg\":\"EdDSA\",\"crit\":[]}", "{" SUB "," EXP "}", "EREFUSED", false);
    check_eddsa("{\"alg\":\"none\"}", "{" SUB "," EXP "}", "EREFUSED", false);
    check_eddsa(HEADER_HS256, "{" SUB "," EXP "}", "EREFUSED", false);
    CHECK_STATUS(jwt_make(ours, "a", AUDIENCE, NOW, token), OK);
    len = strlen(token);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        token[bit / 8] ^= (char)(1 << bit % 8);
        taken += verify_bytes(token, len, SECRET, NOW, &claims) == PARLEY_OK;
        token[bit / 8] ^= (char)(1 << bit % 8);
    }
    CHECK_U64(taken, 0);
    CHECK_STATUS(verify_bytes(token, len, SECRET, NOW + 299, &claims), OK);
    CHECK_STATUS(verify_bytes(token, len, SECRET, NOW + 300, &claims), EREFUSED);
    CHECK_STATUS(verify_bytes(token, len, SECRET, NOW - 61, &claims), EREFUSED);
    end();
}

/* The classic: everybody knows the public key, and signs with it as with a secret. */
static void a_public_key_is_no_secret(void)
{
    const char *payload = "{" SUB "," EXP "}";
    char token[1024], hex[IDENTITY_KEY_HEX + 1], mac_key[IDENTITY_KEY_BYTES + 1] = "";
    struct jwt_claims claims;

    begin();
    identity_hex(identity_public(ours), hex);
    token_make(token, HEADER_HS256, payload, hex);
    CHECK_STATUS(verify(token, &claims), EREFUSED);
    CHECK_STATUS(verify_bytes(token, strlen(token), NULL, NOW, &claims), EREFUSED);
    memcpy(mac_key, identity_public(ours), IDENTITY_KEY_BYTES);
    token_make(token, HEADER_EDDSA, payload, mac_key);
    CHECK_STATUS(verify(token, &claims), EREFUSED);
    end();
}

static void the_longest_names_fit_into_a_token(void)
{
    char name[ENVELOPE_ID_MAX + 1], token[JWT_MADE_MAX + 1];

    begin();
    memset(name, 'x', ENVELOPE_ID_MAX);
    name[ENVELOPE_ID_MAX] = '\0';
    CHECK_STATUS(jwt_make(ours, name, name, UINT64_MAX - JWT_VALID_S, token), OK);
    CHECK(strlen(token) > 500 && strlen(token) <= JWT_MADE_MAX);
    end();
}

static void an_unsigned_token_is_refused(void)
{
    struct jwt_claims claims;
    char token[1024];
    size_t len;

    begin();
    token_make(token, "{\"alg\":\"none\"}", "{" SUB "," EXP "}", SECRET);
    len = (size_t)(strrchr(token, '.') - token);
    token[len + 1] = '\0';
    CHECK_STATUS(verify(token, &claims), EREFUSED); /* "header.payload." */
    token[len] = '\0';
    CHECK_STATUS(verify(token, &claims), EREFUSED);
    end();
}

static void names_are_kept(void)
{
    char payload[512];

    begin();
    check_taken("{\"sub\":\"A-z.0_9:\"," EXP "}");
    check_refused(HEADER_HS256, "{" EXP "}");
    check_refused(HEADER_HS256, "{\"sub\":\"\"," EXP "}");
    check_refused(HEADER_HS256, "{\"sub\":null," EXP "}");
    check_refused(HEADER_HS256, "{\"sub\":7," EXP "}");
    check_refused(HEADER_HS256, "{\"sub\":\"a b\"," EXP "}");
    check_refused(HEADER_HS256, "{\"sub\":\"a\\u0000\"," EXP "}");
    check_refused(HEADER_HS256, "{\"sub\":\"a\\n\"," EXP "}");
    check_refused(HEADER_HS256, "{\"sub\":\"b\"," SUB "," EXP "}");
    check_refused(HEADER_HS256, "{\"s\\u0075b\":\"b\"," SUB "," EXP "}");
    snprintf(payload, sizeof(payload), "{\"sub\":\"%0128d\"," EXP "}", 0);
    check_taken(payload);
    snprintf(payload, sizeof(payload), "{\"sub\":\"%0129d\"," EXP "}", 0);
    check_refused(HEADER_HS256, payload);
    check_taken("{" SUB "," EXP ",\"aud\":\"orig-b\",\"iss\":\"peer-service\"}");
    check_taken("{" SUB "," EXP ",\"aud\":[\"x\",\"orig-b\"],\"type\":\"access\"}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"aud\":\"orig-c\"}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"aud\":[\"orig-c\"]}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"aud\":[[\"orig-b\"]]}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"aud\":{\"orig-b\":1}}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"aud\":[]}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"aud\":null}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"iss\":\"other\"}");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"type\":\"refresh\"}");
    check_refused(HEADER_HS256, "[" SUB "]");
    check_refused(HEADER_HS256, "{" SUB "," EXP "} ,");
    check_refused(HEADER_HS256, "{" SUB "," EXP ",\"x\":[[[[[[[[0]]]]]]]]}");
    end();
}

/* ---- The text ---- */

/* Signs "header.payload" as given, whatever its encoding. */
static void check_encoding(const char *signed_text, bool taken)
{
    struct jwt_claims claims;
    char token[1024];

    snprintf(token, sizeof(token), "%s", signed_text);
    token_sign(token, SECRET);
    if ((verify(token, &claims) == PARLEY_OK) != taken)
        CHECK_TEXT(signed_text, taken ? "(refused)" : "(taken)");
}

static void encoding_is_canonical(void)
{
    struct jwt_claims claims;
    char token[1024], whole[1100];
    size_t len;

    begin();
    /* {"alg":"HS256"} has 15 bytes, {"alg":"HS256" } 16: two bits left over */
    check_encoding("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfQ", true);
    check_encoding("eyJhbGciOiJIUzI1NiIgfQ.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfQ", true);
    check_encoding("eyJhbGciOiJIUzI1NiIgfR.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfQ", false);
    check_encoding("eyJhbGciOiJIUzI1NiIgfQ==.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfQ", false);
    check_encoding("eyJhbGciOiJIUzI1NiJ9A.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfQ", false);
    check_encoding("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfR", false);
    check_encoding("eyJhbGciOiJIUzI1NiJ9\n.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfQ", false);
    check_encoding(" eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfQ", false);
    check_encoding("eyJhbGciOiJIUzI1NiJ9.", false);
    check_encoding(".eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMzAwfQ", false);
    check_encoding(".", false);
    token_make(token, HEADER_HS256, "{" SUB "," EXP "}", SECRET);
    len = strlen(token);
    snprintf(whole, sizeof(whole), "%s=", token);
    CHECK_STATUS(verify(whole, &claims), EREFUSED);
    snprintf(whole, sizeof(whole), "%s.", token);
    CHECK_STATUS(verify(whole, &claims), EREFUSED);
    snprintf(whole, sizeof(whole), "%s.e30", token);
    CHECK_STATUS(verify(whole, &claims), EREFUSED);
    CHECK_STATUS(verify_bytes(token, len + 1, SECRET, NOW, &claims), EREFUSED); /* its NUL */
    CHECK_STATUS(verify("", &claims), EREFUSED);
    CHECK_STATUS(verify("..", &claims), EREFUSED);
    end();
}

static void a_long_token_is_refused(void)
{
    static char payload[JWT_BYTES_MAX], token[2 * JWT_BYTES_MAX];
    struct jwt_claims claims;
    bool taken = true;

    begin();
    for (int pad = 2800; taken && pad < 3100; pad++) { /* until it is one too long */
        snprintf(payload, sizeof(payload), "{" SUB "," EXP ",\"x\":\"%0*d\"}", pad, 0);
        token_make(token, HEADER_HS256, payload, SECRET);
        taken = verify(token, &claims) == PARLEY_OK;
        CHECK(taken == (strlen(token) <= JWT_BYTES_MAX));
    }
    CHECK(!taken);
    end();
}

static void every_part_of_it_counts(void)
{
    struct jwt_claims claims;
    char token[1024];
    size_t len, taken = 0;

    begin();
    token_make(token, HEADER_HS256, "{" SUB "," EXP ",\"iat\":1700000000}", SECRET);
    len = strlen(token);
    CHECK_STATUS(verify(token, &claims), OK);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        token[bit / 8] ^= (char)(1 << bit % 8);
        taken += verify_bytes(token, len, SECRET, NOW, &claims) == PARLEY_OK;
        token[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < len; cut++) {
        taken += verify_bytes(token, cut, SECRET, NOW, &claims) == PARLEY_OK;
        taken +=
            verify_bytes(token + cut + 1, len - cut - 1, SECRET, NOW, &claims) == PARLEY_OK;
    }
    for (size_t at = 0; at + 1 < len; at++) { /* two neighbours exchanged */
        char former = token[at];

        if (former == token[at + 1])
            continue;
        token[at] = token[at + 1];
        token[at + 1] = former;
        taken += verify_bytes(token, len, SECRET, NOW, &claims) == PARLEY_OK;
        token[at + 1] = token[at];
        token[at] = former;
    }
    CHECK_U64(taken, 0);
    CHECK_STATUS(verify(token, &claims), OK);
    end();
}

static void noise_is_refused(void)
{
    struct check_random random = {check_seed(20261123)};
    static const char digits[] = "AZaz09-_.=+/{}\n";
    struct jwt_claims claims = {.sub = "-"};
    char text[256] = "";

    begin();
    for (int round = 0; round < 20000; round++) {
        size_t len = check_random_below(&random, sizeof(text));

        for (size_t i = 0; i < len; i++)
            text[i] = digits[check_random_below(&random, sizeof(digits) - 1)];
        if (len > 60 && round % 2 == 0) /* three parts, the last as long as a signature */
            text[len - 44] = '.';
        if (verify_bytes(text, len, SECRET, NOW, &claims) != PARLEY_EREFUSED)
            CHECK_TEXT(text, "(taken)");
    }
    CHECK_TEXT(claims.sub, "-"); /* untouched */
    end();
}

/* A node short of memory must not call a good token a bad one. */
static void want_of_memory_is_no_refusal(void)
{
    const struct jwt_judge judge = {.secret = SECRET,
                                    .secret_len = strlen(SECRET),
                                    .audience = AUDIENCE,
                                    .now_s = NOW,
                                    .skew_s = 60};
    struct fail_alloc state = {0};
    struct jwt_claims claims;
    char token[1024];

    token_make(token, HEADER_HS256, "{" SUB "," EXP "}", SECRET);
    for (int64_t successes = 0;; successes++) {
        struct alloc failing = fail_alloc_init(&state, successes);
        struct json_doc own;
        parley_status status;

        json_init(&own, &failing);
        status = jwt_verify(&own, token, strlen(token), &judge, &claims);
        json_fini(&own);
        CHECK_U64(state.out, 0);
        if (status == PARLEY_OK) {
            CHECK(successes > 0);
            return;
        }
        if (!CHECK_STATUS(status, ENOMEM))
            return;
    }
}

static const struct check_test tests[] = {
    {"the vectors hold", the_vectors_hold},
    {"a token's times are kept", times_are_kept},
    {"nothing but HS256 is taken with a secret", nothing_else_signed_with_the_secret_is_taken},
    {"an identity's token obeys the same rules", an_identitys_token_obeys_the_same_rules},
    {"a public key is no secret", a_public_key_is_no_secret},
    {"the longest names fit into a token", the_longest_names_fit_into_a_token},
    {"an unsigned token is refused", an_unsigned_token_is_refused},
    {"a token's names are kept", names_are_kept},
    {"its encoding is canonical", encoding_is_canonical},
    {"a long token is refused", a_long_token_is_refused},
    {"every bit of a token counts", every_part_of_it_counts},
    {"noise is refused", noise_is_refused},
    {"want of memory is no refusal", want_of_memory_is_no_refusal},
};

CHECK_MAIN("tokens", tests)
