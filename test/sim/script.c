/* SPDX-License-Identifier: Apache-2.0
 *
 * One seed: how the nodes are set up, and a list of things that happen to them. The list is
 * drawn before anything runs, so that a shorter one can be run as well. At its end all is
 * made well again; then every message must get its result, and one sent from now on must
 * be delivered.
 */
#include <stdio.h>
#include <string.h>

#include "test/sim/attack.h"
#include "test/sim/secure.h"
#include "test/sim/sim.h"

#define SCRIPT_NS   (8 * NS_PER_S)
#define REST_NS_MAX (1000 * NS_PER_S)
#define PROBE_TTL   400000
#define FUTILE_TTL  3000 /* of what cannot arrive */
#define IDLE_S_MAX  3

/* until an unfinished transfer is forgotten */
#define LEFTOVERS_NS ((IDLE_S_MAX + 2) * NS_PER_S)

enum op_kind {
    OP_POST, /* a to b: x messages, drawn by y */
    OP_CUT,  /* a and b; x: nodes not told */
    OP_REFUSE,
    OP_HANG,
    OP_UPGRADES,
    OP_SLOW,
    OP_DELAY,
    OP_NAMES,
    OP_MEMORY,
    OP_STALL, /* at a, for x ms */
    OP_HTTP,  /* to a: x requests, fault y (FAULTS: any), code z */
    OP_CRASH, /* a, for x ms; y: silently */
    OP_RESTART,
    OP_PAUSE,
    OP_REMOVE, /* b at a, for x ms */
    OP_DISCONNECT,
    OP_CONNECT,
    OP_CROSS,
    OP_DRAIN,  /* a, for x ms; then it closes */
    OP_ATTACK, /* on x things that arrive at a, by fault y */
    OP_KINDS
};

static const char *const op_names[OP_KINDS] = {
    "post",        "cut",     "refuse",        "hang",   "refuse upgrades",
    "slow reader", "delay",   "names",         "memory", "stall",
    "http",        "crash",   "restart",       "pause",  "remove peer",
    "disconnect",  "connect", "crossed dials", "drain",  "attack",
};

/* ---- Drawing ---- */

static void draw_options(struct chance *chance, parley_options *options)
{
    parley_options_init(options);
    options->in_flight_max =
        chance_in(chance, 300) ? 1 + chance_below(chance, 4) : 4 + chance_below(chance, 60);
    options->batch_bytes_max = 4096 + chance_below(chance, 12288);
    options->message_bytes_max = 4096;
    options->http_timeout_ms = (uint32_t)chance_between(chance, 200, 3000);
    options->http_connect_timeout_ms = options->http_timeout_ms / 2;
    options->http_attempts = 1 + chance_below(chance, 4);
    options->http_backoff_ms = (uint32_t)chance_between(chance, 10, 500);
    options->connect_timeout_ms = (uint32_t)chance_between(chance, 100, 2000);
    options->connect_grace_ms = chance_below(chance, 300);
    options->reconnect_min_ms = (uint32_t)chance_between(chance, 10, 400);
    options->reconnect_max_ms = (uint32_t)chance_between(chance, 400, 4000);
    options->reconnect_attempts = 1 + chance_below(chance, 6);
    options->heartbeat_interval_ms = (uint32_t)chance_between(chance, 200, 4000);
    options->heartbeat_grace_ms = (uint32_t)chance_between(chance, 200, 1500);
    options->ack_timeout_ms = 1000;
    options->run_messages_max = 1 + chance_below(chance, 32);
    options->guests_max = 64;
    options->peers_max = 16;
    options->ttl_ms = 10000;
}

static void draw_pair(struct chance *chance, struct pair *pair)
{
    *pair = (struct pair){
        .known = true,
        .has_url = true,
        .by_name = chance_in(chance, 250),
        .preference =
            (parley_preference)(chance_in(chance, 500) ? 0 : chance_below(chance, 4)),
        .dialect = chance_in(chance, 700) ? PARLEY_DIALECT_PARLEY : PARLEY_DIALECT_AUTO,
        .ttl_ms = (uint32_t)(chance_in(chance, 200) ? chance_between(chance, 20, 1000)
                                                    : chance_between(chance, 1000, 15000)),
        .mailbox_messages_max = chance_in(chance, 250) ? 2 + chance_below(chance, 12) : 2048,
    };
}

