/* SPDX-License-Identifier: Apache-2.0
 *
 * The promise of the README where one line of it needs many things to go wrong at once:
 * connections that are reset under load, peers that refuse, never answer, are dead or
 * removed, while another thread looks at the counters. Timing is the simulator's to check
 * (test/sim/promise.c): here nothing is timed, only waited for.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "test/peers/nodes.h"

/* ---- A network that resets connections ---- */

static bool is_accepted(int fd, uint16_t port)
{
    struct sockaddr_in here = {0}, there;
    socklen_t here_len = sizeof(here), there_len = sizeof(there);

    return getsockname(fd, (struct sockaddr *)&here, &here_len) == 0 &&
           here.sin_family == AF_INET && ntohs(here.sin_port) == port &&
           getpeername(fd, (struct sockaddr *)&there, &there_len) == 0;
}

/* Connecting to nowhere resets a TCP connection and drops what it held, both ways; its owner
 * finds out as it would of any reset. By the bare system call: for a sanitizer it were a use
 * of the owner's descriptor. */
static unsigned cut_connections(const parley *node)
{
    const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    DIR *directory = opendir("/proc/self/fd");
    unsigned count = 0;

    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        int fd = (int)strtol(entry->d_name, NULL, 10);

        if (entry->d_name[0] != '.' && is_accepted(fd, parley_port(node)))
            count += syscall(SYS_connect, fd, &nowhere, sizeof(nowhere)) == 0;
    }
    if (directory != NULL)
        closedir(directory);
    return count;
}

/* Failures follow each other quickly, and use up no message. */
static void hurried(parley_options *options, const char *id)
{
    node_options(options, id);
    options->http_attempts = 100;
    options->http_backoff_ms = 2;
    options->reconnect_min_ms = 5;
    options->reconnect_max_ms = 50;
    options->connect_grace_ms = 10;
    options->breaker_failures = 0;
}

/* ---- In order, once ---- */

#define ROUND      500u
#define ROUNDS_MAX 60u

struct poster {
    pthread_t thread;
    parley *sender;
    parley_peer peer;
    unsigned index;
    uint64_t from;
    struct tally *tally;
};

static void *post_round(void *user)
{
    struct poster *poster = user;
    char payload[64];
    parley_message message;
    parley_status status;

    for (uint64_t n = poster->from; n < poster->from + ROUND; n++) {
        snprintf(payload, sizeof(payload), "{\"t\":%u,\"n\":%llu}", poster->index,
                 (unsigned long long)n);
        parley_message_init(&message, "test", payload, strlen(payload));
        message.hint = n % 97 == 0 ? PARLEY_HINT_HTTP : PARLEY_HINT_NONE;
        while ((status = parley_send(poster->sender, poster->peer, &message, tally_result,
                                     poster->tally, NULL)) == PARLEY_EAGAIN)
            sched_yield();
        CHECK_STATUS(status, OK);
    }
    return NULL;
}

/* Four threads post, and the connections are cut each time some more have been handled. */
static void storm_round(struct pair *pair, unsigned round)
{
    struct poster posters[4];
    uint64_t before = atomic_load(&pair->seen.handled);

    for (unsigned t = 0; t < 4; t++) {
        posters[t] = (struct poster){.sender = pair->sender,
                                     .peer = pair->peer,
                                     .index = t,
                                     .from = (uint64_t)round * ROUND,
                                     .tally = &pair->tally};
        pthread_create(&posters[t].thread, NULL, post_round, &posters[t]);
    }
    for (unsigned i = 1; i < 8; i++) {
        CHECK(check_wait(&pair->seen.handled, before + i * ROUND / 2));
        cut_connections(pair->receiver);
    }
    for (unsigned t = 0; t < 4; t++)
        pthread_join(posters[t].thread, NULL);
}

static bool all_has_happened(struct pair *pair)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(pair->sender, &stats), OK);
    return stats.resent > 0 && stats.ws_reconnects > 1 && stats.delivered_ws > 0 &&
           stats.delivered_http > 0 && atomic_load(&pair->seen.redelivered) > 0;
}

