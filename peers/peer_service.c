/* SPDX-License-Identifier: Apache-2.0
 *
 * A runtime from parley_open() to parley_close().
 *
 * What it is made of comes up in the order below and goes down in the reverse one: message
 * nodes, HTTP worker, resolver, transport, workers (each with its bench), then the peers
 * of the configuration. Closing first lets every peer end its messages, then every bench
 * its connections and sessions; only then do threads stop.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "parley.h"
#include "peers/auth.h"
#include "peers/bench.h"
#include "peers/connection.h"
#include "peers/endpoints.h"
#include "peers/envelope.h"
#include "peers/nonces_file.h"
#include "peers/peer.h"
#include "peers/service.h"
#include "peers/settings.h"
#include "runtime/clock.h"
#include "transport/process.h"

#define RESOLVER_TTL_MS          30000
#define RESOLVER_NEGATIVE_TTL_MS 2000
#define RESOLVER_ENTRIES         4096
#define KEEPALIVE_S              75
#define CLOSE_LOOK_MS            50 /* parley_close() looks again at least this often */

/* ---- Waiting for workers ---- */

void service_settled(struct parley *runtime)
{
    pthread_mutex_lock(&runtime->settled_mutex);
    pthread_cond_broadcast(&runtime->settled);
    pthread_mutex_unlock(&runtime->settled_mutex);
}

bool service_forked(const struct parley *runtime)
{
    return *runtime->fork_guard == 0;
}

static struct timespec after_ms(uint64_t ms)
{
    uint64_t at = clock_now_ns() + ms * NS_PER_MS;

    return (struct timespec){.tv_sec = (time_t)(at / NS_PER_S),
                             .tv_nsec = (long)(at % NS_PER_S)};
}

/* With settled_mutex held. */
static void wait_settled(struct parley *runtime, uint64_t most_ms)
{
    struct timespec until = after_ms(most_ms);

    pthread_cond_timedwait(&runtime->settled, &runtime->settled_mutex, &until);
}

static parley_status may_block(const struct parley *runtime)
{
    if (service_forked(runtime))
        return PARLEY_EFORK;
    return worker_pool_current(runtime->workers) != NULL ? PARLEY_EDEADLK : PARLEY_OK;
}

/* ---- Events of the transport, by the WebSocket's role ---- */

static void on_opened(struct ws *ws)
{
    if (ws->role == WS_CLIENT)
        link_opened(ws);
    else
        connection_opened(ws);
}

static void on_received(struct ws *ws, char *data, size_t len, bool binary)
{
    if (ws->role == WS_CLIENT)
        link_received(ws, data, len, binary);
    else
        connection_received(ws, data, len, binary);
}

static void on_pong(struct ws *ws, uint64_t number)
{
    if (ws->role == WS_CLIENT)
        ping_answered(ws, number);
}

static void on_fill(struct ws *ws, struct ws_batch *batch)
{
    if (ws->role == WS_CLIENT)
        link_fill(ws, batch);
    else
        connection_fill(ws, batch);
}

static void on_closed(struct ws *ws, const struct ws_closed *why)
{
    if (ws->role == WS_CLIENT)
        link_closed(ws, why);
    else
        connection_closed(ws, why);
}

/* ---- Up ---- */

