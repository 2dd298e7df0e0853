/* SPDX-License-Identifier: Apache-2.0
 *
 * The peer actor's life: made by a host thread, fed through its mailbox, removed on its
 * worker. Data messages go into the delivery core; whatever the core says has ended is
 * reported to the host, and only then given back to the mailbox's credit.
 */
#include "peers/peer.h"

#include <string.h>

#include "peers/auth.h"
#include "peers/carrier.h"
#include "peers/envelope.h"
#include "peers/stats.h"
#include "peers/threeway.h"
#include "runtime/clock.h"

struct message *message_of(struct delivery_message *delivery)
{
    return (struct message *)((char *)delivery - offsetof(struct message, delivery));
}

/* A manager takes 100 frames a minute, pings and their answers among them. */
#define MANAGER_BURST   40
#define MANAGER_PER_MIN 55

static struct peer *peer_of(struct actor *actor)
{
    return (struct peer *)actor;
}

/* ---- Results ---- */

/* The core knows refusals' codes; an acknowledgement over HTTP comes with 200. */
static uint32_t http_code_of(const struct delivery_message *delivery)
{
    if (delivery->http_code != 0 || delivery->transport != PARLEY_TRANSPORT_HTTP)
        return delivery->http_code;
    return delivery->outcome == PARLEY_DELIVERED || delivery->outcome == PARLEY_REJECTED ? 200
                                                                                         : 0;
}

static void report(struct peer *peer, const struct message *message, uint64_t now_ns)
{
    const struct delivery_message *delivery = &message->delivery;
    parley_result result = {
        .size = sizeof(result),
        .id = {peer->handle.value, message->id},
        .peer = peer->handle,
        .outcome = (parley_outcome)delivery->outcome,
        .transport = (parley_transport)delivery->transport,
        .attempts = delivery->attempts,
        .http_code = http_code_of(delivery),
        .latency_ns = now_ns > message->posted_ns ? now_ns - message->posted_ns : 0,
        .detail = delivery->detail != NULL ? delivery->detail : "",
        .maybe_duplicate = delivery->maybe_duplicate,
    };

    if (message->progress != NULL && result.outcome == PARLEY_DELIVERED)
        message->progress(result.id, message->payload_len, message->payload_len,
                          message->user);
    if (message->done != NULL)
        message->done(&result, message->user);
}

void peer_writable(struct peer *peer)
{
    const struct handler_table *table = handlers_get(&peer->runtime->handlers);

    if (!peer->closing && table->on_writable != NULL)
        table->on_writable(peer->handle, table->on_writable_user);
}

void peer_tell_writable(struct peer *peer)
{
    bool writable = false;

    if (peer->detached)
        return; /* the slot may be another peer's */
    credit_release(&peer->slot->credit, 0, 0, &writable);
    if (writable)
        peer_writable(peer);
}

static void release_credit(struct peer *peer)
{
    bool writable = false;

    if (peer->release_messages == 0)
        return;
    if (credit_release(&peer->slot->credit, peer->release_messages, peer->release_units,
                       &writable)) {
        peer->empty = true;
        service_settled(peer->runtime);
    }
    peer->release_messages = 0;
    peer->release_units = 0;
    if (writable)
        peer_writable(peer);
    if (atomic_load_explicit(&peer->runtime->draining, memory_order_relaxed) &&
        peer->delivery.counts.pending == 0)
        service_settled(peer->runtime);
}

void peer_flush(struct peer *peer)
{
    struct node_return *nodes = worker_node_return(peer->bench->worker);
    struct delivery_end end;
    uint64_t now_ns = 0; /* read once, and only when there is something to report */

    while (delivery_ended(&peer->delivery, &end)) {
        struct message *message = message_of(end.message);

        if (end.report && message->delivery.part) {
            transfer_part_ended(peer, message);
        } else if (end.report) {
            if (now_ns == 0)
                now_ns = worker_now_exact_ns(peer->bench->worker);
            if (message->transfer != NULL)
                transfer_whole_ended(peer, message);
            report(peer, message, now_ns);
            peer->release_messages++;
            peer->release_units += credit_units(message->credit_bytes);
        }
        if (end.release && message->delivery.part)
            alloc_free(&peer->runtime->alloc, message);
        else if (end.release)
            node_free(nodes, &message->node);
    }
    release_credit(peer);
}

/* ---- State and health ---- */

static parley_peer_state public_state(const struct peer *peer)
{
    switch (peer->link.state) {
    case LINK_RESOLVING:
    case LINK_DIALLING:
    case LINK_GREETING:
        return PARLEY_PEER_CONNECTING;
    case LINK_OPEN:
        return PARLEY_PEER_OPEN;
    case LINK_BACKOFF:
        return PARLEY_PEER_BACKOFF;
    case LINK_IDLE:
    case LINK_CLOSING:
        break;
    }
    return PARLEY_PEER_IDLE;
}

