/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers that stall, each in its own way, beside others that do not: they cost their mailbox's
 * bound and hold up nobody; draining tells how much is left; closing ends it all, once.
 *
 * Nothing here depends on how fast it goes. How long drain and close take is checked on the
 * simulated clock (test/sim) and measured by `parley-bench stall`.
 */
#include <arpa/inet.h>
#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/peers/nodes.h"

#define HEALTHY       4
#define EACH          300 /* messages to each of these */
#define MAILBOX_BYTES (1u << 20)
#define PAYLOAD_BYTES 4096
#define REFUSED       3000 /* posts to a full mailbox */
#define SLACK_BYTES   (1u << 20)
#define OWED_MAX      4096

enum kind {
    BLOCKED,     /* the handler holds up its node's only worker, which reads nothing */
    LATER,       /* the handler owes its answers */
    HTTP,        /* as BLOCKED, asked over HTTP */
    SILENT,      /* the connection is taken by nobody */
    UNREACHABLE, /* it is refused */
    KINDS
};

/* Bytes that a runtime has from its host. */
struct memory {
    _Atomic(int64_t) bytes;
};

struct stalled {
    parley *node; /* NULL: none */
    int listener;
    parley_peer peer;
    struct tally tally;
    uint64_t accepted;
    pthread_mutex_t mutex;
    pthread_cond_t go_on;
    bool released; /* under the mutex, as the next ones */
    parley_token owed[OWED_MAX];
    unsigned owed_len;
};

struct world {
    struct memory memory;
    parley *sender, *receiver;
    parley_peer healthy[HEALTHY];
    struct tally tally;
    struct seen seen;
    struct stalled stalled[KINDS];
};

static void *take(size_t bytes, void *user)
{
    void *block = malloc(bytes);

    if (block != NULL)
        atomic_fetch_add(&((struct memory *)user)->bytes, (int64_t)malloc_usable_size(block));
    return block;
}

static void *take_more(void *block, size_t bytes, void *user)
{
    int64_t before = block != NULL ? (int64_t)malloc_usable_size(block) : 0;
    void *moved = realloc(block, bytes);

    if (moved != NULL)
        atomic_fetch_add(&((struct memory *)user)->bytes,
                         (int64_t)malloc_usable_size(moved) - before);
    return moved;
}

static void give(void *block, void *user)
{
    if (block != NULL)
        atomic_fetch_sub(&((struct memory *)user)->bytes, (int64_t)malloc_usable_size(block));
    free(block);
}

/* ---- The stalled ones ---- */

static parley_verdict block(const parley_incoming *message, char *detail, void *user)
{
    struct stalled *stalled = user;

    (void)message;
    (void)detail;
    pthread_mutex_lock(&stalled->mutex);
    while (!stalled->released)
        pthread_cond_wait(&stalled->go_on, &stalled->mutex);
    pthread_mutex_unlock(&stalled->mutex);
    return PARLEY_ACCEPT;
}

static parley_verdict owe(const parley_incoming *message, char *detail, void *user)
{
    struct stalled *stalled = user;

    (void)detail;
    pthread_mutex_lock(&stalled->mutex);
    if (CHECK(stalled->owed_len < OWED_MAX))
        stalled->owed[stalled->owed_len++] = message->token;
    pthread_mutex_unlock(&stalled->mutex);
    return PARLEY_LATER;
}

static void open_node(struct stalled *stalled, parley_message_fn handler)
{
    parley_options options;

    node_options(&options, "stalled");
    options.listen_host = "127.0.0.1";
    options.workers = 1;
    options.on_message = handler;
    options.on_message_user = stalled;
    stalled->node = node_open(&options);
}

/* @return its port; nobody accepts there */
static unsigned listen_only(struct stalled *stalled)
{
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(here);

    stalled->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(stalled->listener, (struct sockaddr *)&here, len) == 0);
    CHECK(listen(stalled->listener, 16) == 0);
    CHECK(getsockname(stalled->listener, (struct sockaddr *)&here, &len) == 0);
    return ntohs(here.sin_port);
}

