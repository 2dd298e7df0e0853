/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealed sessions over time, between real nodes: keys that are too old, sessions that are,
 * keys that are withdrawn or exchanged while messages flow, transports that take turns.
 */
#include "test/peers/secure_pair.h"

static struct secure_setup sealed(parley_preference preference)
{
    return (struct secure_setup){.preference = preference,
                                 .sender_min = PARLEY_SECURITY_SEALED,
                                 .receiver_min = PARLEY_SECURITY_SEALED};
}

static void check_all(struct secure_pair *pair, uint64_t count)
{
    CHECK(check_wait(&pair->tally.results, count));
    CHECK_U64(pair->tally.outcomes[PARLEY_DELIVERED], count);
    CHECK_U64(pair->seen.handled, count);
    CHECK_U64(pair->seen.violations, 0);
    CHECK_U64(pair->meddler.seen, 0);
}

/* ---- Time ---- */

/* Counts new keys: over HTTP each begins with a step 1 that anybody can read; on a WebSocket
 * the epoch stands in front of what the receiver says, unmasked. */
static size_t count_keys(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    if (to_server && memmem(bytes, len, "\"handshake_init\"", 16) != NULL &&
        memmem(bytes, len, "POST /message", 13) != NULL)
        meddler->number++;
    if (!to_server && len > 9 && (uint8_t)bytes[0] == 0x82) {
        const char *header = bytes + (bytes[1] == 126 ? 4 : 2);

        if (header[0] == 1 && (uint64_t)header[4] > meddler->number)
            meddler->number = (uint64_t)header[4];
    }
    return len;
}

enum { REKEYED_WS, REKEYED_HTTP, SHORT_WS, SHORT_HTTP, ENDED_WS, ENDED_HTTP, PAIRS };

static struct secure_pair aging[PAIRS];

static void open_aging(parley_preference preference, size_t at)
{
    struct secure_setup setup = sealed(preference);

    setup.meddle = count_keys;
    setup.rekey_s = at <= REKEYED_HTTP ? 1 : 3500;
    setup.session_s = at > REKEYED_HTTP ? 2 : 0;
    setup.session_of_receiver = at >= ENDED_WS; /* the sender would go on using it */
    secure_open(&aging[at], &setup);
}

/* What ends is noticed within a second. */
static bool aged(void *user)
{
    uint64_t *count = user;

    for (size_t i = 0; i < PAIRS; i++)
        secure_post(&aging[i], *count, 20);
    for (size_t i = 0; i < PAIRS; i++)
        CHECK(check_wait(&aging[i].tally.results, *count + 1));
    *count += 20;
    return aging[REKEYED_WS].meddler.number >= 3 && aging[REKEYED_HTTP].meddler.number >= 3 &&
           aging[SHORT_WS].meddler.number >= 2 && aging[SHORT_HTTP].meddler.number >= 2 &&
           aging[ENDED_WS].meddler.connections >= 2 && aging[ENDED_HTTP].meddler.number >= 2;
}

static void test_time(void)
{
    uint64_t count = 0;

    for (size_t i = 0; i < PAIRS; i++)
        open_aging(i % 2 == 0 ? PARLEY_WEBSOCKET_ONLY : PARLEY_HTTP_ONLY, i);
    CHECK(check_until(aged, &count));
    for (size_t i = 0; i < PAIRS; i++) {
        check_all(&aging[i], count);
        if (i < ENDED_WS)
            CHECK_U64(aging[i].seen.redelivered, 0);
        if (i < ENDED_WS && i % 2 == 0)
            CHECK_U64(aging[i].meddler.connections, 1);
        secure_close(&aging[i]);
    }
}

/* ---- One transport after the other ---- */

static _Atomic(bool) no_upgrades;

static size_t block_upgrades(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    char *at = to_server ? memmem(bytes, len, "GET /ws", 7) : NULL;

    (void)meddler;
    if (at != NULL && atomic_load(&no_upgrades))
        at[5] = 'x';
    return len;
}

struct route {
    struct secure_pair pair;
    parley_transport transport;
    uint64_t posted;
};

static bool goes_by(void *user)
{
    struct route *route = user;
    uint64_t before = atomic_load(&route->pair.tally.transports[route->transport]);

    secure_post(&route->pair, route->posted, 20);
    route->posted += 20;
    CHECK(check_wait(&route->pair.tally.results, route->posted));
    return atomic_load(&route->pair.tally.transports[route->transport]) == before + 20;
}

static void change_to(struct route *route, parley_transport transport)
{
    route->transport = transport;
    atomic_store(&no_upgrades, transport == PARLEY_TRANSPORT_HTTP);
    if (transport == PARLEY_TRANSPORT_HTTP) {
        secure_post(&route->pair, route->posted, 300); /* some of it is under way */
        route->posted += 300;
        meddler_cut(&route->pair.meddler);
    }
    CHECK(check_until(goes_by, route));
}

