/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/stats.h"

#include <string.h>

#include "peers/endpoints.h"
#include "peers/peer.h"

struct stats_round {
    struct visit visit; /* first */
    parley_stats stats;
    /* who asked: an exchange of `origin` … */
    struct bench *origin;
    struct http_exchange *exchange;
    /* … or a waiting thread */
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool finished;
};

static void add(parley_stats *to, const parley_stats *from)
{
#define ADD(member, unit, description) to->member += from->member;
    PARLEY_STATS_MAP(ADD)
#undef ADD
}

static void add_gauges(const struct peer *peer, parley_stats *stats)
{
    stats->ws_connections += peer->link.ws.open ? 1 : 0;
    stats->peers_connecting += peer->reported == PARLEY_PEER_CONNECTING ? 1 : 0;
    stats->peers_open += peer->reported == PARLEY_PEER_OPEN ? 1 : 0;
    stats->peers_backoff += peer->reported == PARLEY_PEER_BACKOFF ? 1 : 0;
    stats->peers_unhealthy += peer->health.healthy ? 0 : 1;
    stats->breakers_open += peer->link.breaker.state == BREAKER_OPEN ? 1 : 0;
    stats->breakers_open += peer->post.breaker.state == BREAKER_OPEN ? 1 : 0;
}

static void add_bench(const struct bench *bench, parley_stats *stats)
{
    const struct bench_counts *counts = &bench->counts;

    add(stats, &bench->gone);
    stats->wire_bytes_out += counts->wire_bytes_out;
    stats->ws_connects += counts->ws_connects;
    stats->ws_reconnects += counts->ws_reconnects;
    stats->ws_connect_failures += counts->ws_connect_failures;
    stats->http_requests += counts->http_requests;
    stats->http_failures += counts->http_failures;
    stats->handled += counts->handled;
    stats->unhandled += counts->unhandled;
    stats->repeats += counts->repeats;
    stats->sequence_gaps += counts->sequence_gaps;
    stats->handler_rejected += counts->handler_rejected;
    stats->protocol_errors += counts->protocol_errors;
    stats->rate_limited += counts->rate_limited;
    stats->ws_connections_accepted += counts->ws_connections_accepted;
    stats->http_requests_accepted += counts->http_requests_accepted;
    stats->ws_connections += counts->ws_connections;
    for (const struct session *session = bench->sessions; session != NULL;
         session = session->next)
        stats->inbound_sessions++;
    for (const struct peer *peer = bench->peers; peer != NULL; peer = peer->next) {
        peer_count(peer, stats);
        add_gauges(peer, stats);
        stats->peers++;
    }
}

static void step(struct visit *visit, struct bench *bench)
{
    add_bench(bench, &((struct stats_round *)visit)->stats);
}

/* ---- For GET /stats ---- */

/* The last worker sends the round home: only there may the exchange be looked at. */
static void go_home(struct visit *visit, struct bench *bench)
{
    struct stats_round *round = (struct stats_round *)visit;

    (void)bench;
    round->visit.control.kind = CONTROL_STATS;
    actor_post_control(&round->origin->actor, &round->visit.control.node);
}

void stats_round_home(struct control *control)
{
    struct stats_round *round = (struct stats_round *)control;
    struct bench *origin = round->origin;

    if (round->exchange != NULL) {
        round->exchange->user = NULL;
        endpoints_stats(round->exchange, origin, &round->stats);
    }
    origin->rounds--;
    alloc_free(&origin->runtime->alloc, round);
}

bool stats_for_exchange(struct bench *bench, struct http_exchange *exchange)
{
    struct stats_round *round = alloc_zeroed(&bench->runtime->alloc, sizeof(*round));

    if (round == NULL)
        return false;
    round->origin = bench;
    round->exchange = exchange;
    exchange->user = &round->exchange;
    bench->rounds++;
    visit_start(&round->visit, bench->runtime, step, go_home);
    return true;
}

void stats_write(struct json_out *out, const parley_stats *stats)
{
    const char *comma = "";

#define WRITE(member, unit, description)    \
    json_put_text(out, comma);              \
    json_put_text(out, "\"" #member "\":"); \
    json_put_u64(out, stats->member);       \
    comma = ",";
    PARLEY_STATS_MAP(WRITE)
#undef WRITE
}

/* ---- For a waiting thread ---- */

static void wake(struct visit *visit, struct bench *bench)
{
    struct stats_round *round = (struct stats_round *)visit;

    (void)bench;
    pthread_mutex_lock(&round->mutex);
    round->finished = true;
    pthread_cond_signal(&round->done);
    pthread_mutex_unlock(&round->mutex);
}

static void wait_for(struct stats_round *round)
{
    pthread_mutex_lock(&round->mutex);
    while (!round->finished)
        pthread_cond_wait(&round->done, &round->mutex);
    pthread_mutex_unlock(&round->mutex);
}

static parley_status may_block(parley *runtime)
{
    if (service_forked(runtime))
        return PARLEY_EFORK;
    return worker_pool_current(runtime->workers) != NULL ? PARLEY_EDEADLK : PARLEY_OK;
}

static void hand_out(const parley_stats *stats, parley_stats *ret_stats)
{
    size_t size = ret_stats->size != 0 && ret_stats->size < sizeof(*stats) ? ret_stats->size
                                                                           : sizeof(*stats);

    memcpy(ret_stats, stats, size);
    ret_stats->size = size;
}

parley_status parley_stats_get(parley *runtime, parley_stats *ret_stats)
{
    struct stats_round round = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                                .done = PTHREAD_COND_INITIALIZER};
    parley_status status = may_block(runtime);

    if (status != PARLEY_OK)
        return status;
    visit_start(&round.visit, runtime, step, wake);
    wait_for(&round);
    hand_out(&round.stats, ret_stats);
    return PARLEY_OK;
}

/* ---- For one peer: asked on its own control lane, so it cannot be gone meanwhile ---- */

struct peer_round {
    struct control control; /* first: CONTROL_COUNT */
    struct stats_round *round;
};

void stats_count_peer(struct control *control, const struct peer *peer)
{
    struct stats_round *round = ((struct peer_round *)control)->round;

    peer_count(peer, &round->stats);
    add_gauges(peer, &round->stats);
    wake(&round->visit, NULL);
}

parley_status parley_peer_stats_get(parley *runtime, parley_peer handle,
                                    parley_stats *ret_stats)
{
    struct stats_round round = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                                .done = PTHREAD_COND_INITIALIZER};
    struct peer_round ask = {.control.kind = CONTROL_COUNT, .round = &round};
    parley_status status = may_block(runtime);
    struct peer *peer;

    if (status != PARLEY_OK)
        return status;
    registry_lock(&runtime->registry);
    peer = registry_get(&runtime->registry, handle);
    if (peer != NULL)
        actor_post_control(&peer->actor, &ask.control.node);
    registry_unlock(&runtime->registry);
    if (peer == NULL)
        return PARLEY_EUNKNOWN;
    wait_for(&round);
    hand_out(&round.stats, ret_stats);
    return PARLEY_OK;
}
