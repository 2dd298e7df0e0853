/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions of the three-way handshake between real nodes, each in the older service's part:
 * what is sent is encrypted, nothing goes out before there is a session, lost sessions are
 * replaced, and nobody but the trusted key's owner gets one.
 */
#include "test/peers/secure_pair.h"

struct old_pair {
    struct secure_pair secure; /* its tally, seen, keys and meddler */
    parley *receiver, *sender;
    parley_peer peer;
};

static void add_receiver_by(struct old_pair *pair, const char *key, uint32_t ttl_ms,
                            parley_encryption encryption, parley_preference preference)
{
    parley_peer_options options;
    char url[64];

    parley_peer_options_init(&options);
    options.preference = preference;
    options.preference_set = true;
    options.dialect =
        preference == PARLEY_HTTP_ONLY ? PARLEY_DIALECT_SERVICE : PARLEY_DIALECT_AUTO;
    options.public_key = key;
    options.encryption = encryption;
    options.pace = false;
    options.ttl_ms = ttl_ms;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", pair->secure.meddler.port);
    CHECK_STATUS(parley_peer_add(pair->sender, "receiver", url, &options, &pair->peer), OK);
}

static void add_receiver(struct old_pair *pair, const char *key, uint32_t ttl_ms,
                         parley_encryption encryption)
{
    add_receiver_by(pair, key, ttl_ms, encryption, PARLEY_HTTP_ONLY);
}

/* What the receiver answers a handshake to; NULL key: it does not know the sender. */
static parley_peer add_sender_by(struct old_pair *pair, const char *key,
                                 parley_encryption encryption)
{
    parley_peer_options options;
    parley_peer back = {0};
    char url[64];

    if (key == NULL)
        return back;
    parley_peer_options_init(&options);
    options.public_key = key;
    options.encryption = encryption;
    options.preference = PARLEY_HTTP_ONLY;
    options.preference_set = true;
    options.dialect = PARLEY_DIALECT_SERVICE;
    options.pace = false;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", parley_port(pair->sender));
    CHECK_STATUS(parley_peer_add(pair->receiver, "sender", url, &options, &back), OK);
    return back;
}

static void add_sender(struct old_pair *pair, const char *key)
{
    add_sender_by(pair, key, PARLEY_ENCRYPTION_NONE);
}

static parley *open_node(struct old_pair *pair, unsigned who, const struct secure_setup *setup)
{
    parley_options options;

    secure_options(&pair->secure, setup, &options, who);
    options.listen_host = "127.0.0.1";
    options.accept_websocket = true;
    return node_open(&options);
}

static void open_nodes(struct old_pair *pair, const struct secure_setup *setup)
{
    memset(pair, 0, sizeof(*pair));
    pthread_mutex_init(&pair->secure.tally.mutex, NULL);
    secure_keys(&pair->secure);
    pair->receiver = open_node(pair, 1, setup);
    parley_on_message(pair->receiver, NULL, seen_handler, &pair->secure.seen);
    meddler_open(&pair->secure.meddler, parley_port(pair->receiver), setup->meddle, MARKER);
    pair->sender = open_node(pair, 0, setup);
    pair->secure.sender = pair->sender;
}

static void post_from(struct old_pair *pair, uint64_t from, uint64_t count)
{
    pair->secure.peer = pair->peer;
    secure_post(&pair->secure, from, count);
}

static void close_nodes(struct old_pair *pair)
{
    CHECK_STATUS(parley_close(pair->sender), OK);
    meddler_close(&pair->secure.meddler);
    CHECK_STATUS(parley_close(pair->receiver), OK);
}

static void check_delivered(struct old_pair *pair, uint64_t count)
{
    CHECK(check_wait(&pair->secure.tally.results, count));
    CHECK_U64(pair->secure.tally.outcomes[PARLEY_DELIVERED], count);
    CHECK_U64(pair->secure.seen.handled, count);
    CHECK_U64(pair->secure.seen.violations, 0);
    CHECK_U64(pair->secure.meddler.seen, 0);
}

