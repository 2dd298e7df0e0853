/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulated world: its clock, its events, its nodes and what goes wrong between them.
 *
 * The library's own objects run unchanged on top; only what touches the world is replaced,
 * behind the very same headers: runtime/worker.h and clock.h and resolver.h, transport/
 * transport.h and http_worker.h and process.h. One thread runs everything, one event after
 * another, and every choice is drawn from generators derived from one seed: a seed is a
 * whole run. A node's process may die at any step: its memory is taken back at once.
 *
 * Files: clock.c time and events, worker.c, wire.c, websocket.c, http.c, world.c nodes and
 * faults, ledger.c messages, promise.c what was promised, transfers.c the same of messages in
 * chunks, states.c, script.c what happens in a seed, main.c seeds and shrinking; secure.c
 * identities and what is promised of them, secure_worlds.c who has them, attack.c who stands
 * between nodes.
 */
#ifndef PARLEY_TEST_SIM_SIM_H
#define PARLEY_TEST_SIM_SIM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/clock.h"
#include "transport/transport.h"

#define SIM_NODES_MAX 3
#define SIM_KEYS_MAX  8
#define SIM_PORT      9000u
#define SIM_ADDRESS   "127.0.0.1"

/* ---- Chance ---- */

struct chance {
    uint64_t state;
};

/** A generator of its own for each purpose, so that leaving one event out of a script
 *  changes as little as possible of the rest. */
struct chance chance_for(const char *purpose, uint64_t ordinal);
uint64_t chance_draw(struct chance *chance);
/** 0 … below - 1. */
uint32_t chance_below(struct chance *chance, uint32_t below);
/** low … high. */
uint64_t chance_between(struct chance *chance, uint64_t low, uint64_t high);
bool chance_in(struct chance *chance, uint32_t in_thousand);

/* ---- What goes wrong, counted when it does ---- */

#define FAULT_MAP(X)                                        \
    X(CUT, "connection cut, both told")                     \
    X(HALF_OPEN, "connection half-open")                    \
    X(CUT_IN_FRAME, "cut inside a frame")                   \
    X(REFUSED, "dial refused")                              \
    X(DIAL_LOST, "dial unanswered")                         \
    X(UPGRADE_REFUSED, "upgrade refused")                   \
    X(DELAY, "delayed")                                     \
    X(SLOW_READER, "slow reader")                           \
    X(TINY_WRITES, "tiny socket or frames")                 \
    X(HTTP_REQUEST_LOST, "request lost before the handler") \
    X(HTTP_ANSWER_LOST, "answer lost")                      \
    X(HTTP_UNANSWERED, "request or answer hangs")           \
    X(HTTP_LATE, "request outlives its caller (reordered)") \
    X(HTTP_RESENT, "request sent twice (duplicate)")        \
    X(HTTP_5XX, "5xx before the handler")                   \
    X(HTTP_5XX_AFTER, "5xx after the handler")              \
    X(HTTP_4XX, "4xx from between")                         \
    X(HTTP_429, "429, Retry-After")                         \
    X(STALLED, "handler stalled")                           \
    X(LATER, "handler answers later")                       \
    X(REJECTED, "handler refuses")                          \
    X(CRASH, "crash, memory lost")                          \
    X(RESTART, "closed and opened anew")                    \
    X(PAUSE, "process stopped for a while")                 \
    X(CROSSED, "crossed dials")                             \
    X(PEER_REMOVED, "peer removed")                         \
    X(DISCONNECTED, "disconnected by the host")             \
    X(NAME, "name not resolved, or a dead address")         \
    X(MEMORY, "allocation failed")                          \
    X(EXPIRED, "deadline passed")                           \
    X(FULL, "mailbox full")                                 \
    X(MISSING, "chunks lost by the receiver, sent again")   \
    X(FORGOTTEN, "unfinished transfer forgotten")           \
    X(LIMITED, "transfer beyond a limit")                   \
    X(DRAINED, "drained")                                   \
    X(DRAIN_SHORT, "drained for too short a time")          \
    X(REPLAYED, "replayed")                                 \
    X(REDIRECTED, "replayed to another node or session")    \
    X(REFLECTED, "reflected to its sender")                 \
    X(FLIPPED, "bit flipped")                               \
    X(STRIPPED, "parley/1, handshake or seal stripped")     \
    X(FORGED, "plain message forged")                       \
    X(REMOVED, "removed")                                   \
    X(OLD_STEPS, "steps of an older handshake")

enum fault {
#define FAULT_ENUM(name, text) FAULT_##name,
    FAULT_MAP(FAULT_ENUM)
#undef FAULT_ENUM
        FAULTS
};

void fault_count(enum fault fault);

