/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes as processes that live and die, what they share of transport/transport.h, names
 * (runtime/resolver.h), and transport/process.h, of which nothing is needed here.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peers/service.h"
#include "runtime/resolver.h"
#include "test/sim/secure.h"
#include "test/sim/sim.h"
#include "transport/process.h"

void fault_count(enum fault fault)
{
    tally->faults[fault]++;
}

uint64_t latency_ns(struct chance *chance, const struct host *node)
{
    uint64_t us = chance_between(chance, sim.setup.latency_us / 4, 2 * sim.setup.latency_us);

    if (node->delays_until > sim.now_ns && chance_in(chance, 300)) {
        fault_count(FAULT_DELAY);
        us += chance_between(chance, 1000, 400000);
    }
    return us * NS_PER_US + chance_below(chance, 1000);
}

void sim_broke(const struct host *a, const struct host *b)
{
    sim.breaks[a->index][b->index]++;
    sim.breaks[b->index][a->index]++;
}

struct host *node_at_port(unsigned port)
{
    assert(port >= SIM_PORT && port < SIM_PORT + SIM_NODES_MAX);
    return &sim.nodes[port - SIM_PORT];
}

struct worker *listener_worker(struct host *node, struct chance *chance)
{
    struct transport *transport = node->process != NULL ? node->process->transport : NULL;
    uint32_t index;

    if (transport == NULL || !transport->listens || node->process->runtime == NULL)
        return NULL;
    index = chance_below(chance, worker_pool_size(node->process->pool));
    return (transport->stopping & 1u << index) == 0
               ? worker_pool_get(node->process->pool, index)
               : NULL;
}

/* ---- Processes ---- */

static void on_log(parley_log_level level, const char *line, void *user)
{
    struct process *process = user;

    (void)level;
    sim_trace("%s: %s", process->node->id, line);
}

void peer_add(struct process *process, unsigned other)
{
    const struct pair *pair = &sim.setup.pairs[process->node->index][other];
    parley_peer_options options;
    char url[64];
    parley_status status;

    parley_peer_options_init(&options);
    options.preference = pair->preference;
    options.preference_set = true;
    options.dialect = pair->dialect;
    options.ttl_ms = pair->ttl_ms;
    options.mailbox_messages_max = pair->mailbox_messages_max;
    options.pace = false;
    secure_peer_options(process, other, &options);
    snprintf(url, sizeof(url), "http://%s%s:%u",
             pair->by_name ? sim.nodes[other].id : SIM_ADDRESS, pair->by_name ? ".sim" : "",
             SIM_PORT + other);
    process->memory_sure = true;
    status = parley_peer_add(process->runtime, sim.nodes[other].id, pair->has_url ? url : NULL,
                             &options, &process->peers[other]);
    process->memory_sure = false;
    if (status != PARLEY_OK)
        promise_broken("parley_peer_add: %s", parley_strerror(status));
}

void process_start(struct host *node)
{
    struct process *process = sim_new(sizeof(*process));
    parley_options options = sim.setup.options[node->index];
    parley_allocator allocator = memory_of(process);
    char error[256];
    parley_status status;

    assert(node->process == NULL && worker_entered() == NULL);
    process->node = node;
    process->memory_sure = true;
    process->life = ++node->lives;
    node->process = process;
    options.node_id = node->id;
    options.listen_host = SIM_ADDRESS;
    options.listen_port = SIM_PORT + node->index;
    options.workers = sim.setup.workers[node->index];
    options.on_message = promise_handle;
    options.on_message_user = process;
    options.allocator = &allocator;
    options.log = sim.trace ? on_log : NULL;
    options.log_level = PARLEY_LOG_DEBUG;
    options.log_user = process;
    secure_options(process, &options);
    sim_trace("%s: starts, life %u", node->id, process->life);
    process->memory_chance = chance_for("memory", node->index * 1000u + process->life);
    memory_opening(process);
    status = parley_open(&options, error, sizeof(error), &process->runtime);
    memory_opening(NULL);
    if (status != PARLEY_OK)
        promise_broken("parley_open: %s", error);
    if (parley_on_writable(process->runtime, promise_writable, process) != PARLEY_OK)
        promise_broken("parley_on_writable failed");
    process->memory_sure = false;
    for (unsigned i = 0; i < sim.setup.nodes; i++) {
        if (sim.setup.pairs[node->index][i].known)
            peer_add(process, i);
    }
}

void process_kill(struct host *node, bool silently)
{
    struct process *process = node->process;

    assert(worker_entered() == NULL);
    if (process == NULL || process->runtime == NULL || process->draining)
        return; /* being opened, drained or closed */
    sim_trace("%s: dies%s", node->id, silently ? " with its host" : "");
    node->process = NULL;
    node->died_ns = sim.now_ns;
    wires_process_gone(process, silently);
    exchanges_process_gone(process);
    workers_forget(process->pool);
    promise_process_gone(process);
    secure_process_gone(process);
    munmap((void *)(uintptr_t)process->runtime->fork_guard, (size_t)sysconf(_SC_PAGESIZE));
    memory_forget(process);
}

/* Peers, then those that connected, each have a grace; then the steps of closing. */
#define CLOSE_NS_MAX ((2 * CLOSE_GRACE_MS + 500) * NS_PER_MS)

