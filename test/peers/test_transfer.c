/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages that go in chunks, between real nodes: what arrives is what was sent, over either
 * transport, with one result, whatever happens on the way.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "test/peers/nodes.h"

#define MIB ((size_t)1 << 20)

/** A receiver that remembers the last large payload's SHA-256. */
struct digest {
    _Atomic(uint64_t) handled, small, before; /* small ones before a large one was handled */
    unsigned char sum[32];
    size_t len;
    parley_verdict verdict;
    _Atomic(uint64_t) redelivered;
};

static parley_verdict digest_handler(const parley_incoming *message, char *detail, void *user)
{
    struct digest *digest = user;

    if (message->payload_len < 1000) {
        if (atomic_load(&digest->handled) == 0)
            atomic_fetch_add(&digest->before, 1);
        atomic_fetch_add(&digest->small, 1);
        return PARLEY_ACCEPT;
    }
    EVP_Digest(message->payload, message->payload_len, digest->sum, NULL, EVP_sha256(), NULL);
    digest->len = message->payload_len;
    if (message->redelivered)
        atomic_fetch_add(&digest->redelivered, 1);
    atomic_fetch_add(&digest->handled, 1);
    snprintf(detail, PARLEY_DETAIL_MAX, "no room for it");
    return digest->verdict;
}

/** Progress, and what is to happen after the first pieces have been acknowledged. */
struct progress {
    struct tally tally; /* first */
    _Atomic(uint64_t) calls, last, bytes;
    void (*first)(struct progress *progress); /* NULL: nothing */
    struct pair *pair;
    _Atomic(uint64_t) held, go_on;
};

static void on_progress(parley_id id, uint64_t acknowledged, uint64_t bytes, void *user)
{
    struct progress *progress = user;

    (void)id;
    atomic_store(&progress->last, acknowledged);
    atomic_store(&progress->bytes, bytes);
    if (atomic_fetch_add(&progress->calls, 1) == 0 && progress->first != NULL)
        progress->first(progress);
}

static char *payload_new(size_t len)
{
    static const char head[] = "{\"x\":\"";
    char *payload = malloc(len);

    for (size_t i = 0; i < len; i++) /* no two pieces are alike */
        payload[i] = i < 6 ? head[i] : (char)('a' + (i + (i >> 12) * 7) % 26);
    payload[len - 2] = '"';
    payload[len - 1] = '}';
    return payload;
}

struct world {
    struct pair pair;
    struct digest digest;
    struct progress progress;
    char *payload;
    size_t len;
};

static void world_open(struct world *world, parley_preference preference, size_t len)
{
    memset(world, 0, sizeof(*world));
    pthread_mutex_init(&world->progress.tally.mutex, NULL);
    pair_open(&world->pair, preference);
    parley_on_message(world->pair.receiver, NULL, digest_handler, &world->digest);
    world->progress.pair = &world->pair;
    world->payload = payload_new(len);
    world->len = len;
}

static void world_close(struct world *world)
{
    check_adds_up(world->pair.sender);
    pair_close(&world->pair);
    free(world->payload);
}

static parley_status send_large(struct world *world, bool in_order)
{
    parley_message message;

    parley_message_init(&message, "large", world->payload, world->len);
    message.in_order = in_order;
    message.progress = on_progress;
    return parley_send(world->pair.sender, world->pair.peer, &message, tally_result,
                       &world->progress, NULL);
}

static void check_arrived(struct world *world)
{
    unsigned char sum[32];

    EVP_Digest(world->payload, world->len, sum, NULL, EVP_sha256(), NULL);
    CHECK_U64(world->digest.len, world->len);
    CHECK_BYTES(world->digest.sum, 32, sum, 32);
}

static void whole_arrives(parley_preference preference, size_t len)
{
    struct world world;

    world_open(&world, preference, len);
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_TEXT(world.progress.tally.detail, "");
    CHECK_U64(world.progress.tally.outcomes[PARLEY_DELIVERED], 1);
    CHECK_U64(world.digest.handled, 1);
    check_arrived(&world);
    CHECK(atomic_load(&world.progress.calls) >= 1);
    CHECK_U64(world.progress.last, world.len);
    CHECK_U64(world.progress.bytes, world.len);
    world_close(&world);
}

