/* SPDX-License-Identifier: Apache-2.0
 *
 * Whoever was told PARLEY_EAGAIN is told when there is room: by the peer's bounds in messages
 * and in bytes, and by the runtime's. Posting threads here wait for on_writable and for
 * nothing else, so that one that is lost stops the test.
 */
#include "test/peers/nodes.h"

#define THREADS 4
#define EACH    1500
#define PEERS   3

/* Counts what on_writable said of each peer. */
struct gate {
    parley_peer peers[PEERS];
    _Atomic(uint64_t) told[PEERS];
};

static void on_writable(parley_peer peer, void *user)
{
    struct gate *gate = user;

    for (unsigned i = 0; i < PEERS; i++) {
        if (gate->peers[i].value == peer.value)
            atomic_fetch_add(&gate->told[i], 1);
    }
}

/* ---- Threads that race with results ---- */

struct poster {
    struct pair *pair;
    struct gate *gate;
    unsigned index;
    uint64_t refused;
    bool stuck;
    pthread_t thread;
};

static void *post_all(void *user)
{
    struct poster *poster = user;
    struct pair *pair = poster->pair;
    char payload[96];

    for (uint64_t n = 0; n < EACH && !poster->stuck; n++) {
        /* Read before the post: what is told after a refusal counts. */
        uint64_t told = atomic_load(&poster->gate->told[0]);

        snprintf(payload, sizeof(payload), "{\"t\":%u,\"n\":%llu}", poster->index,
                 (unsigned long long)n);
        while (post(pair->sender, poster->gate->peers[0], payload, &pair->tally) ==
               PARLEY_EAGAIN) {
            poster->refused++;
            if (!check_wait(&poster->gate->told[0], told + 1)) {
                poster->stuck = true;
                break;
            }
            told = atomic_load(&poster->gate->told[0]);
        }
    }
    return NULL;
}

static void race(uint32_t messages_max, uint64_t bytes_max, parley_preference preference)
{
    struct poster posters[THREADS];
    parley_peer_options options;
    struct gate gate = {0};
    struct pair pair;
    uint64_t refused = 0;
    char url[64];

    pair_open(&pair, preference);
    parley_peer_options_init(&options);
    options.mailbox_messages_max = messages_max;
    options.mailbox_bytes_max = bytes_max;
    options.preference = preference;
    options.preference_set = true;
    url_of(pair.receiver, url, sizeof(url));
    CHECK_STATUS(parley_peer_add(pair.sender, "small", url, &options, &gate.peers[0]), OK);
    CHECK_STATUS(parley_on_writable(pair.sender, on_writable, &gate), OK);
    for (unsigned i = 0; i < THREADS; i++) {
        posters[i] = (struct poster){.pair = &pair, .gate = &gate, .index = i};
        CHECK(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(posters[i].thread, NULL);
        CHECK(!posters[i].stuck);
        refused += posters[i].refused;
    }
    CHECK(refused > 0);
    CHECK(check_wait(&pair.tally.results, THREADS * EACH));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], THREADS * EACH);
    CHECK_U64(pair.seen.violations, 0);
    pair_close(&pair);
}

static void by_messages(void)
{
    race(8, 0, PARLEY_WEBSOCKET_ONLY);
}

static void by_one_message(void)
{
    race(1, 0, PARLEY_WEBSOCKET_ONLY);
}

static void by_bytes(void)
{
    race(0, 4096, PARLEY_WEBSOCKET_ONLY);
}

static void over_http(void)
{
    race(64, 0, PARLEY_HTTP_ONLY);
}

/* ---- The runtime's own bound ---- */

#define LARGE 60000

struct owing {
    pthread_mutex_t mutex;
    parley_token owed[PEERS][64]; /* under the mutex, by the peer that sent them */
    unsigned owed_len[PEERS];
    _Atomic(uint64_t) handled;
};