/* `pair`'s peer is reached when it dials us, which `back` must therefore do. */
static void make_reverse(struct pair *pair, struct pair *back)
{
    pair->has_url = false;
    pair->preference = PARLEY_WEBSOCKET_FIRST;
    if (back->preference != PARLEY_WEBSOCKET_ONLY)
        back->preference = PARLEY_WEBSOCKET_FIRST;
}

/* Small messages, so that others have to go in chunks; what may be kept of them is little. */
static void draw_transfers(struct chance *chance, struct setup *setup)
{
    uint32_t message_bytes = 1024 + chance_below(chance, 1024);
    uint32_t transfer_bytes = 8192 + chance_below(chance, 24576);

    setup->long_bytes = setup->tiny ? 6000 : transfer_bytes - 256;
    for (unsigned i = 0; i < setup->nodes; i++) {
        parley_options *options = &setup->options[i];

        options->message_bytes_max = message_bytes;
        if (chance_in(chance, 100))
            options->message_bytes_max += 1024; /* more than the others take */
        options->chunk_threshold_bytes = 1024 + chance_below(chance, 2048);
        options->transfer_bytes_max =
            transfer_bytes - (chance_in(chance, 100) ? transfer_bytes / 2 : 0);
        options->transfer_chunks_max = chance_in(chance, 50) ? 8 : 1024;
        options->transfers_max = 1 + chance_below(chance, 4);
        options->transfer_memory_bytes_max = 65536;
        options->transfer_idle_s =
            setup->tiny ? IDLE_S_MAX : 1 + chance_below(chance, IDLE_S_MAX);
    }
}

/* A node that knows no parley/1: others speak the older dialects to it, and it to them. */
static void make_older(struct setup *setup, unsigned node)
{
    setup->options[node].parley_protocol = false;
    for (unsigned i = 0; i < setup->nodes; i++) {
        /* Nobody can reach an older client before it has sent something. */
        setup->pairs[i][node].dialect = setup->pairs[node][i].dialect = PARLEY_DIALECT_AUTO;
        setup->pairs[i][node].has_url = setup->pairs[node][i].has_url = true;
    }
}

static void draw_setup(struct setup *setup)
{
    struct chance chance = chance_for("setup", 0);

    memset(setup, 0, sizeof(*setup));
    setup->nodes = chance_in(&chance, 800) ? 2 : 3;
    secure_draw_world(setup);
    setup->latency_us = (uint32_t)chance_between(&chance, 20, 4000);
    setup->turn_us = (uint32_t)chance_between(&chance, 0, 400);
    /* through tiny sockets a frame may take longer than a signature stays fresh */
    setup->tiny = chance_in(&chance, 150) && setup->world != WORLD_SIGNED;
    setup->later = chance_in(&chance, 500);
    for (unsigned i = 0; i < setup->nodes; i++) {
        draw_options(&chance, &setup->options[i]);
        setup->workers[i] = 1 + chance_below(&chance, 3);
        for (unsigned j = 0; j < i; j++) {
            struct pair *to = &setup->pairs[i][j], *back = &setup->pairs[j][i];
            uint32_t kind = chance_below(&chance, 1000);

            draw_pair(&chance, to);
            draw_pair(&chance, back);
            if (kind < 150)
                make_reverse(to, back);
            else if (kind < 300)
                make_reverse(back, to);
        }
    }
    if (chance_in(&chance, 600))
        draw_transfers(&chance, setup);
    if (chance_in(&chance, 100) && setup->world == WORLD_OPEN)
        make_older(setup, chance_below(&chance, setup->nodes));
    secure_draw_setup(setup);
}