/* ---- Nodes ---- */

struct memory_block;
struct worker_pool;
struct http_worker;

/** One life of a node's process. */
struct process {
    struct host *node;
    unsigned life; /* from 1 */
    struct memory_block *memory;
    size_t memory_blocks;
    struct chance memory_chance;
    bool memory_sure; /* allocations do not fail */
    bool draining;    /* parley_drain() has been called */
    struct worker_pool *pool;
    struct transport *transport;
    struct http_worker *http;
    parley *runtime;
    parley_peer peers[SIM_NODES_MAX]; /* by the other node's index; value 0: none */
    pthread_key_t keys[SIM_KEYS_MAX];
    unsigned keys_len;
};

struct host {
    unsigned index;
    char id[8];
    struct process *process; /* NULL: down */
    unsigned lives;
    uint64_t died_ns; /* the last time */
    /* faults in force until then */
    uint64_t refuses_until, hangs_until, upgrades_refused_until;
    unsigned upgrade_status;
    uint64_t slow_until, delays_until, names_fail_until, stalls_until;
    uint64_t memory_fails_until, memory_failed_ns;
    unsigned http_faults; /* requests still to go wrong */
    enum fault http_fault;
    unsigned http_code, http_retry_after_s;
    unsigned attacks; /* on what arrives here, still to come */
    enum fault attack;
};

enum knowledge { KNOWS_NOTHING, KNOWS_KEY, KNOWS_WRONG_KEY };

/** How one side sees another: options of a peer. */
struct pair {
    bool known;   /* is a peer at all */
    bool has_url; /* else it connects to us */
    bool by_name; /* its URL names a host */
    parley_preference preference;
    parley_dialect dialect;
    uint32_t ttl_ms;
    uint32_t mailbox_messages_max;
    enum knowledge knows; /* of the other's key */
    parley_signatures signatures;
    parley_security security_min;
};

/** Of identities. */
enum world {
    WORLD_OPEN,   /* nobody has one */
    WORLD_SEALED, /* all have, trust each other, and take nothing that is not sealed */
    WORLD_SIGNED, /* … that is not signed */
    WORLD_MIXED,  /* some have, some trust some */
};

struct setup {
    unsigned nodes;
    unsigned workers[SIM_NODES_MAX];
    struct pair pairs[SIM_NODES_MAX][SIM_NODES_MAX];
    parley_options options[SIM_NODES_MAX];
    uint32_t latency_us; /* the network's, about */
    uint32_t turn_us;    /* a worker's, at most */
    bool tiny;           /* sockets and frames have little room */
    bool later;          /* handlers may answer later */
    uint32_t long_bytes; /* a long message has up to so many; 0: there are none */
    enum world world;
    bool identity[SIM_NODES_MAX];
    bool disk;     /* the memory against replay survives its process */
    bool attacked; /* somebody stands between the nodes */
    bool costly;   /* signatures and key agreement as they are, not as cheap likenesses */
};

struct sim {
    uint64_t seed;
    uint64_t now_ns;
    uint64_t started_ns;
    struct setup setup;
    struct host nodes[SIM_NODES_MAX];
    bool healed; /* nothing goes wrong any more */
    bool trace;
    uint64_t steps;
    uint64_t paused_ns;  /* longest pause so far: results may be that much late */
    uint64_t drained_ns; /* in parley_drain(), which may hold up a close that began before */
    bool waiting;        /* for parley_drain(), which nothing else that blocks may delay */
    uint32_t breaks[SIM_NODES_MAX][SIM_NODES_MAX]; /* ends of connections and requests */
};

extern struct sim sim;

void process_start(struct host *node);
/** The process dies between two steps: nothing is said to anyone. */
void process_kill(struct host *node, bool silently);
/** parley_close(). */
void process_close(struct host *node);
struct process *process_of(const struct alloc *alloc);
struct host *node_at_port(unsigned port);
void peer_add(struct process *process, unsigned other);

/* ---- Time: clock.c ---- */

typedef void (*event_fn)(void *subject, uint64_t value);

void sim_reset(uint64_t seed);
void sim_at(uint64_t when_ns, event_fn run, void *subject, uint64_t value);
/** One event or one worker's turn. */
void sim_step(void);
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** Memory of the simulator's own that lives as long as the run. */
void *sim_new(size_t bytes);

/** An allocator that counts, and forgets everything at once. */
parley_allocator memory_of(struct process *process);
void memory_forget(struct process *process);
/** Whether the next allocation of the process's fails; counts it. */
bool memory_fails(struct process *process);
/** Thread keys made from now on are this process's; NULL: nobody's. */
void memory_opening(struct process *process);

/* ---- Workers: worker.c ---- */