/* Owes the answers to peers 0 and 1, which say so in their payloads. */
static parley_verdict owe(const parley_incoming *message, char *detail, void *user)
{
    struct owing *owing = user;
    uint64_t peer = payload_number(message, "t");

    (void)detail;
    if (peer >= 2)
        return PARLEY_ACCEPT;
    pthread_mutex_lock(&owing->mutex);
    if (CHECK(owing->owed_len[peer] < 64))
        owing->owed[peer][owing->owed_len[peer]++] = message->token;
    pthread_mutex_unlock(&owing->mutex);
    atomic_fetch_add(&owing->handled, 1);
    return PARLEY_LATER;
}

static parley_status post_large(struct pair *pair, const struct gate *gate, unsigned peer)
{
    static char payload[LARGE + 1];
    int len = snprintf(payload, sizeof(payload), "{\"t\":%u", peer);

    memset(payload + len, ' ', LARGE - (size_t)len);
    payload[LARGE - 1] = '}';
    return post(pair->sender, gate->peers[peer], payload, &pair->tally);
}

static void answer(struct pair *pair, struct owing *owing, unsigned peer)
{
    pthread_mutex_lock(&owing->mutex);
    for (unsigned i = 0; i < owing->owed_len[peer]; i++)
        CHECK_STATUS(
            parley_message_finish(pair->receiver, owing->owed[peer][i], PARLEY_OK, NULL), OK);
    owing->owed_len[peer] = 0;
    pthread_mutex_unlock(&owing->mutex);
}

/* Most of the memory is a stalled peer's for good, the rest another one's for a while. The
 * third peer, of which nothing is pending, is told when that has gone. */
static void idle_peers_are_told(void)
{
    static struct owing owing;
    struct gate gate = {0};
    parley_options options;
    struct pair pair;
    uint64_t stalled = 0, passing = 0;

    memset(&pair, 0, sizeof(pair));
    owing = (struct owing){.mutex = PTHREAD_MUTEX_INITIALIZER};
    pthread_mutex_init(&pair.tally.mutex, NULL);
    pair.receiver = receiver_open(0, true);
    parley_on_message(pair.receiver, NULL, owe, &owing);
    node_options(&options, "sender");
    options.memory_bytes_max = 1 << 20;
    pair.sender = node_open(&options);
    CHECK_STATUS(parley_on_writable(pair.sender, on_writable, &gate), OK);
    for (unsigned i = 0; i < PEERS; i++) {
        static const char *const names[PEERS] = {"stalled", "passing", "idle"};

        gate.peers[i] = peer_to(pair.sender, pair.receiver, names[i], PARLEY_WEBSOCKET_ONLY);
    }
    for (; stalled < 11; stalled++)
        CHECK_STATUS(post_large(&pair, &gate, 0), OK);
    while (post_large(&pair, &gate, 1) == PARLEY_OK)
        passing++;
    CHECK(passing > 0);
    CHECK_STATUS(post_large(&pair, &gate, 2), EAGAIN);
    CHECK(check_wait(&owing.handled, stalled + passing));
    CHECK_U64(gate.told[2], 0);
    answer(&pair, &owing, 1);
    CHECK(check_wait(&pair.tally.results, passing));
    CHECK(check_wait(&gate.told[1], 1));
    CHECK(check_wait(&gate.told[2], 1));
    CHECK_STATUS(post_large(&pair, &gate, 2), OK);
    CHECK(check_wait(&pair.tally.results, passing + 1));
    answer(&pair, &owing, 0);
    CHECK(check_wait(&pair.tally.results, stalled + passing + 1));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], stalled + passing + 1);
    pair_close(&pair);
}

static const struct check_test tests[] = {
    {"nobody waits for ever at a bound in messages", by_messages},
    {"nobody waits for ever at a bound of one message", by_one_message},
    {"nobody waits for ever at a bound in bytes", by_bytes},
    {"nobody waits for ever over HTTP", over_http},
    {"idle peers are told that the runtime has room, whatever stalls", idle_peers_are_told},
};

CHECK_MAIN("writability", tests)