void peer_report_state(struct peer *peer, const char *reason)
{
    const struct handler_table *table = handlers_get(&peer->runtime->handlers);
    parley_peer_state state = public_state(peer);
    bool healthy = peer->health.failures < peer->runtime->options.unhealthy_after;

    if (state == peer->reported && healthy == peer->health.healthy)
        return;
    peer->reported = state;
    if (healthy != peer->health.healthy) /* relaxed: a gauge */
        atomic_fetch_add_explicit(&peer->runtime->unhealthy, healthy ? UINT32_MAX : 1,
                                  memory_order_relaxed);
    peer->health.healthy = healthy;
    health_tell_slot(peer);
    log_debug(&peer->runtime->log, "peer %s: %s%s%s%s", peer->id,
              parley_peer_state_name(state), healthy ? "" : ", unhealthy",
              reason[0] != '\0' ? ": " : "", reason);
    if (table->on_state != NULL)
        table->on_state(peer->handle, peer->id, state, healthy, reason, table->on_state_user);
}

/* ---- The timer: one entry for whatever comes first ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void peer_arm(struct peer *peer)
{
    uint64_t next = earlier(peer->delivery.earliest_deadline_ns, link_next_ns(peer));

    next = earlier(next, earlier(peer->post.next_ns, peer->again_ns));
    next = earlier(next, peer->health.probe_ns);
    next = earlier(next, earlier(peer->transfers_ns, threeway_next_ns(peer)));
    if (next == peer->timer_ns)
        return;
    /* A timer that is early by some acknowledged message's deadline costs one idle look; an
     * exact one would be restarted with every acknowledgement. */
    if (next > peer->timer_ns && peer->timer_ns != CLOCK_NEVER && next != CLOCK_NEVER)
        return;
    peer->timer_ns = next;
    if (next == CLOCK_NEVER)
        worker_timer_stop(peer->bench->worker, &peer->timer);
    else
        worker_timer_start(peer->bench->worker, &peer->timer, next);
}

static void on_timer(struct timer *timer)
{
    struct peer *peer = (struct peer *)((char *)timer - offsetof(struct peer, timer));
    uint64_t now = worker_now_ns(peer->bench->worker);

    peer->timer_ns = CLOCK_NEVER;
    if (peer->post.next_ns <= now)
        peer->post.next_ns = CLOCK_NEVER; /* peer_pump() posts again */
    link_timer(peer, now);
    health_timer(peer, now);
    peer_settle(peer);
}

/* ---- The end ---- */

static void detach_when_done(struct peer *peer)
{
    if (!peer->closing || !peer->empty || peer->detached || peer->delivery.front != NULL ||
        !link_quiet(peer) || peer->post.busy || peer->pings != NULL || peer->transfers != NULL)
        return;
    peer->detached = true;
    worker_timer_stop(peer->bench->worker, &peer->timer);
    registry_lock(&peer->runtime->registry);
    registry_detach(&peer->runtime->registry, peer);
    registry_unlock(&peer->runtime->registry);
    actor_retire(&peer->actor);
}

static void join_bench(struct peer *peer)
{
    peer->next = peer->bench->peers;
    if (peer->next != NULL)
        peer->next->prev = peer;
    peer->bench->peers = peer;
}

static void leave_bench(struct peer *peer)
{
    if (peer->prev != NULL)
        peer->prev->next = peer->next;
    else
        peer->bench->peers = peer->next;
    if (peer->next != NULL)
        peer->next->prev = peer->prev;
}

static void peer_free(struct peer *peer)
{
    const struct alloc *alloc = &peer->runtime->alloc;

    link_fini(peer);
    post_fini(peer);
    threeway_free(peer);
    auth_forget_token(peer);
    alloc_free(alloc, peer->id);
    alloc_free_aligned(alloc, peer);
}

static void retired(struct actor *actor)
{
    struct peer *peer = peer_of(actor);
    struct parley *runtime = peer->runtime;

    peer_count(peer, &peer->bench->gone);
    if (!peer->health.healthy) /* relaxed: a gauge */
        atomic_fetch_sub_explicit(&runtime->unhealthy, 1, memory_order_relaxed);
    leave_bench(peer);
    peer_free(peer);
    service_settled(runtime);
}

static void begin_removal(struct peer *peer)
{
    peer->closing = true;
    if (credit_usage(&peer->slot->credit).messages == 0)
        peer->empty = true;
    transfer_cancel(peer, "peer removed");
    delivery_give_up_all(&peer->delivery, PARLEY_CANCELLED, "peer removed");
    if (peer->post.busy)
        http_worker_cancel(peer->runtime->http, &peer->post.call);
    ping_cancel(peer, true, "peer removed");
    link_close(peer, 1000, "peer removed");
}

