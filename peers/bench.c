/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker keeps for the service, and the actor under which other threads reach it.
 *
 * Closing a bench takes several turns: connections close, their sessions are told, answers
 * come home, sessions are forgotten. The sweep looks again until nothing is left.
 */
#include "peers/bench.h"

#include <string.h>
#include <sys/random.h>

#include "peers/carrier.h"
#include "peers/connection.h"
#include "peers/endpoints.h"
#include "peers/peer.h"
#include "peers/session.h"
#include "peers/stats.h"
#include "runtime/clock.h"

#define SWEEP_NS         NS_PER_S
#define SWEEP_CLOSING_NS (2 * NS_PER_MS)
#define STARVED_ROOM     8 /* a part of the runtime's memory that is worth telling of */

struct bench *bench_of(const struct worker *worker)
{
    return worker_get_local(worker, LOCAL_PEERS);
}

struct bench *bench_get(struct parley *runtime, uint32_t index)
{
    return bench_of(worker_pool_get(runtime->workers, index));
}

parley_status bench_scan(struct bench *bench, const char *text, size_t len,
                         uint32_t record_depth, uint32_t levels)
{
    const struct json_limits limits = {
        .depth_max = bench->runtime->options.json_depth_max + levels,
        .bytes_max = (uint32_t)len + 1,
    };
    struct json_error error;

    return json_scan(&bench->doc, text, len, &limits, record_depth, &error);
}

parley_status bench_scan_frame(struct bench *bench, const char *text, size_t len)
{
    parley_status status = bench_scan(bench, text, len, ACK_RECORD_DEPTH, BATCH_LEVELS);

    if (status == PARLEY_OK &&
        bench->doc.deepest > bench->runtime->options.json_depth_max + ENVELOPE_LEVELS &&
        frame_kind(&bench->doc, bench->doc.items) != FRAME_BATCH)
        return PARLEY_EPROTO;
    return status;
}

void random_bytes(struct random_pool *pool, uint8_t *bytes, size_t len)
{
    if (len > sizeof(pool->bytes) - pool->used) {
        size_t have = 0;

        while (have < sizeof(pool->bytes)) { /* interrupted only by signals */
            ssize_t got = getrandom(pool->bytes + have, sizeof(pool->bytes) - have, 0);

            if (got > 0)
                have += (size_t)got;
        }
        pool->used = 0;
    }
    memcpy(bytes, pool->bytes + pool->used, len);
    pool->used += len;
}

/* ---- Sweeping and closing ---- */

/* Another worker had no session to forget for a newcomer, who will come again. */
static void make_room(struct bench *bench)
{
    /* relaxed: a request to look, nothing is read on the strength of it. */
    uint32_t crowded = atomic_load_explicit(&bench->runtime->crowded, memory_order_relaxed);

    for (uint32_t i = bench->crowded_seen; i != crowded && session_evict(bench, false); i++)
        ;
    bench->crowded_seen = crowded;
}

static void sweep_connections(struct bench *bench)
{
    uint64_t now_ns = worker_now_ns(bench->worker);

    for (struct connection *connection = bench->connections; connection != NULL;
         connection = connection->next)
        connection_heartbeat(connection, now_ns);
}

/* Hosts refused because the whole runtime was full may wait for a peer of which nothing is
 * pending, and which therefore releases nothing: they are told from here. Not only under half:
 * that much may be held by peers that stall. A sweep a second is seldom enough. */
static void tell_starved(struct bench *bench)
{
    struct parley *runtime = bench->runtime;
    /* acquire: pairs with the release in send.c, after the peer's word was marked. */
    uint32_t starved = atomic_load_explicit(&runtime->starved, memory_order_acquire);
    uint64_t most = runtime->options.memory_bytes_max;

    if (starved == bench->starved_seen ||
        node_pool_used(runtime->nodes) > most - most / STARVED_ROOM)
        return;
    bench->starved_seen = starved;
    for (struct peer *peer = bench->peers; peer != NULL; peer = peer->next)
        peer_tell_writable(peer);
}

static void sweep_sessions(struct bench *bench)
{
    uint64_t now_ns = worker_now_ns(bench->worker);

    for (struct session *session = bench->sessions, *next; session != NULL; session = next) {
        next = session->next;
        session_sweep(session, now_ns, bench->closing);
    }
}

static void count_step(struct parley *runtime, uint32_t *benches)
{
    pthread_mutex_lock(&runtime->settled_mutex);
    (*benches)++;
    pthread_cond_broadcast(&runtime->settled);
    pthread_mutex_unlock(&runtime->settled_mutex);
}

/* Nothing of this bench's own is left; others may still post to it. */
static void close_when_empty(struct bench *bench)
{
    struct parley *runtime = bench->runtime;

    if (bench->closed || bench->sessions != NULL || bench->connections != NULL ||
        bench->requests > 0 || bench->rounds > 0 ||
        transport_worker_connections(runtime->transport, bench->worker) > 0)
        return;
    bench->closed = true;
    worker_timer_stop(bench->worker, &bench->sweep);
    count_step(runtime, &runtime->benches_closed);
}

