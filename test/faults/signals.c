/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiver under load is killed and started again, stopped and continued, or has its
 * connections reset. Half of the peers may use both transports, the other half WebSocket
 * only. The load decides when: a fault falls each time another share of the results is in.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "test/faults/faults.h"

#define PEERS          8
#define CASE_STRIDE    65536
#define POSTERS        2
#define RESULT_WAIT_MS 90000

struct load {
    struct row *row;
    struct rig rig;
    parley_peer peers[PEERS];
    struct proxy_route *routes[PEERS];
    uint32_t each; /* messages per peer */
    unsigned faults;
    uint64_t seed;
};

struct poster {
    struct load *load;
    unsigned index;
    pthread_t thread;
    uint64_t refused;
};

static void *post_all(void *user)
{
    struct poster *poster = user;
    struct load *load = poster->load;

    for (uint32_t number = 0; number < load->each; number++)
        for (unsigned peer = poster->index; peer < PEERS; peer += POSTERS) {
            struct book_key key = {peer, number, BOOK_ACCEPT};

            poster->refused +=
                rig_post(&load->rig, load->peers[peer], key, PARLEY_HINT_NONE) != PARLEY_OK;
        }
    return NULL;
}

static bool add_peers(struct load *load, bool through_proxy)
{
    const struct proxy_plan pass = {.fault = PROXY_PASS};

    for (unsigned i = 0; i < PEERS; i++) {
        parley_peer_options options;
        char id[32], url[64];

        parley_peer_options_init(&options);
        options.preference_set = true;
        options.preference = i % 4 < 2 ? PARLEY_WEBSOCKET_FIRST : PARLEY_WEBSOCKET_ONLY;
        snprintf(id, sizeof(id), "peer-%u", i);
        snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)load->rig.receiver.port);
        if (through_proxy) {
            load->routes[i] = proxy_open(load->rig.proxy, &pass);
            if (load->routes[i] == NULL)
                return false;
            proxy_url(load->routes[i], url, sizeof(url));
        }
        if (parley_peer_add(load->rig.sender, id, url, &options, &load->peers[i]) != PARLEY_OK)
            return false;
    }
    return true;
}

static uint64_t results(struct load *load)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < PEERS; i++)
        sum += rig_done(&load->rig, i);
    return sum;
}

/* Waits for a share of the results. @return false: they do not come */
static bool await_share(struct load *load, uint64_t share)
{
    const struct timespec pause = {.tv_nsec = 100000};
    uint64_t until_ns = books_now_ns() + RESULT_WAIT_MS * UINT64_C(1000000);

    while (results(load) < share && books_now_ns() < until_ns)
        nanosleep(&pause, NULL);
    return results(load) >= share;
}

typedef bool (*fault_fn)(struct load *load, unsigned index);

static void strike(struct load *load, fault_fn fault)
{
    uint64_t all = (uint64_t)load->each * PEERS;

    for (unsigned i = 1; i <= load->faults; i++) {
        if (!await_share(load, all * i / (load->faults + 1))) {
            row_say(load->row, "stuck before fault %u: %llu of %llu results", i,
                    (unsigned long long)results(load), (unsigned long long)all);
            load->row->wrong++;
            return;
        }
        load->row->cases++;
        load->row->reached += results(load) < all;
        if (!fault(load, i)) {
            load->row->wrong++;
            return;
        }
    }
}

static void run_load(struct load *load, fault_fn fault, enum rig_demand demand)
{
    struct poster posters[POSTERS] = {{0}};

    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.load = load, .index = i};
        if (pthread_create(&posters[i].thread, NULL, post_all, &posters[i]) != 0)
            abort();
    }
    strike(load, fault);
    for (unsigned i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        load->row->wrong += posters[i].refused;
    }
    for (unsigned i = 0; i < PEERS; i++) {
        rig_await(&load->rig, i, load->each, RESULT_WAIT_MS);
        rig_check(&load->rig, load->row, i, NULL, load->each, demand);
    }
}

static void play(const struct faults_plan *plan, struct row *row, fault_fn fault,
                 enum rig_demand demand, unsigned faults, bool through_proxy)
{
    struct load *load = calloc(1, sizeof(*load));
    parley_options options;

    if (load == NULL)
        abort();
    load->row = row;
    load->each = plan->quick ? 4000 : 40000;
    load->faults = plan->quick ? 3 : faults;
    load->seed = plan->seed;
    rig_options(&options);
    options.ttl_ms = 60000;
    options.http_attempts = 100; /* the receiver may be away for long */
    if (rig_open(&load->rig, CASE_STRIDE, &options) && add_peers(load, through_proxy)) {
        run_load(load, fault, demand);
        for (unsigned i = 0; i < PEERS && through_proxy; i++)
            proxy_close(load->routes[i]);
        rig_close(&load->rig, row);
    } else {
        row->wrong++;
    }
    free(load);
}

/* ---- the faults ---- */

static bool kill_receiver(struct load *load, unsigned index)
{
    (void)index;
    receiver_kill(&load->rig.receiver);
    return receiver_restart(&load->rig.receiver);
}

/* Now shorter than a heartbeat, now longer than one and its grace. */
static bool stop_receiver(struct load *load, unsigned index)
{
    const struct timespec rest = {.tv_nsec = index % 2 == 0 ? 40000000 : 800000000};

    kill(load->rig.receiver.process, SIGSTOP);
    nanosleep(&rest, NULL);
    return kill(load->rig.receiver.process, SIGCONT) == 0;
}

static bool reset_connections(struct load *load, unsigned index)
{
    for (unsigned i = 0; i < PEERS; i++)
        if (i % 2 == index % 2)
            proxy_reset_all(load->routes[i]);
    return true;
}

static void killed(const struct faults_plan *plan, struct row *row)
{
    play(plan, row, kill_receiver, RIG_RESTARTS, 20, false);
}

static void stopped(const struct faults_plan *plan, struct row *row)
{
    play(plan, row, stop_receiver, RIG_EXACT, 10, false);
}

static void reset(const struct faults_plan *plan, struct row *row)
{
    play(plan, row, reset_connections, RIG_EXACT, 100, true);
}

const struct faults_kind faults_signals[] = {
    {"SIGKILL under load", killed},
    {"SIGSTOP under load", stopped},
    {"resets under load", reset},
    {NULL, NULL},
};
