/* SPDX-License-Identifier: Apache-2.0
 *
 * The runtime's own structures, shared by the files of peers/: the service, what each
 * worker keeps for it (its bench), and the messages that travel on control lanes.
 */
#ifndef PARLEY_PEERS_SERVICE_H
#define PARLEY_PEERS_SERVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "peers/auth.h"
#include "peers/breaker.h"
#include "peers/canonical.h"
#include "peers/crypto.h"
#include "peers/envelope.h"
#include "peers/handlers.h"
#include "peers/json.h"
#include "peers/limit.h"
#include "peers/nonces.h"
#include "peers/registry.h"
#include "peers/secure_table.h"
#include "peers/session_table.h"
#include "peers/transfer_in.h"
#include "peers/trust.h"
#include "runtime/actor.h"
#include "runtime/alloc.h"
#include "runtime/log.h"
#include "runtime/node_pool.h"
#include "runtime/resolver.h"
#include "transport/http_worker.h"
#include "transport/transport.h"

/** What a request that came sealed is answered under. Zeroed: it did not. */
struct secure_reply {
    struct secure_session *session; /* referenced */
    uint32_t counter;
};

#define LOCAL_PEERS 1 /* worker_get_local(): slot 0 is the transport's */
#define ERROR_MAX   256

/** What parley_close() gives the other sides to take their close frames: once for the peers,
 *  once for those that connected to us. */
#define CLOSE_GRACE_MS 500

/** Bytes around a payload in a frame or body: what the largest message needs beyond itself. */
#define FRAME_OVERHEAD 4096

enum control_kind {
    CONTROL_JOIN,          /* to a peer: its first message */
    CONTROL_CONNECT,       /* to a peer: parley_connect() */
    CONTROL_DISCONNECT,    /* to a peer: parley_disconnect() */
    CONTROL_ROOM,          /* to a peer: a message found none (health.c) */
    CONTROL_PING,          /* to a peer: struct ping */
    CONTROL_REMOVE,        /* to a peer: parley_peer_remove() */
    CONTROL_VISIT,         /* to a bench: run a function there */
    CONTROL_COUNT,         /* to a peer: parley_peer_stats_get() */
    CONTROL_STATS,         /* to a bench: its GET /stats is gathered */
    CONTROL_CLOSE,         /* to a bench: parley_close() begins */
    CONTROL_HURRY,         /* to a bench: parley_close() has waited long enough */
    CONTROL_RETIRE,        /* to a bench: every bench has closed, nobody posts any more */
    CONTROL_INBOUND,       /* to a session: struct inbound_request */
    CONTROL_ANSWER,        /* to a bench or connection: the same request, answered */
    CONTROL_FINISH,        /* to a session: parley_message_finish() */
    CONTROL_ACK,           /* to a connection: an acknowledgement from its session's owner */
    CONTROL_CARRIER_UP,    /* carrier.h, to a peer */
    CONTROL_CARRIER_DOWN,  /* … */
    CONTROL_CARRIER_ACK,   /* … */
    CONTROL_CARRIER_FRAME, /* … to a bench, for a connection */
    CONTROL_CARRIER_GONE,  /* … */
    CONTROL_REPLACED,      /* to a connection: another one has taken its session over */
    CONTROL_HANDSHAKE,     /* to a peer: a step of its handshake was heard (threeway.h) */
};

/** Head of the messages on control lanes but http_call and resolver_query. */
struct control {
    struct mailbox_node node;
    enum control_kind kind;
};

/** Random bytes without a system call each: refilled in bulk. */
struct random_pool {
    uint8_t bytes[1024];
    size_t used;
};

/** Counters that belong to a worker, not to a peer. Written by the worker only. */
struct bench_counts {
    uint64_t wire_bytes_out, ws_connects, ws_reconnects, ws_connect_failures;
    uint64_t http_requests, http_failures;
    uint64_t handled, unhandled, repeats, sequence_gaps, handler_rejected, protocol_errors;
    uint64_t rate_limited;
    uint64_t ws_connections_accepted, http_requests_accepted, ws_connections;
};