static void over_websocket(void)
{
    whole_arrives(PARLEY_WEBSOCKET_ONLY, 8 * MIB);
}

static uint64_t stat_requests(parley *node)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(node, &stats), OK);
    return stats.http_requests;
}

/* The first answer tells that it is a parley: large pieces from then on, one a request. */
static void over_http(void)
{
    struct world world;

    whole_arrives(PARLEY_HTTP_ONLY, 3 * MIB);
    world_open(&world, PARLEY_HTTP_ONLY, 3 * MIB);
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.tally.results, 1));
    check_arrived(&world);
    CHECK(stat_requests(world.pair.sender) <= 2 + 17);
    world_close(&world);
}

/* Another one in the receiver's place. */
static void other_receiver(struct world *world, parley_options *options,
                           const parley_peer_options *peer)
{
    char url[64];

    CHECK_STATUS(parley_peer_remove(world->pair.sender, world->pair.peer), OK);
    CHECK_STATUS(parley_close(world->pair.receiver), OK);
    options->listen_host = "127.0.0.1";
    world->pair.receiver = node_open(options);
    parley_on_message(world->pair.receiver, NULL, digest_handler, &world->digest);
    url_of(world->pair.receiver, url, sizeof(url));
    CHECK_STATUS(parley_peer_add(world->pair.sender, "other", url, peer, &world->pair.peer),
                 OK);
}

/* It says so with its answers: pieces that were too large for it are cut anew. */
static void receiver_takes(uint32_t message_bytes_max, uint32_t batch_bytes_max)
{
    parley_peer_options peer;
    parley_options options;
    struct world world;

    world_open(&world, PARLEY_HTTP_ONLY, 2 * MIB);
    node_options(&options, "receiver");
    options.message_bytes_max = message_bytes_max;
    options.batch_bytes_max = batch_bytes_max;
    parley_peer_options_init(&peer);
    peer.preference = PARLEY_HTTP_ONLY;
    peer.preference_set = true;
    peer.dialect = PARLEY_DIALECT_PARLEY; /* so that the first piece is a large one */
    other_receiver(&world, &options, &peer);
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_TEXT(world.progress.tally.detail, "");
    check_arrived(&world);
    world.len = message_bytes_max + 140000; /* a message to us, a transfer to it */
    memcpy(world.payload + world.len - 2, "\"}", 2);
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.tally.results, 2));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_DELIVERED], 2);
    check_arrived(&world);
    world_close(&world);
}

static void a_receiver_of_short_messages(void)
{
    receiver_takes(65536, 65536);
}

/* It reads the batch and refuses the pieces in it. */
static void a_receiver_of_long_batches(void)
{
    receiver_takes(200000, 1 << 20);
}

static void smaller_than_a_message_over_http(void)
{
    whole_arrives(PARLEY_HTTP_ONLY, 9000);
    whole_arrives(PARLEY_HTTP_ONLY, 400000);
}

static uint64_t stat_resent(parley *node)
{
    parley_stats stats = {.size = sizeof(stats)};

    CHECK_STATUS(parley_stats_get(node, &stats), OK);
    return stats.resent;
}

/* ---- Lost on the way ---- */

static void cut(struct progress *progress)
{
    CHECK_STATUS(parley_disconnect(progress->pair->sender, progress->pair->peer), OK);
}

/* What was not acknowledged goes again, a window of it at most, and no piece before. */
static void cut_and_resumed(parley_preference preference)
{
    struct world world;

    world_open(&world, preference, 16 * MIB);
    world.progress.first = cut;
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_DELIVERED], 1);
    CHECK_U64(world.digest.handled, 1);
    check_arrived(&world);
    CHECK(stat_resent(world.pair.sender) < 30); /* of 86 */
    world_close(&world);
}

static void a_cut_connection(void)
{
    cut_and_resumed(PARLEY_WEBSOCKET_ONLY);
    cut_and_resumed(PARLEY_WEBSOCKET_FIRST);
}

/* Holds the sender's worker, and with it the transfer, until the receiver is another one. */
static void hold(struct progress *progress)
{
    atomic_fetch_add(&progress->held, 1);
    check_wait(&progress->go_on, 1);
}

static void *closer(void *node)
{
    CHECK_STATUS(parley_close(node), OK);
    return NULL;
}