static void draw_http(struct chance *chance, struct op *op)
{
    static const enum fault faults[] = {
        FAULT_HTTP_REQUEST_LOST, FAULT_HTTP_ANSWER_LOST, FAULT_HTTP_UNANSWERED,
        FAULT_HTTP_LATE,         FAULT_HTTP_RESENT,      FAULT_HTTP_5XX,
        FAULT_HTTP_5XX_AFTER,    FAULT_HTTP_4XX,         FAULT_HTTP_429,
    };
    static const unsigned refusals[] = {400, 403, 404, 405, 408, 413, 422};
    static const unsigned failures[] = {500, 502, 503, 504};

    op->x = 1 + chance_below(chance, 5);
    op->y = faults[chance_below(chance, sizeof(faults) / sizeof(faults[0]))];
    op->z = op->y == FAULT_HTTP_4XX ? refusals[chance_below(chance, 7)]
                                    : failures[chance_below(chance, 4)];
    if (op->y == FAULT_HTTP_5XX_AFTER && op->z == 500)
        op->z = 502; /* a proxy's: with 500 a server says that it ran nothing */
    if (chance_in(chance, 400))
        op->y = FAULTS;
}

static void draw_op(struct chance *chance, struct op *op)
{
    uint32_t kind = chance_below(chance, 1000);

    *op = (struct op){.at_ns = chance_between(chance, 0, SCRIPT_NS)};
    op->a = (uint8_t)chance_below(chance, sim.setup.nodes);
    op->b =
        (uint8_t)((op->a + 1 + chance_below(chance, sim.setup.nodes - 1)) % sim.setup.nodes);
    op->x = (uint32_t)chance_between(chance, 10, chance_in(chance, 800) ? 1500 : 6000);
    op->y = (uint32_t)chance_draw(chance);
    op->z = chance_below(chance, 3);
    if (kind < 420) {
        op->kind = OP_POST;
        op->x = 1 + (uint32_t)(chance_in(chance, 800) ? chance_below(chance, 6)
                                                      : chance_below(chance, 40));
    } else if (kind < 540) {
        op->kind = OP_CUT;
        op->x = chance_in(chance, 650) ? 0 : 1 + chance_below(chance, 7);
    } else if (kind < 720) {
        op->kind = OP_HTTP;
        draw_http(chance, op);
    } else if (kind < 780) {
        op->kind = OP_CRASH;
        op->y = chance_in(chance, 300);
    } else {
        static const uint8_t kinds[] = {OP_REFUSE, OP_HANG,   OP_UPGRADES,   OP_SLOW,
                                        OP_DELAY,  OP_NAMES,  OP_STALL,      OP_RESTART,
                                        OP_PAUSE,  OP_REMOVE, OP_DISCONNECT, OP_CONNECT,
                                        OP_CROSS,  OP_MEMORY, OP_DRAIN};

        op->kind = kinds[chance_below(chance, sizeof(kinds))];
        if (op->kind == OP_SLOW)
            op->x = op->x % 300 + 1;
    }
}

static void draw_attacks(struct script *script)
{
    struct chance chance = chance_for("attacks", 0);
    unsigned count = 3 + chance_below(&chance, 12);

    while (count-- > 0 && script->len < OPS_MAX) {
        struct op *op = &script->ops[script->len++];

        *op = (struct op){.at_ns = chance_between(&chance, 0, SCRIPT_NS),
                          .kind = OP_ATTACK,
                          .a = (uint8_t)chance_below(&chance, sim.setup.nodes)};
        op->x = 1 + chance_below(&chance, chance_in(&chance, 700) ? 4 : 40);
        op->y = FAULT_REPLAYED + chance_below(&chance, FAULT_OLD_STEPS - FAULT_REPLAYED + 1);
        if (sim.setup.world == WORLD_SIGNED && chance_in(&chance, 300))
            op->y = FAULT_REDIRECTED;
    }
}

void script_draw(uint64_t seed, struct script *ret_script)
{
    struct chance chance;

    sim.seed = seed;
    draw_setup(&sim.setup);
    chance = chance_for("script", 0);
    ret_script->len = 8 + chance_below(&chance, 48);
    for (unsigned i = 0; i < ret_script->len; i++)
        draw_op(&chance, &ret_script->ops[i]);
    if (sim.setup.attacked)
        draw_attacks(ret_script);
    for (unsigned i = 1; i < ret_script->len; i++) { /* by time, for whoever reads it */
        struct op op = ret_script->ops[i];
        unsigned at = i;

        for (; at > 0 && ret_script->ops[at - 1].at_ns > op.at_ns; at--)
            ret_script->ops[at] = ret_script->ops[at - 1];
        ret_script->ops[at] = op;
    }
}