static void retired(struct actor *actor)
{
    struct parley *runtime = ((struct bench *)actor)->runtime;

    count_step(runtime, &runtime->benches_retired);
}

static void on_sweep(struct timer *timer)
{
    struct bench *bench = (struct bench *)((char *)timer - offsetof(struct bench, sweep));
    uint64_t wait_ns = bench->closing ? SWEEP_CLOSING_NS : SWEEP_NS;

    sweep_sessions(bench);
    transfers_in_sweep(&bench->runtime->transfers, worker_now_ns(bench->worker));
    make_room(bench);
    sweep_connections(bench);
    tell_starved(bench);
    worker_timer_start(bench->worker, timer, worker_now_ns(bench->worker) + wait_ns);
    if (bench->closing) {
        if (worker_now_ns(bench->worker) >= bench->hurry_ns)
            transport_worker_hurry(bench->runtime->transport, bench->worker);
        transport_worker_shutdown(bench->runtime->transport, bench->worker);
        close_when_empty(bench);
    }
}

static void begin_close(struct bench *bench)
{
    bench->closing = true;
    bench->hurry_ns = worker_now_ns(bench->worker) + CLOSE_GRACE_MS * NS_PER_MS;
    transport_worker_shutdown(bench->runtime->transport, bench->worker);
    worker_timer_start(bench->worker, &bench->sweep, worker_now_ns(bench->worker));
}

/* ---- The bench's own messages ---- */

void inbound_answer(struct inbound_request *request)
{
    if (request->kind == INBOUND_BATCH || request->kind == INBOUND_MESSAGE)
        endpoints_answered(request);
    else
        connection_answered(request);
}

static void on_control(struct actor *actor, struct mailbox_node *node)
{
    struct bench *bench = (struct bench *)actor;
    struct control *control = (struct control *)node;

    switch (control->kind) {
    case CONTROL_VISIT:
        visit_continue((struct visit *)control, bench);
        break;
    case CONTROL_STATS:
        stats_round_home(control);
        break;
    case CONTROL_ANSWER:
        inbound_answer((struct inbound_request *)control);
        break;
    case CONTROL_ACK:
    case CONTROL_REPLACED:
        connection_noted((struct connection_note *)control);
        break;
    case CONTROL_CARRIER_FRAME:
    case CONTROL_CARRIER_GONE:
        carrier_noted((struct carrier_note *)control);
        break;
    case CONTROL_CLOSE:
        begin_close(bench);
        break;
    case CONTROL_HURRY:
        transport_worker_hurry(bench->runtime->transport, bench->worker);
        break;
    case CONTROL_RETIRE:
        actor_retire(&bench->actor);
        break;
    default:
        break;
    }
}

static const struct actor_class bench_class = {.control = on_control, .retired = retired};

/* ---- Made and ended by the worker's hooks ---- */

static size_t scratch_bytes(const parley_options *options)
{
    size_t largest = options->message_bytes_max > options->batch_bytes_max
                         ? options->message_bytes_max
                         : options->batch_bytes_max;

    return largest + 2 * (size_t)FRAME_OVERHEAD;
}

static void bench_free(struct bench *bench)
{
    const struct alloc *alloc = &bench->runtime->alloc;

    worker_set_local(bench->worker, LOCAL_PEERS, NULL);
    json_fini(&bench->doc);
    canonical_fini(&bench->canonical);
    alloc_free(alloc, bench->scratch);
    alloc_free_aligned(alloc, bench);
}

parley_status bench_init(struct worker *worker, void *user)
{
    struct parley *runtime = user;
    struct bench *bench = alloc_aligned(&runtime->alloc, CACHE_LINE, sizeof(*bench));
    parley_status status = PARLEY_ENOMEM;

    if (bench == NULL)
        return PARLEY_ENOMEM;
    bench->runtime = runtime;
    bench->worker = worker;
    bench->random.used = sizeof(bench->random.bytes);
    bench->scratch_bytes = scratch_bytes(&runtime->options);
    bench->scratch = alloc_bytes(&runtime->alloc, bench->scratch_bytes);
    json_init(&bench->doc, &runtime->alloc);
    canonical_init(&bench->canonical, &runtime->alloc);
    worker_set_local(worker, LOCAL_PEERS, bench);
    if (worker_index(worker) == 0)
        runtime->workers = worker_get_pool(worker);
    if (bench->scratch != NULL)
        status = transport_worker_init(runtime->transport, worker);
    if (status != PARLEY_OK) { /* fini does not follow */
        bench_free(bench);
        return status;
    }
    actor_init(&bench->actor, &bench_class, worker);
    timer_init(&bench->sweep, on_sweep);
    worker_timer_start(worker, &bench->sweep, worker_now_ns(worker) + SWEEP_NS);
    return PARLEY_OK;
}

void bench_fini(struct worker *worker, void *user)
{
    struct parley *runtime = user;
    struct bench *bench = bench_of(worker);

    transport_worker_fini(runtime->transport, worker);
    if (bench == NULL)
        return;
    worker_timer_stop(worker, &bench->sweep);
    bench_free(bench);
}