static void order_survives_everything(void)
{
    parley_options options;
    struct pair pair = {.tally = TALLY_INIT};
    unsigned rounds = 0;

    pair.receiver = receiver_open(0, true);
    hurried(&options, "sender");
    pair.sender = node_open(&options);
    parley_on_message(pair.receiver, NULL, seen_handler, &pair.seen);
    pair.peer = peer_to(pair.sender, pair.receiver, "receiver", PARLEY_WEBSOCKET_FIRST);
    while (rounds < 3 || (rounds < ROUNDS_MAX && !all_has_happened(&pair)))
        storm_round(&pair, rounds++);
    CHECK(check_wait(&pair.tally.results, 4ull * ROUND * rounds));
    CHECK(all_has_happened(&pair));
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 4ull * ROUND * rounds);
    CHECK_U64(pair.seen.handled, 4ull * ROUND * rounds);
    CHECK_U64(pair.seen.violations, 0);
    pair_close(&pair);
}

/* ---- One result each, and counters that add up in every snapshot ---- */

enum { GOOD, REFUSING, SILENT, DEAD, REMOVED, KINDS };

#define EACH   1200u
#define ROOM   64u /* so that posting lasts as long as the trouble */
#define TTL_MS 40u
#define SLIPS  ((size_t)2 * EACH * KINDS)

static const unsigned most[KINDS] = {EACH, EACH, 60, 6, EACH}; /* where each takes its time */

struct storm;

struct slip { /* of one message */
    struct storm *storm;
    _Atomic(uint32_t) results;
    bool accepted;
    unsigned kind;
};

struct storm {
    parley *receiver, *sender;
    char url[64];
    parley_peer peers[KINDS];
    pthread_mutex_t mutex; /* of what the posters and who removes share */
    struct slip slips[SLIPS];
    _Atomic(uint64_t) begun, accepted, results;
    _Atomic(uint64_t) outcomes[KINDS][PARLEY_CANCELLED + 1];
    _Atomic(uint64_t) early, snapshots, posting, resent;
};

static void slip_result(const parley_result *result, void *user)
{
    struct slip *slip = user;
    struct storm *storm = slip->storm;

    if (result->outcome == PARLEY_EXPIRED && result->latency_ns < TTL_MS * 1000000ull)
        atomic_fetch_add(&storm->early, 1);
    atomic_fetch_add(&slip->results, 1);
    atomic_fetch_add(&storm->outcomes[slip->kind][result->outcome], 1);
    atomic_fetch_add(&storm->results, 1);
}

static parley_peer peer_of(struct storm *storm, unsigned kind)
{
    parley_peer peer;

    pthread_mutex_lock(&storm->mutex);
    peer = storm->peers[kind];
    pthread_mutex_unlock(&storm->mutex);
    return peer;
}

static void post_slip(struct storm *storm, struct slip *slip, unsigned kind)
{
    static const char *const types[KINDS] = {"good", "refuse", "never", "good", "never"};
    parley_message message;
    parley_status status;

    *slip = (struct slip){.storm = storm, .kind = kind};
    parley_message_init(&message, types[kind], "{}", 2);
    message.ttl_ms = kind == SILENT ? TTL_MS : 0;
    atomic_fetch_add(&storm->begun, 1);
    do
        status = parley_send(storm->sender, peer_of(storm, kind), &message, slip_result, slip,
                             NULL);
    while (status == PARLEY_EAGAIN && kind != REMOVED && sched_yield() == 0);
    slip->accepted = status == PARLEY_OK;
    if (slip->accepted)
        atomic_fetch_add(&storm->accepted, 1);
    else
        CHECK(kind == REMOVED && (status == PARLEY_ECLOSED || status == PARLEY_EAGAIN));
}

struct storm_poster {
    pthread_t thread;
    struct storm *storm;
    unsigned index;
};

static void *post_storm(void *user)
{
    struct storm_poster *poster = user;
    struct slip *slips = &poster->storm->slips[SLIPS / 2 * poster->index];

    for (unsigned n = 0; n < EACH; n++) {
        for (unsigned kind = 0; kind < KINDS; kind++) {
            if (n < most[kind])
                post_slip(poster->storm, &slips[n * KINDS + kind], kind);
        }
    }
    atomic_fetch_sub(&poster->storm->posting, 1);
    return NULL;
}