void script_print(const struct script *script)
{
    for (unsigned i = 0; i < script->len; i++) {
        const struct op *op = &script->ops[i];

        printf("  %8.4f  %-16s n%u n%u  %u %u %u\n", (double)op->at_ns / 1e9,
               op_names[op->kind], op->a, op->b, op->x, op->y, op->z);
    }
}

/* ---- Happening ---- */

static void on_start(void *subject, uint64_t value)
{
    struct host *node = subject;

    (void)value;
    if (node->process == NULL)
        process_start(node);
}

static void on_peer_back(void *subject, uint64_t other)
{
    struct process *process = subject;

    if (process->node->process == process && process->runtime != NULL && !process->draining &&
        process->peers[other].value == 0)
        peer_add(process, (unsigned)other);
}

/* In chunks, if the world is one that has them. */
static void lengthen(struct posting *message, struct chance *chance)
{
    uint32_t most = sim.setup.options[message->from].transfer_bytes_max - 256;

    if (sim.setup.long_bytes == 0)
        return;
    most = sim.setup.long_bytes < most ? sim.setup.long_bytes : most;
    message->bytes = 1000 + chance_below(chance, most - 1000);
    message->in_order = chance_in(chance, 350);
}

static void post(const struct op *op)
{
    struct chance chance = {op->y};

    for (uint32_t i = 0; i < op->x; i++) {
        struct posting message = {
            .from = op->a,
            .to = op->b,
            .bytes = chance_below(&chance, chance_in(&chance, 900) ? 60 : 3000),
            .plan = (uint32_t)chance_draw(&chance),
        };

        if (chance_in(&chance, 150))
            lengthen(&message, &chance);

        if (chance_in(&chance, 150))
            message.ttl_ms = 1 + chance_below(&chance, 2000);
        if (chance_in(&chance, 150))
            message.hint = (parley_hint)chance_below(&chance, 3);
        promise_post(&message);
    }
}

static void remove_peer(struct process *process, const struct op *op)
{
    /* With a peer its keys are forgotten, also wrong ones, and what was asked of it. */
    if (process->peers[op->b].value == 0 || sim.setup.world == WORLD_MIXED)
        return;
    fault_count(FAULT_PEER_REMOVED);
    promise_peer_removed(process, op->b);
    parley_peer_remove(process->runtime, process->peers[op->b]);
    process->peers[op->b].value = 0;
    sim_at(sim.now_ns + op->x % 300 * NS_PER_MS, on_peer_back, process, op->b);
}

static void dial(unsigned from, unsigned to)
{
    struct process *process = sim.nodes[from].process;

    if (process != NULL && process->runtime != NULL && process->peers[to].value != 0)
        parley_connect(process->runtime, process->peers[to]);
}

static void pause_process(struct process *process, uint64_t until_ns)
{
    uint64_t end_ns = sim.started_ns + SCRIPT_NS;

    until_ns = until_ns < end_ns ? until_ns : end_ns;
    fault_count(FAULT_PAUSE);
    if (until_ns <= sim.now_ns)
        return;
    sim.paused_ns += until_ns - sim.now_ns;
    workers_pause(process->pool, until_ns);
}

/* The world goes on meanwhile; nothing else that blocks may begin, for it would hold this up.
 */
static void drain(struct process *process, const struct op *op)
{
    uint32_t timeout_ms = op->x % 2500;
    uint64_t until_ns = sim.now_ns + timeout_ms * NS_PER_MS;
    size_t left = 0;
    parley_status status;

    sim.waiting = process->draining = true;
    sim_trace("%s: drains for %u ms", process->node->id, timeout_ms);
    status = parley_drain(process->runtime, timeout_ms, &left);
    sim_trace("%s: drained, %zu left", process->node->id, left);
    promise_drained(process, status, left, until_ns);
    sim.waiting = false;
    sim.drained_ns += timeout_ms * NS_PER_MS;
    process_close(process->node);
    sim_at(sim.now_ns + op->y % 500 * NS_PER_MS, on_start, process->node, 0);
}