static parley_status copy_options(struct parley *runtime, const parley_options *options)
{
    char host_name[256] = "parley";

    memcpy(&runtime->options, options,
           options->size < sizeof(*options) ? options->size : sizeof(*options));
    if (options->node_id == NULL)
        gethostname(host_name, sizeof(host_name) - 1);
    runtime->node_id =
        alloc_string(&runtime->alloc, options->node_id != NULL ? options->node_id : host_name);
    if (runtime->node_id == NULL)
        return PARLEY_ENOMEM;
    if (options->listen_host != NULL) {
        runtime->listen_host = alloc_string(&runtime->alloc, options->listen_host);
        if (runtime->listen_host == NULL)
            return PARLEY_ENOMEM;
    }
    if (runtime->options.state_dir != NULL) {
        runtime->state_dir = alloc_string(&runtime->alloc, runtime->options.state_dir);
        if (runtime->state_dir == NULL)
            return PARLEY_ENOMEM;
    }
    if (auth_open(runtime) != PARLEY_OK)
        return PARLEY_ENOMEM;
    runtime->loopback = runtime->listen_host == NULL ||
                        strncmp(runtime->listen_host, "127.", 4) == 0 ||
                        strcmp(runtime->listen_host, "::1") == 0;
    runtime->breakers = (struct breaker_limits){
        .failures = options->breaker_failures,
        .trials = options->breaker_trials,
        .successes = options->breaker_successes,
        .open_ns = options->breaker_open_ms * NS_PER_MS,
    };
    runtime->options.node_id = runtime->node_id;
    runtime->options.listen_host = runtime->listen_host;
    runtime->options.state_dir = runtime->state_dir;
    runtime->options.peers = NULL;
    runtime->options.peers_len = 0;
    return PARLEY_OK;
}

/* One page that reads 1 here and 0 in a forked child, so that asking costs no system call. */
static parley_status guard_against_fork(struct parley *runtime)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *guard =
        mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (guard == MAP_FAILED)
        return PARLEY_ENOMEM;
    runtime->fork_guard = guard;
    if (madvise(guard, page, MADV_WIPEONFORK) != 0)
        return PARLEY_ESYSTEM;
    *guard = 1;
    return PARLEY_OK;
}

static void init_waiting(struct parley *runtime)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&runtime->settled, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&runtime->settled_mutex, NULL);
}

static parley_status start_transport(struct parley *runtime, char *error, size_t error_len)
{
    const parley_options *options = &runtime->options;
    uint32_t largest = options->message_bytes_max > options->batch_bytes_max
                           ? options->message_bytes_max
                           : options->batch_bytes_max;
    struct transport_options transport = {
        .listen_host = options->listen_host,
        .listen_port = (uint16_t)options->listen_port,
        .accept_websocket = options->accept_websocket,
        .message_bytes_max = largest + FRAME_OVERHEAD,
        .batch_bytes_max = options->batch_bytes_max,
        .connections_max = options->connections_max,
        .keepalive_s = KEEPALIVE_S,
        .parley_header = options->parley_protocol ? runtime->parley_header : NULL,
    };
    const struct transport_events events = {
        .opened = on_opened,
        .received = on_received,
        .pong = on_pong,
        .fill = on_fill,
        .closed = on_closed,
        .accept = connection_accept,
        .request = endpoints_request,
        .gone = endpoints_gone,
        .user = runtime,
    };

    snprintf(runtime->parley_header, sizeof(runtime->parley_header),
             "1; max_batch_bytes=%u; max_message_bytes=%u", options->batch_bytes_max,
             options->message_bytes_max);
    return transport_new(&runtime->alloc, &runtime->log, &transport, &events, error, error_len,
                         &runtime->transport);
}

/* runtime->workers is set by the first bench, before any worker takes a turn: a worker may
 * be asked for something before worker_pool_start() has returned here. */
static parley_status start_workers(struct parley *runtime)
{
    struct worker_pool *started;
    parley_status status;
    const parley_options *options = &runtime->options;
    struct worker_pool_options pool = {
        .workers = options->workers,
        .run_messages_max = options->run_messages_max,
        .run_time_us = options->run_time_us,
        .thread_stack_bytes = options->thread_stack_bytes,
        .thread_pin = options->thread_pin,
        .hooks = {.init = bench_init, .fini = bench_fini, .user = runtime},
    };

    status = worker_pool_start(&runtime->alloc, &runtime->log, &pool, &started);
    if (status != PARLEY_OK)
        runtime->workers = NULL;
    return status;
}

static parley_status start_http(struct parley *runtime)
{
    const parley_options *options = &runtime->options;
    struct http_worker_options http = {
        .in_flight_max = options->http_in_flight_max,
        .connect_timeout_ms = options->http_connect_timeout_ms,
        .timeout_ms = options->http_timeout_ms,
        .response_bytes_max = options->http_response_bytes_max,
    };

    return http_worker_start(&runtime->alloc, &runtime->log, &http, &runtime->http);
}