static void check_snapshot(const parley_stats *now, parley_stats *last)
{
    CHECK_U64(now->accepted, now->delivered + now->sent + now->rejected + now->exhausted +
                                 now->expired + now->cancelled + now->pending);
    CHECK_U64(now->delivered, now->delivered_ws + now->delivered_http);
    CHECK(now->accepted >= last->accepted && now->delivered >= last->delivered &&
          now->rejected >= last->rejected && now->exhausted >= last->exhausted &&
          now->expired >= last->expired && now->cancelled >= last->cancelled);
    *last = *now;
}

/* What the host has been told lies within what the counters say. */
static void look_at_all(struct storm *storm, parley_stats *last)
{
    uint64_t results = atomic_load(&storm->results);
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(storm->sender, &stats), OK);
    CHECK(results <= stats.accepted - stats.pending);
    CHECK(stats.accepted <= atomic_load(&storm->begun));
    check_snapshot(&stats, last);
    atomic_fetch_add(&storm->snapshots, 1);
}

static void look_at_peer(struct storm *storm, unsigned kind, parley_stats *last)
{
    parley_stats stats = {.size = sizeof(stats)};
    parley_status status = parley_peer_stats_get(storm->sender, peer_of(storm, kind), &stats);

    if (status == PARLEY_EUNKNOWN && kind == REMOVED)
        return;
    CHECK_STATUS(status, OK);
    if (kind == REMOVED)
        memset(last, 0, sizeof(*last)); /* it may be the next of its name */
    check_snapshot(&stats, last);
}

static void *look_on(void *user)
{
    struct storm *storm = user;
    parley_stats total = {0}, peers[KINDS] = {{0}};

    do {
        look_at_all(storm, &total);
        for (unsigned kind = 0; kind < KINDS; kind++)
            look_at_peer(storm, kind, &peers[kind]);
    } while (atomic_load(&storm->posting) > 0 ||
             atomic_load(&storm->results) < atomic_load(&storm->accepted));
    look_at_all(storm, &total);
    CHECK_U64(total.accepted, atomic_load(&storm->accepted));
    CHECK_U64(total.pending, 0);
    atomic_store(&storm->resent, total.resent);
    return NULL;
}

static parley_verdict refuse(const parley_incoming *message, char *detail, void *user)
{
    (void)message;
    (void)user;
    snprintf(detail, PARLEY_DETAIL_MAX, "no");
    return PARLEY_REJECT;
}

static parley_verdict never(const parley_incoming *message, char *detail, void *user)
{
    (void)message;
    (void)detail;
    (void)user;
    return PARLEY_LATER;
}

static void add_kind(struct storm *storm, unsigned kind)
{
    static const char *const ids[KINDS] = {"good", "refusing", "silent", "dead", "removed"};
    parley_peer peer = {0};

    CHECK_STATUS(parley_peer_add(storm->sender, ids[kind],
                                 kind == DEAD ? "http://127.0.0.1:1" : storm->url, NULL,
                                 &peer),
                 OK);
    pthread_mutex_lock(&storm->mutex);
    storm->peers[kind] = peer;
    pthread_mutex_unlock(&storm->mutex);
}

static void storm_open(struct storm *storm)
{
    parley_options options;

    pthread_mutex_init(&storm->mutex, NULL);
    storm->receiver = receiver_open(0, true);
    parley_on_message(storm->receiver, "refuse", refuse, NULL);
    parley_on_message(storm->receiver, "never", never, NULL);
    url_of(storm->receiver, storm->url, sizeof(storm->url));
    hurried(&options, "sender");
    options.http_attempts = 4;
    options.mailbox_messages_max = ROOM;
    storm->sender = node_open(&options);
    for (unsigned kind = 0; kind < KINDS; kind++)
        add_kind(storm, kind);
    atomic_store(&storm->posting, 2);
}

/* Cuts all connections, and has the one peer removed and added again. */
static void make_trouble(struct storm *storm)
{
    parley_peer peer = peer_of(storm, REMOVED);

    cut_connections(storm->receiver);
    CHECK_STATUS(parley_peer_remove(storm->sender, peer), OK);
    add_kind(storm, REMOVED);
}