static void stall(struct world *world, enum kind kind)
{
    static const char *const names[] = {"blocked", "later", "http", "silent", "unreachable"};
    struct stalled *stalled = &world->stalled[kind];
    parley_peer_options options;
    unsigned port = 1;
    char url[64];

    if (kind == BLOCKED || kind == HTTP)
        open_node(stalled, block);
    else if (kind == LATER)
        open_node(stalled, owe);
    else if (kind == SILENT)
        port = listen_only(stalled);
    if (stalled->node != NULL)
        port = parley_port(stalled->node);
    parley_peer_options_init(&options);
    options.preference = kind == HTTP ? PARLEY_HTTP_ONLY : PARLEY_WEBSOCKET_ONLY;
    options.preference_set = true;
    options.mailbox_bytes_max = MAILBOX_BYTES;
    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    CHECK_STATUS(parley_peer_add(world->sender, names[kind], url, &options, &stalled->peer),
                 OK);
}

static void release(struct stalled *stalled)
{
    pthread_mutex_lock(&stalled->mutex);
    stalled->released = true;
    pthread_cond_broadcast(&stalled->go_on);
    pthread_mutex_unlock(&stalled->mutex);
    CHECK_STATUS(parley_close(stalled->node), OK);
    if (stalled->listener >= 0)
        close(stalled->listener);
    pthread_cond_destroy(&stalled->go_on);
    pthread_mutex_destroy(&stalled->mutex);
}

/* ---- The world ---- */

static struct world *world_open(void)
{
    struct world *world = calloc(1, sizeof(*world));
    const parley_allocator counted = {take, take_more, give, &world->memory};
    parley_options options;

    pthread_mutex_init(&world->tally.mutex, NULL);
    for (unsigned i = 0; i < KINDS; i++) {
        world->stalled[i].listener = -1;
        pthread_mutex_init(&world->stalled[i].tally.mutex, NULL);
        pthread_mutex_init(&world->stalled[i].mutex, NULL);
        pthread_cond_init(&world->stalled[i].go_on, NULL);
    }
    world->receiver = receiver_open(0, true);
    parley_on_message(world->receiver, NULL, seen_handler, &world->seen);
    node_options(&options, "sender");
    options.allocator = &counted;
    world->sender = node_open(&options);
    for (unsigned i = 0; i < HEALTHY; i++) { /* on both workers */
        char id[16];

        snprintf(id, sizeof(id), "healthy-%u", i);
        world->healthy[i] = peer_to(world->sender, world->receiver, id, PARLEY_WEBSOCKET_ONLY);
    }
    return world;
}

static void world_free(struct world *world)
{
    for (unsigned i = 0; i < KINDS; i++)
        release(&world->stalled[i]);
    CHECK_STATUS(parley_close(world->receiver), OK);
    CHECK_U64(atomic_load(&world->memory.bytes), 0);
    free(world);
}

static void fill(struct world *world, struct stalled *stalled)
{
    static char payload[PAYLOAD_BYTES + 1];
    parley_status status;

    memset(payload, ' ', PAYLOAD_BYTES);
    payload[0] = '{';
    payload[PAYLOAD_BYTES - 1] = '}';
    while ((status = post(world->sender, stalled->peer, payload, &stalled->tally)) ==
           PARLEY_OK)
        stalled->accepted++;
    CHECK_STATUS(status, EAGAIN);
    CHECK(stalled->accepted > MAILBOX_BYTES / PAYLOAD_BYTES / 2);
    for (unsigned i = 0; i < REFUSED; i++)
        CHECK_STATUS(post(world->sender, stalled->peer, payload, &stalled->tally), EAGAIN);
}

/* All of it, while the others stall. */
static void healthy_ones_go_on(struct world *world, unsigned round)
{
    for (unsigned n = 0; n < EACH; n++) {
        for (unsigned i = 0; i < HEALTHY; i++)
            CHECK_STATUS(
                post_numbered(world->sender, world->healthy[i], THREADS_MAX, n, &world->tally),
                OK);
    }
    CHECK(check_wait(&world->tally.results, (uint64_t)HEALTHY * EACH * (round + 1)));
    CHECK_U64(world->tally.outcomes[PARLEY_DELIVERED], HEALTHY * EACH * (round + 1));
}

