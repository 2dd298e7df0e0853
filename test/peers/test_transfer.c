/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages that go in chunks, between real nodes: what arrives is what was sent, over either
 * transport, with one result, whatever happens on the way.
 */
#include <openssl/evp.h>

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

struct progress {
    struct tally tally; /* first */
    _Atomic(uint64_t) calls, last, bytes;
};

static void on_progress(parley_id id, uint64_t acknowledged, uint64_t bytes, void *user)
{
    struct progress *progress = user;

    (void)id;
    atomic_store(&progress->last, acknowledged);
    atomic_store(&progress->bytes, bytes);
    atomic_fetch_add(&progress->calls, 1);
}

static char *payload_new(size_t len)
{
    struct check_random random = {check_seed(50)};
    char *payload = malloc(len);

    for (size_t i = 0; i < len; i++)
        payload[i] = (char)('a' + (check_random_next(&random) >> 40) % 26);
    memcpy(payload, "{\"x\":\"", 6);
    memcpy(payload + len - 2, "\"}", 2);
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
    whole_arrives(PARLEY_WEBSOCKET_ONLY, 20 * MIB);
}

static void over_http(void)
{
    whole_arrives(PARLEY_HTTP_ONLY, 3 * MIB);
}

static void smaller_than_a_message_over_http(void)
{
    whole_arrives(PARLEY_HTTP_ONLY, 9000);
    whole_arrives(PARLEY_HTTP_ONLY, 400000);
}

static const struct check_test tests[] = {
    {"over WebSocket", over_websocket},
    {"over HTTP", over_http},
    {"smaller than a message, over HTTP", smaller_than_a_message_over_http},
};

CHECK_MAIN("transfer", tests)