static void test_transports(void)
{
    static struct route route;
    struct secure_setup setup = sealed(PARLEY_WEBSOCKET_FIRST);

    memset(&route, 0, sizeof(route));
    setup.rekey_frames = 16;
    setup.meddle = block_upgrades;
    secure_open(&route.pair, &setup);
    change_to(&route, PARLEY_TRANSPORT_WEBSOCKET);
    for (unsigned i = 0; i < 2; i++) {
        change_to(&route, PARLEY_TRANSPORT_HTTP);
        change_to(&route, PARLEY_TRANSPORT_WEBSOCKET);
    }
    CHECK(route.pair.seen.over_http > 0);
    check_all(&route.pair, route.posted);
    secure_close(&route.pair);
}

/* ---- Both begin at once ---- */

static void both_dial(parley_preference preference)
{
    struct secure_setup setup = sealed(preference);
    struct tally back_tally = TALLY_INIT;
    struct seen back_seen = {0};
    parley_options options;
    parley_peer_options peer;
    struct secure_pair pair;
    parley *other;
    parley_peer back;
    char url[64];

    setup.rekey_frames = 16;
    secure_open(&pair, &setup); /* its sender stays silent: another node takes its name */
    secure_options(&pair, &setup, &options, 0);
    options.listen_host = "127.0.0.1";
    options.accept_websocket = true;
    other = node_open(&options);
    parley_on_message(other, NULL, seen_handler, &back_seen);
    parley_peer_options_init(&peer);
    peer.preference = preference;
    peer.preference_set = true;
    peer.security_min = PARLEY_SECURITY_SEALED;
    peer.public_key = pair.keys[1];
    url_of(pair.receiver, url, sizeof(url));
    CHECK_STATUS(parley_close(pair.sender), OK);
    pair.sender = other;
    CHECK_STATUS(parley_peer_add(other, "receiver", url, &peer, &pair.peer), OK);
    CHECK_STATUS(parley_peer_remove(pair.receiver, pair.back), OK);
    peer.public_key = pair.keys[0];
    url_of(other, url, sizeof(url));
    CHECK_STATUS(parley_peer_add(pair.receiver, "sender", url, &peer, &back), OK);
    for (uint64_t n = 0; n < 1000; n++) {
        secure_post(&pair, n, 1);
        CHECK_STATUS(post_numbered(pair.receiver, back, 0, n, &back_tally), OK);
    }
    CHECK(check_wait(&back_tally.results, 1000));
    CHECK_U64(back_tally.outcomes[PARLEY_DELIVERED], 1000);
    CHECK_U64(back_seen.handled, 1000);
    CHECK_U64(back_seen.violations, 0);
    check_all(&pair, 1000);
    secure_close(&pair);
}

static void test_both_dial(void)
{
    both_dial(PARLEY_WEBSOCKET_ONLY);
    both_dial(PARLEY_HTTP_ONLY);
}

/* ---- Chunks ---- */

#define LARGE 1500000

static void transfer(parley_preference preference)
{
    static char payload[LARGE + 128];
    struct secure_setup setup = sealed(preference);
    struct secure_pair pair;
    int len = snprintf(payload, sizeof(payload), "{\"t\":0,\"n\":0,\"m\":\"");

    while (len < LARGE)
        len += snprintf(payload + len, sizeof(payload) - (size_t)len, MARKER " %d ", len);
    snprintf(payload + len, sizeof(payload) - (size_t)len, "\"}");
    setup.message_bytes_max = 65536;
    setup.rekey_frames = 16;
    secure_open(&pair, &setup);
    CHECK_STATUS(post(pair.sender, pair.peer, payload, &pair.tally), OK);
    CHECK(check_wait(&pair.tally.results, 1));
    secure_post(&pair, 1, 10);
    check_all(&pair, 11);
    CHECK(pair.meddler.bytes > LARGE);
    secure_close(&pair);
}

static void test_transfers(void)
{
    transfer(PARLEY_WEBSOCKET_ONLY);
    transfer(PARLEY_HTTP_ONLY);
}

/* ---- No identity ---- */

static void test_nobody_cannot_sign(void)
{
    struct secure_setup setup = {
        .sender_min = PARLEY_SECURITY_SIGNED, .anonymous = true, .ttl_ms = 200};
    static const parley_preference preferences[] = {PARLEY_WEBSOCKET_ONLY, PARLEY_HTTP_ONLY};

    for (size_t i = 0; i < 2; i++) {
        setup.preference = preferences[i];
        check_nothing(&setup, "security_min");
    }
}

/* ---- Keys that change ---- */