/* The memory against replay, which the state directory keeps. */
static parley_status open_nonces(struct parley *runtime, char *error, size_t error_len)
{
    const parley_options *options = &runtime->options;
    struct nonces_limits limits = {
        /* as long as a copy can be fresh, whatever the window is set to */
        .window_s = options->nonce_window_s > 2 * options->clock_skew_s
                        ? options->nonce_window_s
                        : 2 * (uint64_t)options->clock_skew_s + 1,
        .nonces_max = options->nonces_max,
    };
    struct random_pool random = {.used = sizeof(random.bytes)};
    uint8_t key[NONCES_KEY_BYTES];
    char reason[ERROR_MAX] = "";
    parley_status status;

    random_bytes(&random, key, sizeof(key));
    status = nonces_init(&runtime->nonces, &runtime->alloc, &limits, key);
    if (status != PARLEY_OK || runtime->state_dir == NULL)
        return status;
    status = nonces_file_open(&runtime->nonces, runtime->state_dir, runtime->node_id,
                              clock_now_ns(), clock_wall_us(), reason, sizeof(reason));
    if (status == PARLEY_ESYSTEM)
        snprintf(error, error_len, "security.state_dir: %s", reason);
    return status;
}

/* Refusing everything is hardly what was meant; taking it, less so. */
static void warn_of_signatures(struct parley *runtime)
{
    if (runtime->listen_host == NULL ||
        trust_signatures(runtime) != PARLEY_SIGNATURES_REQUIRED || auth_required(runtime) ||
        /* relaxed: told to humans */
        atomic_load_explicit(&runtime->trust.keys, memory_order_relaxed) > 0)
        return;
    log_warn(
        &runtime->log,
        "security.signatures: required%s, and no key is trusted: no message will be taken",
        runtime->options.signatures == PARLEY_SIGNATURES_AUTO
            ? ", as this node listens beyond loopback"
            : "");
}

static parley_status start(struct parley *runtime, char *error, size_t error_len)
{
    const parley_options *options = &runtime->options;
    parley_status status = guard_against_fork(runtime);

    if (status == PARLEY_OK)
        status = crypto_init(&runtime->crypto);
    if (status == PARLEY_OK)
        status = handlers_init(&runtime->handlers, &runtime->alloc);
    if (status == PARLEY_OK && options->on_message != NULL)
        status = handlers_set_message(&runtime->handlers, NULL, options->on_message,
                                      options->on_message_user);
    if (status == PARLEY_OK)
        status = registry_init(&runtime->registry, &runtime->alloc, options->peers_max);
    if (status == PARLEY_OK)
        secure_table_init(&runtime->secured, &runtime->alloc);
    if (status == PARLEY_OK)
        session_table_init(&runtime->sessions, &runtime->alloc, options->guests_max);
    if (status == PARLEY_OK)
        limit_init(&runtime->limits, &runtime->alloc, options, runtime->loopback);
    if (status == PARLEY_OK)
        status = open_nonces(runtime, error, error_len);
    if (status == PARLEY_OK)
        transfers_in_init(&runtime->transfers, &runtime->alloc, options);
    if (status == PARLEY_OK)
        status = node_pool_new(&runtime->alloc, options->memory_bytes_max, &runtime->nodes);
    if (status == PARLEY_OK)
        status = start_http(runtime);
    if (status == PARLEY_OK)
        status = resolver_start(&runtime->alloc, RESOLVER_TTL_MS, RESOLVER_NEGATIVE_TTL_MS,
                                RESOLVER_ENTRIES, &runtime->resolver);
    if (status == PARLEY_OK)
        status = start_transport(runtime, error, error_len);
    if (status == PARLEY_OK)
        status = start_workers(runtime);
    return status;
}