/* ---- The lanes ---- */

static void on_control_message(struct peer *peer, struct control *control)
{
    switch (control->kind) {
    case CONTROL_CONNECT:
        link_dial(peer, true);
        break;
    case CONTROL_DISCONNECT:
        ping_cancel(peer, false, "closed by the host");
        link_close(peer, 1000, "closed by the host");
        break;
    case CONTROL_HANDSHAKE:
        peer->threeway_asked = true;
        break;
    case CONTROL_PING:
        ping_begin(peer, control);
        return; /* keeps it */
    case CONTROL_REMOVE:
        begin_removal(peer);
        return; /* embedded, as the next one */
    case CONTROL_JOIN:
        join_bench(peer); /* the peer's first message: the list is its worker's */
        if (!peer->has_url)
            carrier_seek(peer);
        return;
    case CONTROL_CARRIER_UP:
    case CONTROL_CARRIER_DOWN:
    case CONTROL_CARRIER_ACK:
        carrier_told(peer, (struct carrier_note *)control);
        return; /* frees or keeps it */
    case CONTROL_COUNT:
        stats_count_peer(control, peer);
        return; /* on the stack of who asked, and gone */
    default:
        break;
    }
    alloc_free(&peer->runtime->alloc, control);
}

static void on_control(struct actor *actor, struct mailbox_node *node)
{
    struct peer *peer = peer_of(actor);

    if (node == &peer->post.call.node)
        post_done(peer);
    else if (peer->link.query != NULL && node == &peer->link.query->node)
        link_resolved(peer);
    else if (!ping_take(peer, node))
        on_control_message(peer, (struct control *)node);
}

static void on_message(struct actor *actor, struct mailbox_node *node)
{
    struct peer *peer = peer_of(actor);
    struct message *message = (struct message *)node;

    delivery_post(&peer->delivery, &message->delivery);
    if (peer->closing)
        delivery_give_up(&peer->delivery, &message->delivery, PARLEY_CANCELLED,
                         "peer removed");
}

void peer_settle(struct peer *peer)
{
    if (peer->detached)
        return;
    ping_pump(peer);
    do {
        peer->transfers_moved = false;
        transfer_feed(peer);
        peer_pump(peer);
        peer_flush(peer);
    } while (peer->transfers_moved);
    peer_report_state(peer, "");
    health_settle(peer);
    peer_arm(peer);
    detach_when_done(peer);
}

static void on_settle(struct actor *actor)
{
    peer_settle(peer_of(actor));
}

static const struct actor_class peer_class = {
    .control = on_control,
    .receive = on_message,
    .settle = on_settle,
    .retired = retired,
};

/* ---- Host threads ---- */

parley_status peer_post_control(struct peer *peer, enum control_kind kind)
{
    struct control *control = alloc_zeroed(&peer->runtime->alloc, sizeof(*control));

    if (control == NULL)
        return PARLEY_ENOMEM;
    control->kind = kind;
    actor_post_control(&peer->actor, &control->node);
    return PARLEY_OK;
}

/* Where the WebSocket is when only the peer's address is known. */
static parley_status derive_ws_url(struct peer *peer)
{
    size_t len = strlen(peer->url.path);

    peer->ws_url = peer->url;
    if (len + sizeof(WS_PATH) > sizeof(peer->ws_url.path))
        return PARLEY_EURL;
    memcpy(peer->ws_url.path + len, WS_PATH, sizeof(WS_PATH));
    return PARLEY_OK;
}

static parley_status set_urls(struct peer *peer, const char *url, const char *ws_url)
{
    char error[ERROR_MAX] = "path too long";
    parley_status status = PARLEY_OK;

    if (url != NULL) {
        status = url_parse(url, &peer->url, error, sizeof(error));
        peer->has_url = status == PARLEY_OK;
    }
    if (status == PARLEY_OK && url != NULL)
        status = derive_ws_url(peer);
    if (status == PARLEY_OK && ws_url != NULL)
        status = url_parse(ws_url, &peer->ws_url, error, sizeof(error));
    if (status != PARLEY_OK)
        log_warn(&peer->runtime->log, "peer %s: %s", peer->id, error);
    return status;
}

static void set_options(struct peer *peer, const parley_peer_options *options)
{
    const parley_options *defaults = &peer->runtime->options;

    peer->preference = options->preference_set ? options->preference : defaults->preference;
    if (!defaults->websocket_enabled)
        peer->preference = PARLEY_HTTP_ONLY;
    peer->dialect = options->dialect;
    peer->signatures = options->signatures;
    peer->security_min = options->security_min;
    peer->encryption = options->encryption;
    peer->link.paced = options->pace;
    pace_init(&peer->link.pace, options->rate_burst != 0 ? options->rate_burst : MANAGER_BURST,
              options->rate_per_min != 0 ? options->rate_per_min : MANAGER_PER_MIN);
    peer->ttl_ms = options->ttl_ms != 0 ? options->ttl_ms : defaults->ttl_ms;
    peer->mailbox_messages_max = options->mailbox_messages_max != 0
                                     ? options->mailbox_messages_max
                                     : defaults->mailbox_messages_max;
    peer->mailbox_bytes_max = options->mailbox_bytes_max != 0 ? options->mailbox_bytes_max
                                                              : defaults->mailbox_bytes_max;
}