/* Tells whether nobody listens on a port any more: closing has begun. */
static bool refused(void *user)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(*(uint16_t *)user),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool refused = connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0;

    close(fd);
    return refused;
}

static void a_receiver_that_restarts(parley_preference preference)
{
    struct world world;
    pthread_t thread;
    uint16_t port;

    world_open(&world, preference, 5 * MIB);
    world.progress.first = hold;
    port = parley_port(world.pair.receiver);
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.held, 1));
    pthread_create(&thread, NULL, closer, world.pair.receiver);
    CHECK(check_until(refused, &port));
    if (preference == PARLEY_WEBSOCKET_ONLY) /* it has to answer the closing */
        atomic_fetch_add(&world.progress.go_on, 1);
    pthread_join(thread, NULL);
    world.pair.receiver = receiver_open(port, true);
    parley_on_message(world.pair.receiver, NULL, digest_handler, &world.digest);
    if (preference == PARLEY_WEBSOCKET_ONLY) /* now, however many dials have failed by now */
        CHECK_STATUS(parley_connect(world.pair.sender, world.pair.peer), OK);
    atomic_fetch_add(&world.progress.go_on, 1);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_TEXT(world.progress.tally.detail, "");
    CHECK_U64(world.progress.tally.outcomes[PARLEY_DELIVERED], 1);
    CHECK_U64(world.digest.handled, 1);
    CHECK_U64(world.digest.redelivered, 1);
    check_arrived(&world);
    world_close(&world);
}

static void a_restart_over_websocket(void)
{
    a_receiver_that_restarts(PARLEY_WEBSOCKET_ONLY);
}

static void a_restart_over_http(void)
{
    a_receiver_that_restarts(PARLEY_HTTP_ONLY);
}

/* ---- Results ---- */

static void the_handler_refuses(void)
{
    struct world world;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 3 * MIB);
    world.digest.verdict = PARLEY_REJECT;
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_REJECTED], 1);
    CHECK_TEXT(world.progress.tally.detail, "no room for it");
    CHECK_U64(world.digest.handled, 1);
    world_close(&world);
}

static void the_receiver_refuses(void)
{
    parley_options options;
    struct world world;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 5 * MIB);
    node_options(&options, "receiver");
    options.transfer_bytes_max = MIB;
    other_receiver(&world, &options, NULL);
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_REJECTED], 1);
    CHECK_CONTAINS(world.progress.tally.detail, "transfer_bytes_max");
    world_close(&world);
}

static void the_deadline_passes(void)
{
    parley_message message;
    struct world world;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 2 * MIB);
    world.digest.verdict = PARLEY_LATER; /* and never answers */
    parley_message_init(&message, "large", world.payload, world.len);
    message.ttl_ms = 300;
    CHECK_STATUS(parley_send(world.pair.sender, world.pair.peer, &message, tally_result,
                             &world.progress, NULL),
                 OK);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_EXPIRED], 1);
    CHECK_STATUS(post(world.pair.sender, world.pair.peer, "{}", &world.progress.tally), OK);
    CHECK(check_wait(&world.digest.small, 1));
    world_close(&world);
}

static bool passed(void *user)
{
    return clock_now_ns() > *(uint64_t *)user;
}

/* With pieces on their way: they are given up, and what comes next is not held up by them. */
static void the_deadline_passes_halfway(void)
{
    parley_message message;
    struct world world;
    uint64_t end_ns;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 5 * MIB); /* two fit into the mailbox */
    world.progress.first = hold;
    parley_message_init(&message, "large", world.payload, world.len);
    message.ttl_ms = 1500;
    message.progress = on_progress;
    end_ns = clock_now_ns() + 1500 * NS_PER_MS;
    CHECK_STATUS(parley_send(world.pair.sender, world.pair.peer, &message, tally_result,
                             &world.progress, NULL),
                 OK);
    CHECK(check_wait(&world.progress.held, 1));
    CHECK(check_until(passed, &end_ns));
    atomic_fetch_add(&world.progress.go_on, 1);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_EXPIRED], 1);
    CHECK(atomic_load(&world.progress.last) < world.len);
    world.progress.first = NULL;
    CHECK_STATUS(post(world.pair.sender, world.pair.peer, "{}", &world.progress.tally), OK);
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.tally.results, 3));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_DELIVERED], 2);
    CHECK_U64(world.digest.handled, 1);
    check_arrived(&world);
    world_close(&world);
}