/** What one worker keeps for the service. */
struct bench {
    struct actor actor; /* where other threads reach this worker itself */
    struct parley *runtime;
    struct worker *worker;
    struct json_doc doc;        /* scans what arrives on this worker */
    struct canonical canonical; /* what signatures on this worker cover */
    struct random_pool random;
    struct canonical steps; /* of handshakes */
    char *scratch;          /* a frame or body being written */
    size_t scratch_bytes;
    struct bench_counts counts;
    parley_stats gone;                        /* delivery counters of removed peers */
    struct peer *peers;                       /* pinned here */
    struct connection *connections;           /* accepted here */
    struct session *sessions, *sessions_last; /* owned here, the one used last in front */
    struct timer sweep;                       /* of idle sessions */
    struct control close;                     /* CONTROL_CLOSE, once; then CONTROL_RETIRE */
    struct control hurry;                     /* CONTROL_HURRY, once */
    uint64_t hurry_ns;                        /* when that is asked for here */
    uint32_t crowded_seen;       /* refused newcomers this worker has made room for */
    uint32_t starved_seen;       /* refusals this worker's peers have been told of */
    uint32_t requests;           /* at sessions, made here and not freed yet */
    uint32_t rounds;             /* of statistics, asked for by GET */
    struct auth_caller caller;   /* of the request being routed */
    struct secure_reply sealing; /* of the request being routed, or answered */
    bool closing, closed;
};

struct parley {
    struct alloc alloc;
    struct log log;
    parley_options options; /* strings are ours */
    char *node_id;
    char *listen_host;
    char *jwt_secret;               /* auth.h; NULL: no tokens are asked for */
    char *state_dir;                /* NULL: none */
    struct trust trust;             /* trust.h: our identity, and whose keys we trust */
    struct breaker_limits breakers; /* from the options */
    struct crypto crypto;
    bool loopback; /* listens on a loopback address only, or not at all */
    char parley_header[64];
    const unsigned char *fork_guard; /* one page that a fork wipes: 1 here, 0 in the child */

    struct node_pool *nodes;
    struct worker_pool *workers;
    struct http_worker *http;
    struct resolver *resolver;
    struct transport *transport;

    struct registry registry;
    struct session_table sessions;
    struct secure_table secured;   /* security sessions over HTTP */
    struct transfers_in transfers; /* chunks of unfinished ones */
    struct handlers handlers;
    struct limit_table limits;
    struct nonces nonces; /* against replay */

    _Atomic(uint32_t) starved;     /* refusals because the runtime's own bound was reached */
    _Atomic(uint32_t) crowded;     /* newcomers refused because every session seemed in use */
    _Atomic(uint32_t) unhealthy;   /* peers, for GET /health */
    _Atomic(uint32_t) pings;       /* without an answer yet */
    _Atomic(bool) draining;        /* parley_send() refuses */
    pthread_mutex_t settled_mutex; /* guards nothing but the wait below */
    pthread_cond_t settled;        /* a peer has become empty, detached, or a bench closed */
    uint32_t benches_closed, benches_retired; /* under settled_mutex */
    _Atomic(uint32_t) visits;                 /* under way */
};

struct bench *bench_of(const struct worker *worker);

/** The bench of the worker with this index. */
struct bench *bench_get(struct parley *runtime, uint32_t index);

/** Levels of nesting around a payload. */
#define ENVELOPE_LEVELS 1
#define BATCH_LEVELS    3

/**
 * Scans a body into the bench's document. Its nesting may be a payload's limit and what is
 * around it. Its size is the transport's limit.
 *
 * @return PARLEY_OK; PARLEY_ENOMEM (it may be sent again); else it is malformed
 */
parley_status bench_scan(struct bench *bench, const char *text, size_t len,
                         uint32_t record_depth, uint32_t levels);

/** The same for a frame, which may be a batch, down to ACK_RECORD_DEPTH. */
parley_status bench_scan_frame(struct bench *bench, const char *text, size_t len);

void random_bytes(struct random_pool *pool, uint8_t *bytes, size_t len);

/** Wakes parley_drain() and parley_close() to look again. Any thread. */
void service_settled(struct parley *runtime);

/** True in a forked child, where nothing of the runtime works. */
bool service_forked(const struct parley *runtime);

/* ---- peers/visit.c: running something on every worker in turn ---- */

struct visit;
typedef void (*visit_fn)(struct visit *visit, struct bench *bench);

/** Goes from worker to worker; `step` runs on each, then `done` on the last one. */
struct visit {
    struct control control;
    struct parley *runtime;
    uint32_t next;
    visit_fn step, done;
};

/** Starts the round at the first worker. The visit is the caller's after `done`. */
void visit_start(struct visit *visit, struct parley *runtime, visit_fn step, visit_fn done);

/** For the bench's control lane. */
void visit_continue(struct visit *visit, struct bench *bench);

#endif
