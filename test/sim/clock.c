/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulated time: a heap of events, and what the library asks the system for: the clocks,
 * random bytes, waiting for a condition (which lets the world go on until it holds), and
 * thread keys, which die with their process.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "runtime/alloc.h"
#include "test/sim/attack.h"
#include "test/sim/secure.h"
#include "test/sim/sim.h"

#define EVENTS_MAX   65536
#define STEPS_MAX    600000
#define WALL_OFFSET  UINT64_C(1700000000000000) /* microseconds */
#define ARENA_CHUNK  (256u * 1024)
#define CHUNKS_MAX   4096
#define BLOCKS_MAGIC UINT64_C(0x70a71e75e3a1b10c)

struct event {
    uint64_t when_ns, order;
    event_fn run;
    void *subject;
    uint64_t value;
};

static struct event events[EVENTS_MAX];
static unsigned events_len;
static uint64_t events_made;
static struct chance random_source;
struct sim sim;

/* ---- Chance: splitmix64 ---- */

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct chance chance_for(const char *purpose, uint64_t ordinal)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *purpose != '\0'; purpose++)
        hash = (hash ^ (unsigned char)*purpose) * UINT64_C(1099511628211);
    return (struct chance){mix(sim.seed + mix(hash) + mix(ordinal + 1) * 3)};
}

uint64_t chance_draw(struct chance *chance)
{
    return mix(chance->state += UINT64_C(0x9e3779b97f4a7c15));
}

uint32_t chance_below(struct chance *chance, uint32_t below)
{
    return (uint32_t)((chance_draw(chance) >> 32) * below >> 32);
}

uint64_t chance_between(struct chance *chance, uint64_t low, uint64_t high)
{
    return low + chance_draw(chance) % (high - low + 1);
}

bool chance_in(struct chance *chance, uint32_t in_thousand)
{
    return chance_below(chance, 1000) < in_thousand;
}

/* ---- Memory of the run ---- */

static char *chunks[CHUNKS_MAX];
static size_t chunks_len, chunk_at, chunk_used;

void *sim_new(size_t bytes)
{
    void *memory;

    bytes = (bytes + 15) & ~(size_t)15;
    assert(bytes <= ARENA_CHUNK);
    if (chunks_len == 0 || chunk_used + bytes > ARENA_CHUNK) {
        chunk_at = chunks_len == 0 ? 0 : chunk_at + 1;
        chunk_used = 0;
        if (chunk_at == chunks_len) {
            assert(chunks_len < CHUNKS_MAX);
            chunks[chunks_len++] = malloc(ARENA_CHUNK);
        }
    }
    memory = chunks[chunk_at] + chunk_used;
    chunk_used += bytes;
    memset(memory, 0, bytes);
    return memory;
}

/* ---- Events ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->when_ns < b->when_ns || (a->when_ns == b->when_ns && a->order < b->order);
}

void sim_at(uint64_t when_ns, event_fn run, void *subject, uint64_t value)
{
    struct event event = {when_ns > sim.now_ns ? when_ns : sim.now_ns, events_made++, run,
                          subject, value};
    unsigned at = events_len++;

    if (events_len > EVENTS_MAX)
        promise_broken("too many events: something turns on the spot");
    for (; at > 0 && before(&event, &events[(at - 1) / 2]); at = (at - 1) / 2)
        events[at] = events[(at - 1) / 2];
    events[at] = event;
}

static struct event take_first(void)
{
    struct event first = events[0], last = events[--events_len];
    unsigned at = 0;

    for (;;) {
        unsigned child = 2 * at + 1;

        if (child >= events_len)
            break;
        if (child + 1 < events_len && before(&events[child + 1], &events[child]))
            child++;
        if (!before(&events[child], &last))
            break;
        events[at] = events[child];
        at = child;
    }
    events[at] = last;
    return first;
}

/* When something happens. */
static uint64_t next_ns(void)
{
    uint64_t turn_ns;

    workers_next(&turn_ns);
    return events_len > 0 && events[0].when_ns < turn_ns ? events[0].when_ns : turn_ns;
}

void sim_step(void)
{
    uint64_t turn_ns;
    struct worker *worker = workers_next(&turn_ns);

    assert(worker_entered() == NULL);
    if (++sim.steps > STEPS_MAX)
        promise_broken("the world does not come to rest");
    tally->steps++;
    if (events_len > 0 && (worker == NULL || events[0].when_ns <= turn_ns)) {
        struct event event = take_first();

        sim.now_ns = event.when_ns;
        event.run(event.subject, event.value);
    } else if (worker != NULL) {
        sim.now_ns = turn_ns > sim.now_ns ? turn_ns : sim.now_ns;
        worker_turn(worker);
    } else {
        promise_broken("nothing will ever happen again");
    }
}

