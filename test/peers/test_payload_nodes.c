/* SPDX-License-Identifier: Apache-2.0
 *
 * Payloads encrypted as for older peers, between real nodes: over HTTP and over a WebSocket in
 * an older dialect; nothing readable on the wire, and nothing in plaintext where it cannot be.
 */
#include "test/peers/secure_pair.h"

static parley_peer encrypting(struct secure_pair *pair, parley_encryption encryption,
                              const char *key, parley_preference preference,
                              parley_dialect dialect)
{
    parley_peer_options options;
    parley_peer peer = {0};
    char url[64];

    CHECK_STATUS(parley_peer_remove(pair->sender, pair->peer), OK);
    parley_peer_options_init(&options);
    options.preference = preference;
    options.preference_set = true;
    options.dialect = dialect;
    options.public_key = key;
    options.encryption = encryption;
    options.pace = false;
    options.ttl_ms = 5000;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", pair->meddler.port);
    CHECK_STATUS(parley_peer_add(pair->sender, "receiver", url, &options, &peer), OK);
    return peer;
}

static void open_pair(struct secure_pair *pair, parley_encryption encryption, bool known,
                      parley_preference preference, parley_dialect dialect)
{
    const struct secure_setup setup = {.preference = PARLEY_HTTP_ONLY};

    secure_open(pair, &setup);
    pair->peer =
        encrypting(pair, encryption, known ? pair->keys[1] : NULL, preference, dialect);
}

static void check_encrypted(parley_preference preference, parley_dialect dialect)
{
    struct secure_pair pair;

    open_pair(&pair, PARLEY_ENCRYPTION_PAYLOAD, true, preference, dialect);
    secure_post(&pair, 0, 50);
    CHECK(check_wait(&pair.tally.results, 50));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 50);
    CHECK_U64(pair.seen.handled, 50);
    CHECK_U64(pair.seen.violations, 0); /* the handler has read what was posted */
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static void test_over_http(void)
{
    check_encrypted(PARLEY_HTTP_ONLY, PARLEY_DIALECT_AUTO);
    check_encrypted(PARLEY_HTTP_ONLY, PARLEY_DIALECT_SERVICE);
}

static void test_over_websocket(void)
{
    check_encrypted(PARLEY_WEBSOCKET_ONLY, PARLEY_DIALECT_AUTO);
}

/* Long payloads are cut first, and each piece is encrypted. */
static void test_chunked(void)
{
    static char payload[40000];
    struct secure_pair pair;

    open_pair(&pair, PARLEY_ENCRYPTION_PAYLOAD, true, PARLEY_HTTP_ONLY,
              PARLEY_DIALECT_SERVICE);
    memset(payload, 'x', sizeof(payload) - 1);
    memcpy(payload, "{\"t\":0,\"n\":0,\"p\":\"" MARKER, 18 + strlen(MARKER));
    memcpy(payload + sizeof(payload) - 3, "\"}", 3);
    CHECK_STATUS(post(pair.sender, pair.peer, payload, &pair.tally), OK);
    CHECK(check_wait(&pair.tally.results, 1));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 1);
    CHECK_U64(pair.seen.handled, 1);
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static void check_fails(parley_encryption encryption, bool known)
{
    struct secure_pair pair;

    open_pair(&pair, encryption, known, PARLEY_WEBSOCKET_FIRST, PARLEY_DIALECT_AUTO);
    secure_post(&pair, 0, 3);
    CHECK(check_wait(&pair.tally.results, 3));
    CHECK_U64(pair.tally.outcomes[PARLEY_EXHAUSTED], 3);
    CHECK_CONTAINS(pair.tally.detail, "encryption is asked for");
    CHECK_U64(pair.seen.handled, 0);
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static void test_never_plaintext(void)
{
    check_fails(PARLEY_ENCRYPTION_PAYLOAD, false);
    check_fails(PARLEY_ENCRYPTION_SESSION, true);
}

/* For another key, and for a session nobody knows. */
static void test_refused(void)
{
    static const char unknown[] =
        "{\"_e2e_encrypted\":true,\"session_id\":\"s\",\"data\":\"AAAA\","
        "\"nonce\":\"AAECAwQFBgcICQoL\"}";
    struct secure_pair pair;
    struct tally tally = TALLY_INIT;

    open_pair(&pair, PARLEY_ENCRYPTION_NONE, false, PARLEY_HTTP_ONLY, PARLEY_DIALECT_SERVICE);
    CHECK_STATUS(post(pair.sender, pair.peer, unknown, &tally), OK);
    CHECK(check_wait(&tally.results, 1));
    CHECK_U64(tally.outcomes[PARLEY_REJECTED], 1);
    CHECK_TEXT(tally.detail, "Decryption failed");
    pair.peer = encrypting(&pair, PARLEY_ENCRYPTION_PAYLOAD, pair.keys[2], PARLEY_HTTP_ONLY,
                           PARLEY_DIALECT_SERVICE);
    secure_post(&pair, 0, 1);
    CHECK(check_wait(&pair.tally.results, 1));
    CHECK_U64(pair.tally.outcomes[PARLEY_REJECTED], 1);
    CHECK_TEXT(pair.tally.detail, "Decryption failed");
    CHECK_U64(pair.seen.handled, 0);
    secure_close(&pair);
}

static const struct check_test tests[] = {
    {"encrypted over HTTP", test_over_http},
    {"encrypted over a WebSocket", test_over_websocket},
    {"encrypted in chunks", test_chunked},
    {"never plaintext in its place", test_never_plaintext},
    {"what cannot be decrypted is refused", test_refused},
};

CHECK_MAIN("payloads between nodes", tests)