static void test_delivered(void)
{
    const struct secure_setup setup = {0};
    struct old_pair pair;

    open_nodes(&pair, &setup);
    add_sender(&pair, pair.secure.keys[0]);
    add_receiver(&pair, pair.secure.keys[1], 0, PARLEY_ENCRYPTION_SESSION);
    post_from(&pair, 0, 50);
    check_delivered(&pair, 50);
    close_nodes(&pair);
}

/* The handshake goes over HTTP, the messages over the WebSocket. */
static void test_over_websocket(void)
{
    const struct secure_setup setup = {0};
    struct old_pair pair;

    open_nodes(&pair, &setup);
    add_sender(&pair, pair.secure.keys[0]);
    add_receiver_by(&pair, pair.secure.keys[1], 0, PARLEY_ENCRYPTION_SESSION,
                    PARLEY_WEBSOCKET_ONLY);
    post_from(&pair, 0, 50);
    check_delivered(&pair, 50);
    CHECK_U64(pair.secure.tally.transports[PARLEY_TRANSPORT_WEBSOCKET], 50);
    close_nodes(&pair);
}

/* Both begin at once. */
static void test_both_begin(void)
{
    const struct secure_setup setup = {0};
    struct tally tally = TALLY_INIT;
    struct seen seen = {0};
    struct old_pair pair;
    parley_peer back;

    open_nodes(&pair, &setup);
    parley_on_message(pair.sender, NULL, seen_handler, &seen);
    back = add_sender_by(&pair, pair.secure.keys[0], PARLEY_ENCRYPTION_SESSION);
    add_receiver(&pair, pair.secure.keys[1], 0, PARLEY_ENCRYPTION_SESSION);
    for (unsigned n = 0; n < 20; n++) {
        char payload[32];

        snprintf(payload, sizeof(payload), "{\"t\":0,\"n\":%u}", n);
        CHECK_STATUS(post(pair.receiver, back, payload, &tally), OK);
        post_from(&pair, n, 1);
    }
    check_delivered(&pair, 20);
    CHECK(check_wait(&tally.results, 20));
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 20);
    CHECK_U64(seen.handled, 20);
    CHECK_U64(seen.violations, 0);
    close_nodes(&pair);
}

static _Atomic(uint64_t) confirmed;

static size_t count_confirms(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    static const char step[] = "\"handshake_confirm\"";

    (void)meddler;
    if (to_server && memmem(bytes, len, step, sizeof(step) - 1) != NULL)
        atomic_fetch_add(&confirmed, 1);
    return len;
}

/* Renewed while messages flow: none is lost or doubled. */
static void test_renewed(void)
{
    const struct secure_setup setup = {.rekey_s = 1, .session_s = 2, .meddle = count_confirms};
    struct old_pair pair;
    uint64_t sent = 0;

    atomic_store(&confirmed, 0);
    open_nodes(&pair, &setup);
    add_sender(&pair, pair.secure.keys[0]);
    add_receiver(&pair, pair.secure.keys[1], 0, PARLEY_ENCRYPTION_SESSION);
    for (time_t end = time(NULL) + 20; atomic_load(&confirmed) < 3 && time(NULL) < end;
         sent++) {
        post_from(&pair, sent, 1);
        CHECK(check_wait(&pair.secure.tally.results, sent + 1));
    }
    CHECK_U64(atomic_load(&confirmed), 3);
    check_delivered(&pair, sent);
    close_nodes(&pair);
}