void sim_reset(uint64_t seed)
{
    bool trace = sim.trace;

    memset(&sim, 0, sizeof(sim));
    sim.trace = trace;
    sim.seed = seed;
    sim.now_ns = sim.started_ns = 1000 * NS_PER_S;
    events_len = 0;
    events_made = 0;
    chunk_at = chunk_used = 0;
    random_source = chance_for("random bytes", 0);
    for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
        sim.nodes[i].index = i;
        snprintf(sim.nodes[i].id, sizeof(sim.nodes[i].id), "n%u", i);
    }
    workers_reset();
    wires_reset();
    exchanges_reset();
    promise_reset();
    secure_reset();
    attack_reset();
}

void sim_trace(const char *format, ...)
{
    va_list arguments;

    if (!sim.trace)
        return;
    printf("%10.4f  ", (double)(sim.now_ns - sim.started_ns) / 1e9);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* ---- What the library asks the system for ---- */

uint64_t clock_now_ns(void)
{
    return sim.now_ns;
}

uint64_t clock_wall_us(void)
{
    return WALL_OFFSET + sim.now_ns / NS_PER_US;
}

/* The linker sends the library's calls here (--wrap). */
ssize_t __wrap_getrandom(void *buffer, size_t len, unsigned flags);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_key_create(pthread_key_t *key, void (*destroy)(void *));
int __real_pthread_key_create(pthread_key_t *key, void (*destroy)(void *));

ssize_t __wrap_getrandom(void *buffer, size_t len, unsigned flags)
{
    unsigned char *bytes = buffer;

    (void)flags;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t drawn = chance_draw(&random_source);

        memcpy(bytes + i, &drawn, len - i < 8 ? len - i : 8);
    }
    return (ssize_t)len;
}

/* Whoever waits lets the world go on by a step, and looks again. */
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    (void)cond;
    pthread_mutex_unlock(mutex);
    sim_step();
    pthread_mutex_lock(mutex);
    return 0;
}

/* `until` is of the simulated clock. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    uint64_t until_ns = (uint64_t)until->tv_sec * NS_PER_S + (uint64_t)until->tv_nsec;

    if (next_ns() > until_ns) {
        sim.now_ns = until_ns;
        return ETIMEDOUT;
    }
    return __wrap_pthread_cond_wait(cond, mutex);
}

static struct process *opening;

int __wrap_pthread_key_create(pthread_key_t *key, void (*destroy)(void *))
{
    int failed = __real_pthread_key_create(key, destroy);

    if (failed == 0 && opening != NULL) {
        assert(opening->keys_len < SIM_KEYS_MAX);
        opening->keys[opening->keys_len++] = *key;
    }
    return failed;
}

/* ---- A process's memory ---- */

struct memory_block {
    struct memory_block *next, *prev;
    struct process *process;
    uint64_t magic;
    size_t bytes;
    size_t padding;
};

static void link_block(struct process *process, struct memory_block *block)
{
    block->prev = NULL;
    block->next = process->memory;
    if (block->next != NULL)
        block->next->prev = block;
    process->memory = block;
    process->memory_blocks++;
}

static void unlink_block(struct memory_block *block)
{
    assert(block->magic == BLOCKS_MAGIC);
    if (block->prev != NULL)
        block->prev->next = block->next;
    else
        block->process->memory = block->next;
    if (block->next != NULL)
        block->next->prev = block->prev;
    block->process->memory_blocks--;
    block->magic = 0;
}

bool memory_fails(struct process *process)
{
    if (process->memory_sure || process->node->memory_fails_until <= sim.now_ns ||
        !chance_in(&process->memory_chance, 100))
        return false;
    fault_count(FAULT_MEMORY);
    process->node->memory_failed_ns = sim.now_ns;
    return true;
}

static void *take(size_t bytes, void *user)
{
    struct memory_block *block;

    if (memory_fails(user))
        return NULL;
    block = malloc(sizeof(*block) + bytes);
    *block = (struct memory_block){
        .process = user, .magic = BLOCKS_MAGIC, .bytes = bytes, .padding = 0};
    link_block(user, block);
    return block + 1;
}

static void give_back(void *memory, void *user)
{
    struct memory_block *block = memory;

    (void)user;
    if (block == NULL)
        return;
    block--;
    unlink_block(block);
    if (block->bytes <= 4096) /* who still looks at it shall see that it is gone */
        memset(memory, 0xdb, block->bytes);
    free(block);
}

static void *resize(void *memory, size_t bytes, void *user)
{
    void *moved = take(bytes, user);

    if (moved != NULL && memory != NULL) {
        size_t had = ((struct memory_block *)memory)[-1].bytes;

        memcpy(moved, memory, had < bytes ? had : bytes);
        give_back(memory, user);
    }
    return moved;
}

parley_allocator memory_of(struct process *process)
{
    return (parley_allocator){take, resize, give_back, process};
}

void memory_opening(struct process *process)
{
    opening = process;
}

void memory_forget(struct process *process)
{
    for (struct memory_block *block = process->memory, *next; block != NULL; block = next) {
        next = block->next;
        block->magic = 0;
        free(block);
    }
    process->memory = NULL;
    process->memory_blocks = 0;
    for (unsigned i = 0; i < process->keys_len; i++)
        pthread_key_delete(process->keys[i]);
    process->keys_len = 0;
}

struct process *process_of(const struct alloc *alloc)
{
    return alloc->host.user;
}