static void check_slips(struct storm *storm)
{
    unsigned wrong = 0;

    for (size_t i = 0; i < SLIPS; i++)
        wrong += atomic_load(&storm->slips[i].results) != (storm->slips[i].accepted ? 1 : 0);
    CHECK_U64(wrong, 0);
}

static void check_outcomes(struct storm *storm)
{
    CHECK_U64(storm->outcomes[REFUSING][PARLEY_REJECTED], 2 * EACH);
    CHECK_U64(storm->outcomes[SILENT][PARLEY_EXPIRED], 2 * most[SILENT]);
    CHECK_U64(storm->outcomes[DEAD][PARLEY_EXHAUSTED], 2 * most[DEAD]);
    CHECK(storm->outcomes[REMOVED][PARLEY_CANCELLED] > 0);
    CHECK_U64(storm->early, 0);
    CHECK(storm->snapshots > 10);
    CHECK(storm->resent > 0);
}

static void every_snapshot_adds_up(void)
{
    struct storm *storm = calloc(1, sizeof(*storm));
    struct storm_poster posters[2];
    pthread_t looker;

    storm_open(storm);
    for (unsigned i = 0; i < 2; i++) {
        posters[i] = (struct storm_poster){.storm = storm, .index = i};
        pthread_create(&posters[i].thread, NULL, post_storm, &posters[i]);
    }
    pthread_create(&looker, NULL, look_on, storm);
    for (uint64_t i = 1; atomic_load(&storm->posting) > 0 && i < 12; i++) {
        CHECK(check_wait(&storm->begun, i * EACH / 2)); /* of some 6 * EACH */
        make_trouble(storm);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(posters[i].thread, NULL);
    CHECK_STATUS(parley_peer_remove(storm->sender, peer_of(storm, REMOVED)), OK);
    CHECK(check_wait(&storm->results, atomic_load(&storm->accepted)));
    pthread_join(looker, NULL);
    CHECK_STATUS(parley_close(storm->sender), OK);
    CHECK_STATUS(parley_close(storm->receiver), OK);
    check_slips(storm);
    check_outcomes(storm);
    free(storm);
}

/* ---- Delivered: the handler took it ---- */

struct waiting {
    parley_token token;
    _Atomic(uint64_t) began, ponged;
};

static parley_verdict wait_for_word(const parley_incoming *message, char *detail, void *user)
{
    struct waiting *waiting = user;

    (void)detail;
    waiting->token = message->token;
    atomic_fetch_add(&waiting->began, 1);
    return PARLEY_LATER;
}

static void ponged(const parley_pong *pong, void *user)
{
    CHECK_STATUS(pong->status, OK);
    atomic_fetch_add((_Atomic(uint64_t) *)user, 1);
}

/* What had been acknowledged by then has arrived before the pong. */
static void delivered_is_taken(parley_preference preference, parley_transport transport)
{
    struct waiting waiting = {.began = 0};
    struct pair pair;

    pair_open(&pair, preference);
    parley_on_message(pair.receiver, NULL, wait_for_word, &waiting);
    for (uint64_t n = 1; n <= 20; n++) {
        CHECK_STATUS(post(pair.sender, pair.peer, "{}", &pair.tally), OK);
        CHECK(check_wait(&waiting.began, n));
        CHECK_STATUS(
            parley_ping(pair.sender, pair.peer, transport, 20000, ponged, &waiting.ponged),
            OK);
        CHECK(check_wait(&waiting.ponged, n));
        CHECK_U64(pair.tally.results, n - 1);
        CHECK_STATUS(parley_message_finish(pair.receiver, waiting.token,
                                           n % 2 == 0 ? PARLEY_OK : PARLEY_EREFUSED, "no"),
                     OK);
        CHECK(check_wait(&pair.tally.results, n));
    }
    CHECK_U64(pair.tally.outcomes[PARLEY_DELIVERED], 10);
    CHECK_U64(pair.tally.outcomes[PARLEY_REJECTED], 10);
    pair_close(&pair);
}

static void delivered_means_that_the_handler_took_it(void)
{
    delivered_is_taken(PARLEY_WEBSOCKET_ONLY, PARLEY_TRANSPORT_WEBSOCKET);
    delivered_is_taken(PARLEY_HTTP_ONLY, PARLEY_TRANSPORT_HTTP);
}

/* ---- Posting never waits ---- */

struct block {
    sem_t go;
    _Atomic(uint64_t) entered;
};

static void block_worker(const parley_result *result, void *user)
{
    struct block *block = user;

    (void)result;
    atomic_fetch_add(&block->entered, 1);
    sem_wait(&block->go);
}

static parley_peer bounded_peer(parley *sender, const char *id, uint32_t messages_max,
                                uint64_t bytes_max)
{
    parley_peer_options options;
    parley_peer peer = {0};

    parley_peer_options_init(&options);
    options.mailbox_messages_max = messages_max;
    options.mailbox_bytes_max = bytes_max;
    CHECK_STATUS(parley_peer_add(sender, id, "http://127.0.0.1:1", &options, &peer), OK);
    return peer;
}

/* @return how many a peer took before it was full */
static unsigned fill(parley *sender, parley_peer peer, const char *payload,
                     struct tally *tally)
{
    parley_status status;
    unsigned count = 0;

    while ((status = post(sender, peer, payload, tally)) == PARLEY_OK && count < 100000)
        count++;
    CHECK_STATUS(status, EAGAIN);
    return count;
}

/* While the only worker stands still, so that whatever waited for it would wait for good. */
static void refusals(parley *sender, struct tally *tally)
{
    parley_peer few = bounded_peer(sender, "few", 10, 0);
    parley_peer small = bounded_peer(sender, "small", 0, 100000);
    parley_peer large = bounded_peer(sender, "large", 0, UINT64_C(1) << 30);
    size_t len = 60000;
    char *payload = malloc(2 * len + 1);
    unsigned small_took, large_took;

    snprintf(payload, len, "{\"a\":\"%0*d\"}", (int)len - 10, 0);
    CHECK_U64(fill(sender, few, "{}", tally), 10);
    small_took = fill(sender, small, payload, tally);
    CHECK(small_took == 1);
    snprintf(payload, 2 * len, "{\"a\":\"%0*d\"}", (int)(2 * len) - 10, 0);
    CHECK_STATUS(post(sender, small, payload, tally), ETOOBIG);
    large_took = fill(sender, large, payload, tally); /* the runtime's memory */
    CHECK(large_took > 1 && large_took <= (4u << 20) / (2 * len));
    CHECK_STATUS(post(sender, (parley_peer){UINT64_C(1) << 60}, "{}", tally), EUNKNOWN);
    CHECK_STATUS(post(sender, (parley_peer){0}, "{}", tally), EUNKNOWN);
    CHECK_STATUS(parley_peer_remove(sender, few), OK);
    CHECK_STATUS(post(sender, few, "{}", tally), ECLOSED);
    free(payload);
}

static void posting_never_waits(void)
{
    struct tally tally = TALLY_INIT;
    struct block block = {.entered = 0};
    parley_options options;
    parley_message message;
    parley_peer peer;
    parley *sender;

    sem_init(&block.go, 0, 0);
    hurried(&options, "sender");
    options.workers = 1;
    options.http_attempts = 1;
    options.memory_bytes_max = 4 << 20;
    sender = node_open(&options);
    peer = bounded_peer(sender, "first", 0, 0);
    parley_message_init(&message, "test", "{}", 2);
    CHECK_STATUS(parley_send(sender, peer, &message, block_worker, &block, NULL), OK);
    CHECK(check_wait(&block.entered, 1));
    refusals(sender, &tally);
    CHECK_U64(tally.results, 0);
    sem_post(&block.go);
    CHECK_STATUS(parley_drain(sender, 20000, NULL), OK);
    CHECK_STATUS(post(sender, peer, "{}", &tally), ECLOSED);
    CHECK_STATUS(parley_close(sender), OK);
    sem_destroy(&block.go);
}

static const struct check_test tests[] = {
    {"order and once hold across fallback, reconnect and resume", order_survives_everything},
    {"one result each, and every snapshot adds up, whatever fails", every_snapshot_adds_up},
    {"delivered means that the handler took it", delivered_means_that_the_handler_took_it},
    {"posting never waits, and each refusal has its reason", posting_never_waits},
};

CHECK_MAIN("promise", tests)