static parley_status peer_init(struct peer *peer, const char *id, const char *url,
                               const parley_peer_options *options)
{
    struct parley *runtime = peer->runtime;
    struct random_pool random = {.used = sizeof(random.bytes)};
    struct delivery_limits limits = {.in_flight_max = runtime->options.in_flight_max};
    parley_status status;

    peer->id = alloc_string(&runtime->alloc, id);
    if (peer->id == NULL)
        return PARLEY_ENOMEM;
    status = set_urls(peer, url, options->ws_url);
    if (status != PARLEY_OK)
        return status;
    set_options(peer, options);
    status = auth_set_token(peer, options);
    if (status != PARLEY_OK)
        return status;
    random_bytes(&random, peer->session_random, sizeof(peer->session_random));
    uuid_write(peer->session_id, peer->session_random);
    delivery_init(&peer->delivery, &limits);
    timer_init(&peer->timer, on_timer);
    peer->timer_ns = peer->again_ns = peer->transfers_ns = CLOCK_NEVER;
    health_init(peer, options);
    link_init(peer);
    if (peer->encryption == PARLEY_ENCRYPTION_SESSION && threeway_of(peer) == NULL)
        return PARLEY_ENOMEM;
    return post_init(peer, options);
}

/* The actor is ready before the credit opens: from then on anybody may post. */
static parley_status publish(struct peer *peer, const char *public_key, parley_peer *ret_peer)
{
    struct parley *runtime = peer->runtime;
    struct worker *worker = worker_pool_least_loaded(runtime->workers);
    parley_status status;

    peer->bench = bench_of(worker);
    registry_lock(&runtime->registry);
    /* Under the lock: what parley_close() has not removed by then is refused here. */
    status = atomic_load_explicit(&runtime->draining, memory_order_relaxed)
                 ? PARLEY_ECLOSED
                 : registry_attach(&runtime->registry, peer);
    if (status == PARLEY_OK) {
        status = trust_add_peer(runtime, peer->id, public_key);
        if (status != PARLEY_OK) {
            registry_forget(&runtime->registry, peer);
            registry_detach(&runtime->registry, peer);
        }
    }
    if (status == PARLEY_OK) {
        *ret_peer = peer->handle;
        actor_init(&peer->actor, &peer_class, worker);
        credit_open(&peer->slot->credit, peer->mailbox_messages_max, peer->mailbox_bytes_max);
        peer->join.kind = CONTROL_JOIN;
        actor_post_control(&peer->actor, &peer->join.node);
    }
    registry_unlock(&runtime->registry);
    return status;
}

parley_status peer_new(struct parley *runtime, const char *id, const char *url,
                       const parley_peer_options *options, parley_peer *ret_peer)
{
    struct peer *peer = alloc_aligned(&runtime->alloc, CACHE_LINE, sizeof(*peer));
    parley_status status;

    if (peer == NULL)
        return PARLEY_ENOMEM;
    peer->runtime = runtime;
    status = peer_init(peer, id, url, options);
    if (status == PARLEY_OK)
        status = publish(peer, options->public_key, ret_peer);
    trust_log_peer(runtime, id, options->public_key, status);
    if (status != PARLEY_OK)
        peer_free(peer);
    return status;
}

void peer_remove(struct peer *peer)
{
    registry_forget(&peer->runtime->registry, peer);
    trust_remove_peer(peer->runtime, peer->id);
    credit_close(&peer->slot->credit); /* begin_removal() looks whether that left it empty */
    peer->removal.kind = CONTROL_REMOVE;
    actor_post_control(&peer->actor, &peer->removal.node);
}

void peer_count(const struct peer *peer, parley_stats *stats)
{
    const struct delivery_counts *counts = &peer->delivery.counts;

    stats->accepted += counts->accepted;
    stats->delivered += counts->delivered_ws + counts->delivered_http;
    stats->delivered_ws += counts->delivered_ws;
    stats->delivered_http += counts->delivered_http;
    stats->sent += counts->sent;
    stats->rejected += counts->rejected;
    stats->exhausted += counts->exhausted;
    stats->expired += counts->expired;
    stats->cancelled += counts->cancelled;
    stats->pending += counts->pending;
    stats->resent += counts->resent;
    stats->breaker_opens += peer->link.breaker.opens + peer->post.breaker.opens;
    stats->health_probes += peer->health.probes;
}