/* ---- Order and bounds ---- */

static void in_order(void)
{
    struct world world;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 3 * MIB);
    CHECK_STATUS(send_large(&world, true), OK);
    for (int i = 0; i < 100; i++)
        CHECK_STATUS(post(world.pair.sender, world.pair.peer, "{}", &world.progress.tally),
                     OK);
    CHECK(check_wait(&world.progress.tally.results, 101));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_DELIVERED], 101);
    CHECK_U64(world.digest.before, 0);
    world_close(&world);
}

static void several_with_others_between(void)
{
    struct world world;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 2 * MIB);
    for (int i = 0; i < 6; i++) {
        CHECK_STATUS(send_large(&world, i == 3), OK);
        CHECK_STATUS(post(world.pair.sender, world.pair.peer, "{}", &world.progress.tally),
                     OK);
    }
    CHECK(check_wait(&world.progress.tally.results, 12));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_DELIVERED], 12);
    CHECK_U64(world.digest.handled, 6);
    check_arrived(&world);
    world_close(&world);
}

/* Larger than the mailbox: one at a time, with room for others; all end with the peer. */
static void larger_than_the_mailbox(void)
{
    struct world world;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 20 * MIB);
    CHECK_STATUS(parley_close(world.pair.receiver), OK); /* nobody is there */
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK_STATUS(send_large(&world, false), EAGAIN);
    CHECK_STATUS(post(world.pair.sender, world.pair.peer, "{}", &world.progress.tally), OK);
    CHECK_STATUS(parley_peer_remove(world.pair.sender, world.pair.peer), OK);
    CHECK(check_wait(&world.progress.tally.results, 2));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_CANCELLED], 2);
    world.pair.receiver = receiver_open(0, true);
    world_close(&world);
}

/* With pieces on their way. */
static void removed_halfway(void)
{
    struct world world;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 5 * MIB);
    world.progress.first = hold;
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.held, 1));
    CHECK_STATUS(parley_peer_remove(world.pair.sender, world.pair.peer), OK);
    atomic_fetch_add(&world.progress.go_on, 1);
    CHECK(check_wait(&world.progress.tally.results, 1));
    CHECK_U64(world.progress.tally.outcomes[PARLEY_CANCELLED], 1);
    world_close(&world);
}

/* Its result comes before the runtime has closed. */
static void closed_halfway(void)
{
    struct world world;
    pthread_t thread;

    world_open(&world, PARLEY_WEBSOCKET_ONLY, 5 * MIB);
    world.progress.first = hold;
    CHECK_STATUS(send_large(&world, false), OK);
    CHECK(check_wait(&world.progress.held, 1));
    pthread_create(&thread, NULL, closer, world.pair.sender);
    atomic_fetch_add(&world.progress.go_on, 1);
    pthread_join(thread, NULL);
    CHECK_U64(world.progress.tally.results, 1);
    CHECK_U64(world.progress.tally.outcomes[PARLEY_CANCELLED] +
                  world.progress.tally.outcomes[PARLEY_DELIVERED],
              1);
    CHECK_STATUS(parley_close(world.pair.receiver), OK);
    free(world.payload);
}

static const struct check_test tests[] = {
    {"over WebSocket", over_websocket},
    {"over HTTP", over_http},
    {"smaller than a message, over HTTP", smaller_than_a_message_over_http},
    {"a receiver of short messages, over HTTP", a_receiver_of_short_messages},
    {"a receiver of short messages in long batches", a_receiver_of_long_batches},
    {"a cut connection", a_cut_connection},
    {"a receiver that restarts, over WebSocket", a_restart_over_websocket},
    {"a receiver that restarts, over HTTP", a_restart_over_http},
    {"the handler refuses", the_handler_refuses},
    {"the receiver refuses", the_receiver_refuses},
    {"the deadline passes", the_deadline_passes},
    {"the deadline passes halfway", the_deadline_passes_halfway},
    {"in order", in_order},
    {"several, with others between", several_with_others_between},
    {"larger than the mailbox", larger_than_the_mailbox},
    {"removed halfway", removed_halfway},
    {"closed halfway", closed_halfway},
};

CHECK_MAIN("transfer", tests)