/* What `who` trusts the other one's key to be from now on, and its own seed. */
static void reload(struct secure_pair *pair, const struct secure_setup *setup, unsigned who,
                   const char *key, const uint8_t *seed)
{
    parley_peer_entry entry = {.id = who == 0 ? "receiver" : "sender"};
    parley_options options;
    char error[256] = "";

    secure_options(pair, setup, &options, who);
    parley_peer_options_init(&entry.options);
    entry.options.public_key = key;
    options.peers = &entry;
    options.peers_len = 1;
    options.identity_seed = seed;
    CHECK_STATUS(parley_reload_keys(who == 0 ? pair->sender : pair->receiver, &options, error,
                                    sizeof(error)),
                 OK);
    CHECK_TEXT(error, "");
}

/* A message of which nothing can become while the key is not trusted. */
static void post_in_vain(struct secure_pair *pair, uint64_t number)
{
    char payload[128];
    parley_message message;

    snprintf(payload, sizeof(payload), "{\"t\":0,\"n\":%llu,\"m\":\"" MARKER "\"}",
             (unsigned long long)number);
    parley_message_init(&message, "test", payload, strlen(payload));
    message.ttl_ms = 150;
    CHECK_STATUS(
        parley_send(pair->sender, pair->peer, &message, tally_result, &pair->tally, NULL), OK);
    CHECK(check_wait(&pair->tally.results, number + 1));
    CHECK_U64(pair->tally.outcomes[PARLEY_DELIVERED], number);
    CHECK_U64(pair->seen.handled, number);
}

static void withdraw(parley_preference preference, unsigned who)
{
    struct secure_setup setup = sealed(preference);
    struct secure_pair pair;

    secure_open(&pair, &setup);
    secure_post(&pair, 0, 10);
    CHECK(check_wait(&pair.tally.results, 10));
    reload(&pair, &setup, who, NULL, pair.seeds[who]);
    post_in_vain(&pair, 10);
    reload(&pair, &setup, who, pair.keys[1 - who], pair.seeds[who]);
    secure_post(&pair, 10, 1); /* trusted again */
    CHECK(check_wait(&pair.tally.outcomes[PARLEY_DELIVERED], 11));
    CHECK_U64(pair.meddler.seen, 0);
    secure_close(&pair);
}

static void test_withdrawn(void)
{
    for (unsigned who = 0; who < 2; who++) {
        withdraw(PARLEY_WEBSOCKET_ONLY, who);
        withdraw(PARLEY_HTTP_ONLY, who);
    }
}

static size_t count_open(const struct meddler *meddler)
{
    return atomic_load(&meddler->connections) - atomic_load(&meddler->ended);
}

static bool nothing_open(void *user)
{
    return count_open(user) == 0;
}

/* It does not take another message for that. */
static void test_idle_connections_end(void)
{
    struct secure_setup setup = sealed(PARLEY_WEBSOCKET_ONLY);
    struct secure_pair pair;

    for (unsigned who = 0; who < 2; who++) {
        secure_open(&pair, &setup);
        secure_post(&pair, 0, 10);
        CHECK(check_wait(&pair.tally.results, 10));
        CHECK_U64(count_open(&pair.meddler), 1);
        reload(&pair, &setup, who, pair.keys[2], pair.seeds[who]);
        CHECK(check_until(nothing_open, &pair.meddler));
        secure_close(&pair);
    }
}

/* Each gets a new identity, one after the other, while messages flow. */
static void rotate(parley_preference preference)
{
    struct secure_setup setup = sealed(preference);
    struct secure_pair pair;
    unsigned own[2] = {0, 1};
    uint64_t posted = 0;

    secure_open(&pair, &setup);
    for (unsigned i = 0; i < 6; i++, posted += 50) {
        unsigned who = i % 2, fresh = 3 - own[0] - own[1];

        secure_post(&pair, posted, 50);
        CHECK(check_wait(&pair.tally.results, posted + 1));
        own[who] = fresh;
        reload(&pair, &setup, who, pair.keys[own[1 - who]], pair.seeds[fresh]);
        reload(&pair, &setup, 1 - who, pair.keys[fresh], pair.seeds[own[1 - who]]);
    }
    secure_post(&pair, posted, 50);
    check_all(&pair, posted + 50);
    secure_close(&pair);
}

static void test_rotated(void)
{
    rotate(PARLEY_WEBSOCKET_ONLY);
    rotate(PARLEY_HTTP_ONLY);
}

static const struct check_test tests[] = {
    {"keys and sessions that are too old, under load", test_time},
    {"from one transport to the other and back", test_transports},
    {"two nodes that dial each other", test_both_dial},
    {"transfers in chunks", test_transfers},
    {"signed at least, without an identity", test_nobody_cannot_sign},
    {"a key that is withdrawn, and trusted again", test_withdrawn},
    {"idle connections end with the key", test_idle_connections_end},
    {"new identities on both sides, under load", test_rotated},
};

CHECK_MAIN("rekey", tests)