static void check_kinds(enum kind first, enum kind last)
{
    struct world *world = world_open();
    uint64_t accepted = 0, results = 0, cancelled = 0;
    size_t left = 0;
    int64_t before;

    for (unsigned kind = first; kind <= last; kind++)
        stall(world, (enum kind)kind);
    healthy_ones_go_on(world, 0);
    before = atomic_load(&world->memory.bytes);
    for (unsigned kind = first; kind <= last; kind++)
        fill(world, &world->stalled[kind]);
    healthy_ones_go_on(world, 1);
    CHECK(atomic_load(&world->memory.bytes) - before <
          (int64_t)((last - first + 1) * MAILBOX_BYTES + SLACK_BYTES));
    for (unsigned kind = first; kind <= last; kind++) {
        CHECK_U64(world->stalled[kind].tally.results, 0);
        accepted += world->stalled[kind].accepted;
    }
    CHECK_STATUS(parley_drain(world->sender, 0, &left), ETIMEDOUT);
    CHECK_U64(left, accepted);
    CHECK_STATUS(parley_drain(world->sender, 20, &left), ETIMEDOUT);
    CHECK_U64(left, accepted);
    check_adds_up(world->sender);
    CHECK_STATUS(parley_close(world->sender), OK);
    for (unsigned kind = first; kind <= last; kind++) {
        results += world->stalled[kind].tally.results;
        cancelled += world->stalled[kind].tally.outcomes[PARLEY_CANCELLED];
    }
    CHECK_U64(results, accepted);
    CHECK_U64(cancelled, accepted);
    world_free(world);
}

static void a_blocked_handler(void)
{
    check_kinds(BLOCKED, BLOCKED);
}

static void owed_answers(void)
{
    check_kinds(LATER, LATER);
}

static void hanging_requests(void)
{
    check_kinds(HTTP, HTTP);
}

static void a_silent_address(void)
{
    check_kinds(SILENT, SILENT);
}

static void an_unreachable_address(void)
{
    check_kinds(UNREACHABLE, UNREACHABLE);
}

static void all_at_once(void)
{
    check_kinds(BLOCKED, UNREACHABLE);
}

/* ---- Closing waits for the host's callbacks, and for those only ---- */

struct closing {
    parley *sender;
    _Atomic(uint64_t) entered, begun;
    _Atomic(bool) go, left, returned, late;
};

static void slow_result(const parley_result *result, void *user)
{
    struct closing *closing = user;

    (void)result;
    if (atomic_load(&closing->returned))
        atomic_store(&closing->late, true);
    if (atomic_fetch_add(&closing->entered, 1) > 0)
        return;
    while (!atomic_load(&closing->go))
        sched_yield();
    atomic_store(&closing->left, true);
}

static void *close_it(void *user)
{
    struct closing *closing = user;

    atomic_store(&closing->begun, 1);
    CHECK_STATUS(parley_close(closing->sender), OK);
    CHECK(atomic_load(&closing->left));
    atomic_store(&closing->returned, true);
    return NULL;
}

static void closing_waits_for_callbacks(void)
{
    enum { MESSAGES = 50 };
    struct closing closing = {0};
    parley_message message;
    struct pair pair;
    pthread_t thread;

    pair_open(&pair, PARLEY_WEBSOCKET_ONLY);
    closing.sender = pair.sender;
    parley_message_init(&message, "test", "{}", 2);
    for (unsigned i = 0; i < MESSAGES; i++)
        CHECK_STATUS(
            parley_send(pair.sender, pair.peer, &message, slow_result, &closing, NULL), OK);
    CHECK(check_wait(&closing.entered, 1));
    CHECK(pthread_create(&thread, NULL, close_it, &closing) == 0);
    CHECK(check_wait(&closing.begun, 1));
    CHECK(!atomic_load(&closing.returned));
    atomic_store(&closing.go, true);
    pthread_join(thread, NULL);
    CHECK_U64(closing.entered, MESSAGES);
    CHECK(!closing.late);
    CHECK_STATUS(parley_close(pair.receiver), OK);
}

static const struct check_test tests[] = {
    {"a handler that blocks costs its mailbox only", a_blocked_handler},
    {"owed answers cost their mailbox only", owed_answers},
    {"hanging requests cost their mailbox only", hanging_requests},
    {"a silent address costs its mailbox only", a_silent_address},
    {"an unreachable address costs its mailbox only", an_unreachable_address},
    {"several at once cost their mailboxes only", all_at_once},
    {"closing waits for the host's callbacks", closing_waits_for_callbacks},
};

CHECK_MAIN("stalled peers", tests)