static parley_status add_peers(struct parley *runtime, const parley_options *options,
                               char *error, size_t error_len)
{
    for (size_t i = 0; i < options->peers_len; i++) {
        const parley_peer_entry *entry = &options->peers[i];
        parley_peer peer;
        parley_status status =
            parley_peer_add(runtime, entry->id, entry->url, &entry->options, &peer);

        if (status != PARLEY_OK) {
            snprintf(error, error_len, "peers: %s: %s", entry->id != NULL ? entry->id : "",
                     status == PARLEY_ECONFIG
                         ? "public_key: expected the one in security.trusted_keys_dir"
                         : parley_strerror(status));
            return status;
        }
    }
    return PARLEY_OK;
}

static void release(struct parley *runtime)
{
    struct alloc alloc = runtime->alloc;

    worker_pool_stop(runtime->workers);
    transport_free(runtime->transport);
    resolver_stop(runtime->resolver);
    http_worker_stop(runtime->http);
    node_pool_free(runtime->nodes);
    session_table_fini(&runtime->sessions);
    secure_table_fini(&runtime->secured);
    limit_fini(&runtime->limits);
    nonces_fini(&runtime->nonces);
    transfers_in_fini(&runtime->transfers);
    registry_fini(&runtime->registry);
    handlers_fini(&runtime->handlers);
    if (runtime->fork_guard != NULL)
        munmap((void *)runtime->fork_guard, (size_t)sysconf(_SC_PAGESIZE));
    pthread_cond_destroy(&runtime->settled);
    pthread_mutex_destroy(&runtime->settled_mutex);
    trust_close(runtime);
    crypto_fini(&runtime->crypto);
    auth_close(runtime);
    alloc_free(&alloc, runtime->state_dir);
    alloc_free(&alloc, runtime->node_id);
    alloc_free(&alloc, runtime->listen_host);
    alloc_free_aligned(&alloc, runtime);
    process_release();
}

static parley_status runtime_new(const parley_options *options, struct parley **ret_runtime)
{
    struct alloc alloc;
    struct parley *runtime;
    parley_status status = process_acquire();

    if (status != PARLEY_OK)
        return status;
    alloc_init(&alloc, options->allocator);
    runtime = alloc_aligned(&alloc, CACHE_LINE, sizeof(*runtime));
    if (runtime == NULL) {
        process_release();
        return PARLEY_ENOMEM;
    }
    runtime->alloc = alloc;
    runtime->log = (struct log){options->log, options->log_user, options->log_level};
    init_waiting(runtime);
    *ret_runtime = runtime;
    return PARLEY_OK;
}

parley_status parley_open(const parley_options *options, char *error, size_t error_len,
                          parley **ret_runtime)
{
    char own_error[ERROR_MAX];
    parley_options defaults;
    struct parley *runtime;
    parley_status status;

    if (error == NULL || error_len == 0) {
        error = own_error;
        error_len = sizeof(own_error);
    }
    error[0] = '\0';
    parley_options_init(&defaults);
    if (options == NULL)
        options = &defaults;
    status = settings_check(options, error, error_len);
    if (status != PARLEY_OK)
        return status;
    status = runtime_new(options, &runtime);
    if (status != PARLEY_OK)
        return status;
    status = copy_options(runtime, options);
    if (status == PARLEY_OK)
        status = trust_open(runtime, error, error_len);
    if (status == PARLEY_OK)
        status = start(runtime, error, error_len);
    if (status == PARLEY_OK) {
        status = add_peers(runtime, options, error, error_len);
        if (status != PARLEY_OK) {
            parley_close(runtime);
            return status;
        }
        warn_of_signatures(runtime);
        *ret_runtime = runtime;
        return PARLEY_OK;
    }
    release(runtime);
    if (error[0] == '\0')
        snprintf(error, error_len, "%s", parley_strerror(status));
    return status;
}

/* ---- Down ---- */

static size_t pending(struct parley *runtime)
{
    size_t left = 0;

    registry_lock(&runtime->registry);
    for (uint32_t i = 0; i < runtime->registry.slots; i++) {
        struct peer *peer = registry_at(&runtime->registry, i);

        if (peer != NULL)
            left += credit_usage(&peer->slot->credit).messages;
    }
    registry_unlock(&runtime->registry);
    return left;
}