void process_close(struct host *node)
{
    struct process *process = node->process;
    parley *runtime = process != NULL ? process->runtime : NULL;
    uint64_t began_ns = sim.now_ns, held_up_ns = sim.drained_ns;

    assert(worker_entered() == NULL);
    if (runtime == NULL)
        return;
    sim_trace("%s: closes", node->id);
    process->runtime = NULL; /* nobody else may use it any more */
    parley_close(runtime);
    held_up_ns = sim.drained_ns - held_up_ns;
    if (sim.now_ns - began_ns > CLOSE_NS_MAX + sim.paused_ns + held_up_ns)
        promise_broken("%s: closing took %.3f s", node->id,
                       (double)(sim.now_ns - began_ns) / 1e9);
    node->process = NULL;
    node->died_ns = sim.now_ns;
    wires_process_gone(process, false);
    exchanges_process_gone(process);
    promise_process_gone(process);
    if (process->memory_blocks > 0)
        promise_broken("%s: %zu pieces of memory were not given back", node->id,
                       process->memory_blocks);
}

/* ---- transport/transport.h: a runtime's and a worker's part ---- */

parley_status transport_new(const struct alloc *alloc, const struct log *log,
                            const struct transport_options *options,
                            const struct transport_events *events, char *error,
                            size_t error_len, struct transport **ret_transport)
{
    struct transport *transport = alloc_zeroed(alloc, sizeof(*transport));

    (void)log;
    (void)error;
    (void)error_len;
    transport->process = process_of(alloc);
    transport->alloc = alloc;
    transport->options = *options;
    transport->events = *events;
    transport->listens = options->listen_host != NULL;
    transport->options.listen_host = NULL; /* the caller's */
    transport->process->transport = transport;
    *ret_transport = transport;
    return PARLEY_OK;
}

void transport_free(struct transport *transport)
{
    if (transport == NULL)
        return;
    transport->process->transport = NULL;
    alloc_free(transport->alloc, transport);
}

uint16_t transport_port(const struct transport *transport)
{
    return (uint16_t)(SIM_PORT + transport->process->node->index);
}

parley_status transport_worker_init(struct transport *transport, struct worker *worker)
{
    worker_set_local(worker, 0, transport);
    return PARLEY_OK;
}

void transport_worker_shutdown(struct transport *transport, struct worker *worker)
{
    assert(worker_entered() == worker);
    transport->stopping |= 1u << worker_index(worker);
    wires_worker_shutdown(transport, worker);
    exchanges_worker_shutdown(transport, worker);
}

void transport_worker_hurry(struct transport *transport, struct worker *worker)
{
    transport->hurried |= 1u << worker_index(worker);
    wires_worker_hurry(transport, worker);
}

void transport_worker_fini(struct transport *transport, struct worker *worker)
{
    transport->finished |= 1u << worker_index(worker);
    wires_worker_fini(transport, worker);
    if (exchanges_of_worker(worker) > 0)
        promise_broken("a worker ends with requests unanswered");
    worker_set_local(worker, 0, NULL);
}

size_t transport_worker_connections(struct transport *transport, struct worker *worker)
{
    return wires_of_worker(transport, worker) + exchanges_of_worker(worker);
}

/* ---- runtime/resolver.h ---- */

struct resolver {
    const struct alloc *alloc;
    struct process *process;
    struct chance chance;
};

static uint64_t resolvers_made;

struct lookup {
    struct host *node;
    unsigned life;
    struct resolver_query *query;
    bool fails, dead_first;
};

parley_status resolver_start(const struct alloc *alloc, uint32_t ttl_ms,
                             uint32_t ttl_negative_ms, uint32_t entries_max,
                             struct resolver **ret_resolver)
{
    struct resolver *resolver = alloc_zeroed(alloc, sizeof(*resolver));

    (void)ttl_ms;
    (void)ttl_negative_ms;
    (void)entries_max;
    resolver->alloc = alloc;
    resolver->process = process_of(alloc);
    resolvers_made = resolver->process->node->index * 1000u + resolver->process->life;
    resolver->chance = chance_for("resolver", resolvers_made);
    *ret_resolver = resolver;
    return PARLEY_OK;
}

void resolver_stop(struct resolver *resolver)
{
    if (resolver != NULL)
        alloc_free(resolver->alloc, resolver);
}

static void add_address(struct resolver_query *query, const char *address)
{
    snprintf(query->addresses[query->count++], RESOLVER_ADDRESS_BYTES, "%s", address);
}

static void on_resolved(void *subject, uint64_t value)
{
    struct lookup *lookup = subject;
    struct resolver_query *query = lookup->query;

    (void)value;
    if (lookup->node->process == NULL || lookup->node->process->life != lookup->life)
        return;
    query->count = 0;
    query->status = lookup->fails ? PARLEY_EADDR : PARLEY_OK;
    query->detail = lookup->fails ? "no such name" : "";
    if (lookup->dead_first)
        add_address(query, "127.0.9.9");
    if (!lookup->fails)
        add_address(query, SIM_ADDRESS);
    actor_post_control(query->reply_to, &query->node);
}

void resolver_lookup(struct resolver *resolver, struct resolver_query *query)
{
    struct lookup *lookup = sim_new(sizeof(*lookup));
    struct host *node = resolver->process->node;

    lookup->node = node;
    lookup->life = resolver->process->life;
    lookup->query = query;
    lookup->fails = node->names_fail_until > sim.now_ns;
    lookup->dead_first = !lookup->fails && !sim.healed && chance_in(&resolver->chance, 200);
    if (lookup->fails || lookup->dead_first)
        fault_count(FAULT_NAME);
    sim_at(sim.now_ns + chance_between(&resolver->chance, 10, 20000) * NS_PER_US, on_resolved,
           lookup, 0);
}

bool resolver_numeric(const char *host, struct resolver_query *query)
{
    if (strcmp(host, SIM_ADDRESS) != 0)
        return false;
    query->status = PARLEY_OK;
    query->count = 0;
    query->detail = "";
    add_address(query, host);
    return true;
}

/* ---- transport/process.h ---- */

parley_status process_acquire(void)
{
    return PARLEY_OK;
}

void process_release(void)
{
}