void workers_reset(void);
/** When the next worker has something to do; that worker. */
struct worker *workers_next(uint64_t *ret_when_ns);
void worker_turn(struct worker *worker);
/** What follows happens on this worker, as if its poll had just returned. */
void worker_enter(struct worker *worker);
void worker_leave(void);
struct worker *worker_entered(void);
uint64_t worker_paused_until(const struct worker *worker);
void workers_pause(struct worker_pool *pool, uint64_t until_ns);
/** The process is gone with everything in it. */
void workers_forget(struct worker_pool *pool);

/* ---- The network: websocket.c, http.c ---- */

struct transport {
    struct process *process;
    const struct alloc *alloc;
    struct transport_options options;
    struct transport_events events;
    char parley_header[64];
    bool listens;
    uint32_t stopping; /* a bit per worker */
    uint32_t finished;
    uint32_t hurried;
};

/** Something between two nodes has ended: what is unanswered may go again. */
void sim_broke(const struct host *a, const struct host *b);

void wires_reset(void);
void wires_process_gone(struct process *process, bool silently);
void wires_worker_shutdown(struct transport *transport, struct worker *worker);
void wires_worker_hurry(struct transport *transport, struct worker *worker);
void wires_worker_fini(struct transport *transport, struct worker *worker);
size_t wires_of_worker(const struct transport *transport, const struct worker *worker);
/** Cuts every connection between two nodes. `halves`: bit i set: node i is not told. */
void wires_cut(unsigned a, unsigned b, unsigned halves);

void exchanges_reset(void);
void exchanges_process_gone(struct process *process);
void exchanges_worker_shutdown(struct transport *transport, struct worker *worker);
size_t exchanges_of_worker(const struct worker *worker);

/** The network's delay for something on its way to `node`. */
uint64_t latency_ns(struct chance *chance, const struct host *node);
/** A worker that accepts; NULL: nobody listens. */
struct worker *listener_worker(struct host *node, struct chance *chance);

/* ---- The promise: promise.c ---- */

void promise_reset(void);
struct posting {
    unsigned from, to;
    uint32_t ttl_ms; /* 0: the peer's */
    parley_hint hint;
    uint32_t bytes; /* of padding */
    uint32_t plan;  /* what the handler does with it: drawn by the script */
    bool in_order;
    bool probe; /* has to be delivered */
};
/** @return whether it was accepted */
bool promise_post(const struct posting *post);
parley_verdict promise_handle(const parley_incoming *incoming, char *detail, void *user);
void promise_writable(parley_peer peer, void *user);
enum way {
    WAY_DIALLED,
    WAY_CARRIED, /* over the other's connection: written some time before */
    WAY_HTTP,
};
/** Messages in this text go on a transport now. */
void promise_sent(const struct process *process, const char *text, size_t len, enum way way);
/** They were refused on the way, for good, or went out twice in one request. */
void promise_refused(const char *text, size_t len);
void promise_doubled(const char *text, size_t len);
void promise_http_failed(const struct process *process, unsigned to);
void promise_process_gone(const struct process *process);
void promise_peer_removed(const struct process *process, unsigned other);
/** After every step: what was touched is sound, nothing is late. */
void promise_check(struct worker *touched);
/** parley_drain() has returned, at `until_ns` at the latest. */
void promise_drained(const struct process *process, parley_status status, size_t left,
                     uint64_t until_ns);
/** Handlers that stalled answer. */
void promise_unstall(void);
bool promise_settled(void);
/** Everything is over: counters agree, nothing is left. */
void promise_check_end(void);
void promise_broken(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- A seed: script.c ---- */

#define OPS_MAX 128

struct op {
    uint64_t at_ns;
    uint8_t kind, a, b;
    uint32_t x, y, z;
};

struct script {
    struct op ops[OPS_MAX];
    unsigned len;
};

void script_draw(uint64_t seed, struct script *ret_script);
void script_run(uint64_t seed, const struct script *script);
void script_print(const struct script *script);

/* ---- Results of many seeds, shared between processes: main.c ---- */

#define STATES_BITS 22

struct tally {
    uint64_t seeds, steps, posted, runs, second_runs, frames, requests;
    uint64_t transfers, chunks, chunks_again; /* chunks sent; of these, under new numbers */
    uint64_t secured, sealed, handshakes;     /* seeds with identities; frames and bodies */
    uint64_t outcomes[PARLEY_CANCELLED + 1];
    uint64_t faults[FAULTS];
    uint64_t states;
    uint8_t reached[(1u << STATES_BITS) / 8];
    /* the seed being run, and what is wrong with it */
    uint64_t seed;
    bool broken;
    char text[512];
};

extern struct tally *tally;

#endif
