/* SPDX-License-Identifier: Apache-2.0
 *
 * A node of ours and the older HTTP service it posts to, which the test scripts.
 */
#ifndef PARLEY_TEST_OLD_WORLD_H
#define PARLEY_TEST_OLD_WORLD_H

#include "test/peers/nodes.h"
#include "test/peers/old_service.h"

/* the body of an answer that says why, and one that says too much was sent */
#define DETAIL(text) "{\"detail\":\"" text "\"}"
#define LIMITED                           \
    {                                     \
        400, DETAIL("rate_limited"), NULL \
    }

struct world {
    struct old_service service;
    parley *node;
    parley_peer peer;
    struct tally tally;
    parley_options options; /* to be changed before world_open() */
    parley_peer_options peer_options;
};

static inline void world_prepare(struct world *world)
{
    memset(world, 0, sizeof(*world));
    pthread_mutex_init(&world->tally.mutex, NULL);
    node_options(&world->options, "node");
    world->options.http_backoff_ms = 1;
    world->options.reconnect_min_ms = 1;
    world->options.reconnect_max_ms = 20;
    world->options.ttl_ms = 20000;
    parley_peer_options_init(&world->peer_options);
    world->peer_options.preference = PARLEY_HTTP_ONLY;
    world->peer_options.preference_set = true;
    world->peer_options.pace = false;
}

static inline void world_open(struct world *world, const struct old_answer *answers,
                              size_t len)
{
    char url[64];

    if (answers != NULL)
        old_start(&world->service, 0, answers, len);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", world->service.port);
    world->node = node_open(&world->options);
    CHECK_STATUS(parley_peer_add(world->node, "old", url, &world->peer_options, &world->peer),
                 OK);
}

#define WORLD_OPEN(world, answers) \
    world_open((world), (answers), sizeof(answers) / sizeof((answers)[0]))

static inline void world_close(struct world *world)
{
    check_adds_up(world->node);
    CHECK_STATUS(parley_close(world->node), OK);
    old_stop(&world->service);
    CHECK_U64(atomic_load(&world->service.overlaps), 0);
}

/* Posts one message, waits for its result. */
static inline void send_one(struct world *world)
{
    uint64_t results = atomic_load(&world->tally.results);

    CHECK_STATUS(post(world->node, world->peer, "{\"a\":1}", &world->tally), OK);
    CHECK(check_wait(&world->tally.results, results + 1));
}

static inline uint64_t outcomes(struct world *world, parley_outcome outcome)
{
    return atomic_load(&world->tally.outcomes[outcome]);
}

static inline uint64_t requests(struct world *world)
{
    return atomic_load(&world->service.requests);
}

#endif