static void to_process(struct process *process, const struct op *op)
{
    struct host *node = process->node;

    switch (op->kind) {
    case OP_CRASH:
        fault_count(FAULT_CRASH);
        process_kill(node, op->y != 0);
        sim_at(sim.now_ns + op->x * NS_PER_MS, on_start, node, 0);
        break;
    case OP_RESTART:
        fault_count(FAULT_RESTART);
        process_close(node);
        sim_at(sim.now_ns + op->x % 500 * NS_PER_MS, on_start, node, 0);
        break;
    case OP_DRAIN:
        drain(process, op);
        break;
    case OP_PAUSE:
        pause_process(process, sim.now_ns + op->x * NS_PER_MS);
        break;
    case OP_REMOVE:
        remove_peer(process, op);
        break;
    case OP_DISCONNECT:
        if (process->peers[op->b].value != 0) {
            fault_count(FAULT_DISCONNECTED);
            parley_disconnect(process->runtime, process->peers[op->b]);
        }
        break;
    default:
        dial(op->a, op->b);
        if (op->kind == OP_CROSS)
            dial(op->b, op->a);
        break;
    }
}

static void to_node(struct host *node, const struct op *op)
{
    uint64_t until = sim.now_ns + op->x * NS_PER_MS;

    switch (op->kind) {
    case OP_REFUSE:
        node->refuses_until = until;
        break;
    case OP_HANG:
        node->hangs_until = until;
        break;
    case OP_UPGRADES:
        node->upgrades_refused_until = until;
        node->upgrade_status = op->z == 0 ? 403 : op->z == 1 ? 503 : 404;
        break;
    case OP_SLOW:
        node->slow_until = until;
        break;
    case OP_DELAY:
        node->delays_until = until;
        break;
    case OP_NAMES:
        node->names_fail_until = until;
        break;
    case OP_MEMORY:
        node->memory_fails_until = until;
        break;
    case OP_STALL:
        node->stalls_until = until;
        break;
    case OP_ATTACK:
        node->attacks = op->x;
        node->attack = (enum fault)op->y;
        break;
    default:
        node->http_faults = op->x;
        node->http_fault = (enum fault)op->y;
        node->http_code = op->z;
        node->http_retry_after_s = op->z % 3;
        break;
    }
}

static bool is_blocking(const struct op *op)
{
    return op->kind == OP_RESTART || op->kind == OP_DRAIN;
}

static void on_op(void *subject, uint64_t value)
{
    const struct op *op = subject;
    struct host *node = &sim.nodes[op->a];

    (void)value;
    sim_trace("---- %s n%u n%u %u %u %u", op_names[op->kind], op->a, op->b, op->x, op->y,
              op->z);
    if (op->kind == OP_POST)
        post(op);
    else if (op->kind == OP_CUT)
        wires_cut(op->a, op->b, op->x);
    else if (op->kind == OP_HTTP || op->kind == OP_ATTACK ||
             (op->kind >= OP_REFUSE && op->kind <= OP_STALL))
        to_node(node, op);
    else if (node->process != NULL && node->process->runtime != NULL &&
             !node->process->draining && !(sim.waiting && is_blocking(op)))
        to_process(node->process, op);
}

/* ---- A whole run ---- */

/* Where frames are not sealed, nobody notices that one is missing but by what it held. */
static void end_attacked(void)
{
    for (unsigned i = 0; i < sim.setup.nodes; i++) {
        for (unsigned j = 0; j < i; j++)
            wires_cut(i, j, 0);
    }
}

