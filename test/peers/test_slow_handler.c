/* SPDX-License-Identifier: Apache-2.0
 *
 * A receiver whose handler is slow: what senders have in flight to it does not pile up in its
 * memory. One worker is held up by a handler; connections that another worker reads for that
 * session are read no further than their bound.
 */
#include <malloc.h>

#include "test/peers/nodes.h"

#define ROUNDS           8
#define PAYLOAD_BYTES    32768
#define MESSAGES         500 /* 16 MiB, in flight at once */
#define CONNECTION_BYTES (256u * 1024)
#define QUIET_LOOKS      30
#define SLACK_BYTES      (1u << 20)

struct slow {
    _Atomic(int64_t) bytes, most;
    pthread_mutex_t mutex;
    pthread_cond_t go_on;
    bool held; /* under the mutex */
    _Atomic(uint64_t) entered, handled;
};

static void count(struct slow *slow, int64_t more)
{
    int64_t now = atomic_fetch_add(&slow->bytes, more) + more, most = atomic_load(&slow->most);

    while (now > most && !atomic_compare_exchange_weak(&slow->most, &most, now))
        continue;
}

static void *take(size_t bytes, void *user)
{
    void *block = malloc(bytes);

    if (block != NULL)
        count(user, (int64_t)malloc_usable_size(block));
    return block;
}

static void *take_more(void *block, size_t bytes, void *user)
{
    int64_t before = block != NULL ? (int64_t)malloc_usable_size(block) : 0;
    void *moved = realloc(block, bytes);

    if (moved != NULL)
        count(user, (int64_t)malloc_usable_size(moved) - before);
    return moved;
}

static void give(void *block, void *user)
{
    if (block != NULL)
        count(user, -(int64_t)malloc_usable_size(block));
    free(block);
}

static parley_verdict wait_with_it(const parley_incoming *message, char *detail, void *user)
{
    struct slow *slow = user;

    (void)message;
    (void)detail;
    atomic_fetch_add(&slow->entered, 1);
    pthread_mutex_lock(&slow->mutex);
    while (slow->held)
        pthread_cond_wait(&slow->go_on, &slow->mutex);
    pthread_mutex_unlock(&slow->mutex);
    atomic_fetch_add(&slow->handled, 1);
    return PARLEY_ACCEPT;
}

static void hold(struct slow *slow, bool held)
{
    pthread_mutex_lock(&slow->mutex);
    slow->held = held;
    pthread_cond_broadcast(&slow->go_on);
    pthread_mutex_unlock(&slow->mutex);
}

/* The sender has written what the receiver's sockets take: nothing moves any more. Looking
 * too early makes the test weaker, never wrong. */
static void until_nothing_moves(parley *sender)
{
    parley_stats stats = {.size = sizeof(stats)};
    uint64_t before = UINT64_MAX;

    for (unsigned quiet = 0; quiet < QUIET_LOOKS;) {
        const struct timespec pause = {.tv_nsec = 2000000};

        CHECK_STATUS(parley_stats_get(sender, &stats), OK);
        quiet = stats.wire_bytes_out == before ? quiet + 1 : 0;
        before = stats.wire_bytes_out;
        nanosleep(&pause, NULL);
    }
}

/* Each round has a connection of its own, which either worker may have; the session stays at
 * the one that saw it first. */
static void unread_messages_are_bounded(void)
{
    static char payload[PAYLOAD_BYTES + 1];
    static struct slow slow;
    const parley_allocator counted = {take, take_more, give, &slow};
    struct tally tally = TALLY_INIT;
    parley_options options;
    parley *receiver, *sender;
    parley_peer peer;
    int64_t before;

    slow =
        (struct slow){.mutex = PTHREAD_MUTEX_INITIALIZER, .go_on = PTHREAD_COND_INITIALIZER};
    node_options(&options, "receiver");
    options.listen_host = "127.0.0.1";
    options.connection_bytes_max = CONNECTION_BYTES;
    options.on_message = wait_with_it;
    options.on_message_user = &slow;
    options.allocator = &counted;
    receiver = node_open(&options);
    node_options(&options, "sender");
    options.reconnect_min_ms = 10;
    sender = node_open(&options);
    peer = peer_to(sender, receiver, "receiver", PARLEY_WEBSOCKET_ONLY);
    memset(payload, ' ', PAYLOAD_BYTES);
    payload[0] = '{';
    payload[PAYLOAD_BYTES - 1] = '}';
    CHECK_STATUS(post(sender, peer, payload, &tally), OK);
    CHECK(check_wait(&tally.results, 1));
    before = atomic_load(&slow.bytes);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t entered = atomic_load(&slow.entered);

        CHECK_STATUS(parley_disconnect(sender, peer), OK);
        hold(&slow, true);
        for (unsigned i = 0; i < MESSAGES; i++)
            CHECK_STATUS(post(sender, peer, payload, &tally), OK);
        CHECK(check_wait(&slow.entered, entered + 1));
        until_nothing_moves(sender);
        hold(&slow, false);
        CHECK(check_wait(&tally.results, 1 + MESSAGES * (round + 1)));
    }
    CHECK(atomic_load(&slow.most) - before < CONNECTION_BYTES * 2 + SLACK_BYTES);
    CHECK_U64(tally.outcomes[PARLEY_DELIVERED], 1 + MESSAGES * ROUNDS);
    CHECK_U64(slow.handled, 1 + MESSAGES * ROUNDS);
    CHECK_STATUS(parley_close(sender), OK);
    CHECK_STATUS(parley_close(receiver), OK);
}

static const struct check_test tests[] = {
    {"what a slow handler has not taken is bounded", unread_messages_are_bounded},
};

CHECK_MAIN("slow handlers", tests)