parley_status parley_drain(parley *runtime, uint32_t timeout_ms, size_t *ret_left)
{
    uint64_t until_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    parley_status status = may_block(runtime);
    size_t left;

    if (status != PARLEY_OK)
        return status;
    /* seq_cst: a worker that saw false here has released its credit before we look. */
    atomic_store(&runtime->draining, true);
    pthread_mutex_lock(&runtime->settled_mutex);
    while ((left = pending(runtime)) > 0 && clock_now_ns() < until_ns) {
        uint64_t left_ms = (until_ns - clock_now_ns()) / NS_PER_MS + 1;

        wait_settled(runtime, left_ms < CLOSE_LOOK_MS ? left_ms : CLOSE_LOOK_MS);
    }
    pthread_mutex_unlock(&runtime->settled_mutex);
    if (ret_left != NULL)
        *ret_left = left;
    return left == 0 ? PARLEY_OK : PARLEY_ETIMEDOUT;
}

static void tell_benches(struct parley *runtime, enum control_kind kind)
{
    for (uint32_t i = 0; i < worker_pool_size(runtime->workers); i++) {
        struct bench *bench = bench_get(runtime, i);
        struct control *control = kind == CONTROL_HURRY ? &bench->hurry : &bench->close;

        control->kind = kind;
        actor_post_control(&bench->actor, &control->node);
    }
}

static uint32_t peers_left(struct parley *runtime)
{
    uint32_t left;

    registry_lock(&runtime->registry);
    left = runtime->registry.peers;
    registry_unlock(&runtime->registry);
    return left;
}

/* A peer that reads nothing would not let its connection end in good order: it is not waited
 * for. What remains is the host's callbacks. */
static void await_peers(struct parley *runtime)
{
    uint64_t hurry_ns = clock_now_ns() + CLOSE_GRACE_MS * NS_PER_MS;

    pthread_mutex_lock(&runtime->settled_mutex);
    while (peers_left(runtime) > 0) {
        if (clock_now_ns() >= hurry_ns) {
            tell_benches(runtime, CONTROL_HURRY);
            hurry_ns = CLOCK_NEVER;
        }
        wait_settled(runtime, CLOSE_LOOK_MS);
    }
    pthread_mutex_unlock(&runtime->settled_mutex);
}

static void remove_peers(struct parley *runtime)
{
    registry_lock(&runtime->registry);
    for (uint32_t i = 0; i < runtime->registry.slots; i++) {
        struct peer *peer = registry_at(&runtime->registry, i);

        if (peer != NULL && !peer->removed)
            peer_remove(peer);
    }
    registry_unlock(&runtime->registry);
    await_peers(runtime);
}

/* Two steps: a bench that has closed may still be posted to by one that has not. */
static void close_benches(struct parley *runtime)
{
    uint32_t workers = worker_pool_size(runtime->workers);

    tell_benches(runtime, CONTROL_CLOSE);
    pthread_mutex_lock(&runtime->settled_mutex);
    /* acquire: pairs with the release in visit_continue(). */
    while (runtime->benches_closed < workers ||
           atomic_load_explicit(&runtime->visits, memory_order_acquire) > 0)
        wait_settled(runtime, CLOSE_LOOK_MS);
    pthread_mutex_unlock(&runtime->settled_mutex);
    tell_benches(runtime, CONTROL_RETIRE);
    pthread_mutex_lock(&runtime->settled_mutex);
    while (runtime->benches_retired < workers)
        wait_settled(runtime, CLOSE_LOOK_MS);
    pthread_mutex_unlock(&runtime->settled_mutex);
}

parley_status parley_close(parley *runtime)
{
    parley_status status;

    if (runtime == NULL)
        return PARLEY_OK;
    status = may_block(runtime);
    if (status != PARLEY_OK)
        return status;
    atomic_store(&runtime->draining, true);
    remove_peers(runtime);
    close_benches(runtime);
    release(runtime);
    return PARLEY_OK;
}

uint16_t parley_port(const parley *runtime)
{
    return transport_port(runtime->transport);
}

const char *parley_node_id(const parley *runtime)
{
    return runtime->node_id;
}