static void heal(void)
{
    sim.healed = true;
    sim_trace("---- all is well again");
    if (sim.setup.attacked && sim.setup.world != WORLD_SEALED)
        end_attacked();
    for (unsigned i = 0; i < sim.setup.nodes; i++) {
        struct host *node = &sim.nodes[i];

        node->refuses_until = node->hangs_until = node->upgrades_refused_until = 0;
        node->slow_until = node->delays_until = node->names_fail_until = 0;
        node->stalls_until = node->memory_fails_until = 0;
        node->http_faults = node->attacks = 0;
        if (node->process == NULL)
            process_start(node);
        for (unsigned j = 0; j < sim.setup.nodes; j++) {
            if (sim.setup.pairs[i][j].known)
                on_peer_back(node->process, j);
        }
    }
}

/* A full mailbox is tried again. Who is reached over a connection of its own making may have
 * no reason to make it: what it sends may have gone over HTTP. */
static void probe(bool probed[SIM_NODES_MAX][SIM_NODES_MAX], uint32_t bytes)
{
    for (unsigned i = 0; i < sim.setup.nodes; i++) {
        for (unsigned j = 0; j < sim.setup.nodes; j++) {
            bool arrives = secure_must_arrive(i, j);
            struct posting message = {.from = i,
                                      .to = j,
                                      .ttl_ms = arrives ? PROBE_TTL : FUTILE_TTL,
                                      .bytes = bytes,
                                      .probe = arrives};

            if (sim.setup.pairs[i][j].known && !probed[i][j])
                probed[i][j] = promise_post(&message);
            if (sim.setup.pairs[i][j].known && !sim.setup.pairs[i][j].has_url)
                dial(j, i);
        }
    }
}

static void run_until(uint64_t when_ns)
{
    while (sim.now_ns < when_ns)
        sim_step();
}

/* Until every message has its result, those that are sent here included. */
static void settle(uint32_t bytes)
{
    uint64_t until_ns = sim.now_ns + REST_NS_MAX;
    bool probed[SIM_NODES_MAX][SIM_NODES_MAX] = {{false}};

    promise_unstall();
    probe(probed, bytes);
    run_until(sim.now_ns + NS_PER_S);
    promise_unstall(); /* what has begun meanwhile */
    probe(probed, bytes);
    while (!promise_settled()) {
        uint64_t next_ns = sim.now_ns + 2 * NS_PER_S;

        while (!promise_settled() && sim.now_ns < next_ns)
            sim_step();
        promise_unstall();
        probe(probed, bytes);
        if (sim.now_ns > until_ns)
            promise_broken("messages without a result, long after all is well");
    }
    run_until(sim.now_ns + NS_PER_S); /* what comes twice comes now */
}

/* What everyone takes in chunks, from all others at once; 0: not everyone does. */
static uint32_t long_for_all(void)
{
    uint32_t bytes = sim.setup.long_bytes < 20000 ? sim.setup.long_bytes : 20000;

    for (unsigned i = 0; i < sim.setup.nodes; i++) {
        const parley_options *options = &sim.setup.options[i];

        if (options->transfer_chunks_max < 1024 ||
            options->message_bytes_max != sim.setup.options[0].message_bytes_max)
            return 0; /* over HTTP nobody says how long a message may be */
        if (bytes > options->transfer_bytes_max - 256)
            bytes = options->transfer_bytes_max - 256;
    }
    return bytes;
}

static void come_to_rest(void)
{
    heal();
    settle(0);
    if (sim.setup.long_bytes == 0)
        return;
    run_until(sim.now_ns + LEFTOVERS_NS); /* what is left of transfers is forgotten */
    settle(long_for_all());
}

void script_run(uint64_t seed, const struct script *script)
{
    sim_reset(seed);
    draw_setup(&sim.setup);
    tally->secured += sim.setup.world != WORLD_OPEN;
    for (unsigned i = 0; i < sim.setup.nodes; i++)
        process_start(&sim.nodes[i]);
    for (unsigned i = 0; i < script->len; i++)
        sim_at(sim.now_ns + script->ops[i].at_ns, on_op, (void *)(uintptr_t)&script->ops[i],
               0);
    run_until(sim.now_ns + SCRIPT_NS);
    come_to_rest();
    promise_check_end();
    for (unsigned i = 0; i < sim.setup.nodes; i++)
        process_close(&sim.nodes[i]);
}