/* The receiver is told of its sender again: it has forgotten their session. */
static void test_forgotten(void)
{
    const struct secure_setup setup = {0};
    parley_peer back = {0};
    struct old_pair pair;

    open_nodes(&pair, &setup);
    add_sender(&pair, pair.secure.keys[0]);
    add_receiver(&pair, pair.secure.keys[1], 0, PARLEY_ENCRYPTION_SESSION);
    post_from(&pair, 0, 1);
    CHECK(check_wait(&pair.secure.tally.results, 1));
    CHECK_STATUS(parley_peer_find(pair.receiver, "sender", &back), OK);
    CHECK_STATUS(parley_peer_remove(pair.receiver, back), OK);
    add_sender(&pair, pair.secure.keys[0]);
    post_from(&pair, 1, 1);
    check_delivered(&pair, 2);
    close_nodes(&pair);
}

/* @param sender's the key the receiver trusts for the sender, and the other way round */
static void check_refused(int senders, int receivers, meddler_fn meddle, const char *detail)
{
    const struct secure_setup setup = {.meddle = meddle};
    struct old_pair pair;

    open_nodes(&pair, &setup);
    add_sender(&pair, senders < 0 ? NULL : pair.secure.keys[senders]);
    add_receiver(&pair, pair.secure.keys[receivers], 300, PARLEY_ENCRYPTION_SESSION);
    post_from(&pair, 0, 3);
    CHECK(check_wait(&pair.secure.tally.results, 3));
    CHECK_U64(pair.secure.tally.outcomes[PARLEY_EXPIRED], 3);
    CHECK_CONTAINS(pair.secure.tally.detail, "no encrypted session");
    if (detail != NULL)
        CHECK_CONTAINS(pair.secure.tally.detail, detail);
    CHECK_U64(pair.secure.seen.handled, 0);
    CHECK_U64(pair.secure.meddler.seen, 0);
    close_nodes(&pair);
}

static void test_strangers(void)
{
    check_refused(2, 1, NULL, "Invalid signature");
    check_refused(-1, 1, NULL, "AUTHENTICATION_FAILED");
    check_refused(0, 2, NULL, NULL); /* the answer is signed with another key */
}

static size_t change_ephemeral(struct meddler *meddler, char *bytes, size_t len,
                               bool to_server)
{
    static const char key[] = "\"e2e_ephemeral_key\":\"";
    char *at = memmem(bytes, len, key, sizeof(key) - 1);

    (void)meddler;
    if (to_server && at != NULL && at + sizeof(key) + 4 < bytes + len)
        at[sizeof(key) + 3] = at[sizeof(key) + 3] == 'A' ? 'B' : 'A';
    return len;
}

/* Who changes the key in between has not signed it. */
static void test_meddled(void)
{
    check_refused(0, 1, change_ephemeral, "Invalid signature");
}

static void test_wrong_session(void)
{
    static const char unknown[] =
        "{\"_e2e_encrypted\":true,\"session_id\":\"s\",\"data\":\"AAAA\","
        "\"nonce\":\"AAECAwQFBgcICQoL\"}";
    const struct secure_setup setup = {0};
    struct tally tally = TALLY_INIT;
    struct old_pair pair;

    open_nodes(&pair, &setup);
    add_sender(&pair, pair.secure.keys[0]);
    add_receiver(&pair, pair.secure.keys[1], 0, PARLEY_ENCRYPTION_NONE);
    CHECK_STATUS(post(pair.sender, pair.peer, unknown, &tally), OK);
    CHECK(check_wait(&tally.results, 1));
    CHECK_U64(tally.outcomes[PARLEY_REJECTED], 1);
    CHECK_TEXT(tally.detail, "Decryption failed");
    CHECK_U64(pair.secure.seen.handled, 0);
    close_nodes(&pair);
}

static const struct check_test tests[] = {
    {"encrypted in a session", test_delivered},
    {"encrypted over a WebSocket", test_over_websocket},
    {"both begin at once", test_both_begin},
    {"renewed under load", test_renewed},
    {"a session that was forgotten", test_forgotten},
    {"keys that are not trusted", test_strangers},
    {"a key that was changed on its way", test_meddled},
    {"an unknown session", test_wrong_session},
};

CHECK_MAIN("three-way sessions between nodes", tests)
