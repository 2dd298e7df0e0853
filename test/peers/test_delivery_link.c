/* SPDX-License-Identifier: Apache-2.0
 *
 * The sender's core against the receiver's rule over a link that does its worst: it cuts,
 * loses what was on its way or delivers it later, after the next connection's, repeats
 * frames, changes transport. Handlers accept, reject, or answer much later; messages expire
 * and are cancelled; memory fails at the receiver.
 *
 * After every step: a handler runs at most once per message and in the order of posting, a
 * message has one result, delivered ones were accepted by their handler and rejected ones
 * rejected with the text it gave. When the link heals every message gets its result.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peers/delivery.h"
#include "peers/receive.h"
#include "runtime/clock.h"
#include "test/check.h"

#define MESSAGES    32
#define BATCH       5
#define WINDOW_MAX  8
#define CONNECTIONS 4 /* the current one and what is left of earlier ones */
#define QUEUE       8 /* frames, and replies, of one connection */
#define STEPS       400
#define HEAL_STEPS  2000
#define HTTP_TRIES  3
#define RUNS        3000

enum answer { NONE, ACCEPTED, REJECTED };

struct item {
    struct delivery_message message; /* first: an end's message is its item */
    unsigned runs;
    enum answer answer;
    bool open; /* its handler will answer later */
    uint64_t number;
    char text[16]; /* of its rejection */
    unsigned reports, releases;
};

struct entry {
    unsigned id;
    bool is_void;
};

struct frame {
    uint64_t base, first;
    unsigned len, at; /* `at`: where the receiver had to stop reading */
    struct entry entries[BATCH];
};

struct reply {
    uint64_t ack_seq;
    unsigned len;
    struct {
        uint64_t number;
        char text[16];
    } rejected[WINDOW_MAX];
};

struct connection {
    struct frame frames[QUEUE];
    struct reply replies[QUEUE];
    unsigned frames_len, replies_len;
};

struct world {
    struct check_random random;
    uint64_t seed;
    struct delivery delivery;
    struct receive receive;
    struct item items[MESSAGES];
    unsigned posted;
    struct connection connections[CONNECTIONS];
    unsigned current; /* the one the sender uses */
    bool connected;
    bool no_memory;
    bool healing;
    uint64_t now_ns;
    unsigned last_run; /* posted number of the newest message that ran */
    uint64_t outcomes[PARLEY_CANCELLED + 1][PARLEY_TRANSPORT_HTTP + 1];
    bool failed;
};

static char replay[64];
static uint64_t total_runs, total_resent, total_late, total_voids, total_repeats;
static uint64_t total_outcomes[PARLEY_CANCELLED + 1];

static void require(struct world *world, bool held, const char *promise)
{
    if (held || world->failed)
        return;
    world->failed = true;
    fprintf(stderr, "\n%s: broken: %s\n", replay, promise);
    CHECK(!"a promise is broken");
}

/* An assertion in the cores aborts: say which seed it was. */
static void tell_seed(int signal_number)
{
    (void)signal_number;
    if (write(STDERR_FILENO, replay, strlen(replay)) < 0)
        _exit(2);
}

static uint64_t below(struct world *world, uint64_t bound)
{
    return check_random_below(&world->random, bound);
}

static bool chance(struct world *world, uint64_t one_in)
{
    return below(world, one_in) == 0;
}

/* ---- Results at the sender ---- */

static void report(struct world *world, struct item *item)
{
    const struct delivery_message *message = &item->message;

    item->reports++;
    world->outcomes[message->outcome][message->transport]++;
    require(world, message->detail != NULL, "a result has a text");
    if (message->outcome == PARLEY_DELIVERED)
        require(world, item->answer == ACCEPTED, "delivered: its handler accepted it");
    if (message->outcome == PARLEY_REJECTED) {
        require(world, item->answer == REJECTED, "rejected: its handler rejected it");
        require(world,
                message->detail != NULL && (strcmp(message->detail, item->text) == 0 ||
                                            strncmp(message->detail, "out of", 6) == 0),
                "rejected: with its own text, if there was memory for it");
    }
}

static void drain(struct world *world)
{
    struct delivery_end end;

    while (delivery_ended(&world->delivery, &end)) {
        struct item *item = (struct item *)end.message;

        require(world, end.report || end.release, "an end is a report or a release");
        if (end.report)
            report(world, item);
        if (end.release)
            item->releases++;
        require(world, item->reports == 1, "one result");
        require(world, item->releases <= 1, "one release");
    }
}

static uint64_t delivered(const struct world *world, parley_transport transport)
{
    return world->outcomes[PARLEY_DELIVERED][transport];
}

static uint64_t ended(const struct world *world, parley_outcome outcome)
{
    const uint64_t *by_transport = world->outcomes[outcome];

    return by_transport[PARLEY_TRANSPORT_NONE] + by_transport[PARLEY_TRANSPORT_WEBSOCKET] +
           by_transport[PARLEY_TRANSPORT_HTTP];
}

static void check_all(struct world *world)
{
    const struct delivery_counts *counts = &world->delivery.counts;
    uint64_t pending = 0;

    delivery_check(&world->delivery);
    receive_check(&world->receive);
    for (unsigned i = 0; i < world->posted; i++)
        pending += world->items[i].reports == 0 ? 1 : 0;
    require(world,
            counts->delivered_ws == delivered(world, PARLEY_TRANSPORT_WEBSOCKET) &&
                counts->delivered_http == delivered(world, PARLEY_TRANSPORT_HTTP) &&
                counts->rejected == ended(world, PARLEY_REJECTED) &&
                counts->exhausted == ended(world, PARLEY_EXHAUSTED) &&
                counts->expired == ended(world, PARLEY_EXPIRED) &&
                counts->cancelled == ended(world, PARLEY_CANCELLED),
            "the counters are the results");
    require(world, counts->accepted == world->posted && counts->pending == pending,
            "accepted and pending are counted");
    require(world, world->delivery.outstanding <= world->delivery.limits.in_flight_max,
            "the window is kept");
}

/* ---- The receiver ---- */

static void *heap_allocate(size_t bytes, void *user)
{
    return *(bool *)user ? NULL : malloc(bytes);
}

static void *heap_resize(void *memory, size_t bytes, void *user)
{
    return *(bool *)user ? NULL : realloc(memory, bytes);
}

static void heap_release(void *memory, void *user)
{
    (void)user;
    free(memory);
}

/* The handler's answer, now or later. */
static void finish(struct world *world, struct item *item, bool accepted)
{
    parley_status status;

    status = receive_finish(&world->receive, item->number, accepted ? NULL : item->text);
    item->open = false;
    if (status == PARLEY_OK)
        item->answer = accepted ? ACCEPTED : REJECTED;
    else
        require(world, status == PARLEY_EUNKNOWN && item->number < world->receive.base,
                "an answer is unknown only if its number was closed");
}

static void run_handler(struct world *world, unsigned id, uint64_t number)
{
    struct item *item = &world->items[id];

    item->number = number;
    item->runs++;
    total_runs++;
    require(world, item->runs == 1, "a handler runs once");
    require(world, id + 1 > world->last_run, "handlers run in the order of posting");
    world->last_run = id + 1;
    if (chance(world, 3)) {
        item->open = true;
        total_late++;
    } else {
        finish(world, item, !chance(world, 4));
    }
}

/* @return whether to go on reading the frame */
static bool arrive(struct world *world, const struct frame *frame)
{
    const struct entry *entry = &frame->entries[frame->at];
    uint64_t number = frame->first + frame->at;

    switch (receive_begin(&world->receive, number)) {
    case RECEIVE_RUN:
        if (entry->is_void)
            require(world, receive_finish(&world->receive, number, NULL) == PARLEY_OK,
                    "a void has its outcome at once");
        else
            run_handler(world, entry->id, number);
        return true;
    case RECEIVE_REPEAT:
        total_repeats++;
        return true;
    case RECEIVE_NO_MEMORY:
        require(world, world->no_memory, "memory was there");
        return false;
    case RECEIVE_FULL:
        require(world, false, "a sender that keeps to the window never fills it");
        return false;
    default:
        return false;
    }
}

/* One reply, as an ACK or `status/connected` says it. */
static void make_reply(const struct world *world, struct reply *ret_reply)
{
    const struct receive *receive = &world->receive;

    ret_reply->ack_seq = receive->ack_seq;
    ret_reply->len = receive->rejected_len;
    for (unsigned i = 0; i < receive->rejected_len; i++) {
        ret_reply->rejected[i].number = receive->rejected[i].number;
        snprintf(ret_reply->rejected[i].text, sizeof(ret_reply->rejected[i].text), "%s",
                 receive->rejected[i].detail);
    }
}

static void send_reply(struct world *world, struct connection *connection)
{
    if (connection->replies_len < QUEUE)
        make_reply(world, &connection->replies[connection->replies_len++]);
}

static void pop_frame(struct connection *connection)
{
    connection->frames_len--;
    memmove(connection->frames, connection->frames + 1,
            connection->frames_len * sizeof(connection->frames[0]));
}

/* Reads one frame of any connection, an old one's too. */
static void read_frame(struct world *world, struct connection *connection)
{
    struct frame *frame = &connection->frames[0];

    if (connection->frames_len == 0)
        return;
    if (frame->at == 0)
        receive_base(&world->receive, frame->base);
    while (frame->at < frame->len && arrive(world, frame))
        frame->at++;
    send_reply(world, connection);
    if (frame->at < frame->len && world->no_memory)
        return; /* goes on from there */
    frame->at = 0;
    if (!chance(world, 8)) /* else it comes again */
        pop_frame(connection);
}

static void answer_one(struct world *world)
{
    unsigned start = (unsigned)below(world, MESSAGES);

    for (unsigned i = 0; i < MESSAGES; i++) {
        struct item *item = &world->items[(start + i) % MESSAGES];

        if (!item->open)
            continue;
        finish(world, item, !chance(world, 3));
        send_reply(world, &world->connections[world->current]);
        return;
    }
}

/* ---- The sender ---- */

static void read_acknowledgement(struct world *world, const struct reply *reply)
{
    struct delivery_rejection rejected[WINDOW_MAX];

    for (unsigned i = 0; i < reply->len; i++) {
        rejected[i].number = reply->rejected[i].number;
        rejected[i].detail = reply->rejected[i].text;
    }
    require(world, delivery_ack(&world->delivery, reply->ack_seq, rejected, reply->len),
            "an honest acknowledgement is taken");
    drain(world);
}

static void read_reply(struct world *world)
{
    struct connection *connection = &world->connections[world->current];

    if (!world->connected || connection->replies_len == 0)
        return;
    read_acknowledgement(world, &connection->replies[0]);
    connection->replies_len--;
    memmove(connection->replies, connection->replies + 1,
            connection->replies_len * sizeof(connection->replies[0]));
}

static void post(struct world *world)
{
    struct item *item = &world->items[world->posted];

    if (world->posted == MESSAGES)
        return;
    world->posted++;
    snprintf(item->text, sizeof(item->text), "no %u", world->posted);
    item->message.deadline_ns =
        chance(world, 3) ? world->now_ns + below(world, 400) * NS_PER_MS : CLOCK_NEVER;
    delivery_post(&world->delivery, &item->message);
}

static void send_frame(struct world *world)
{
    struct connection *connection = &world->connections[world->current];
    struct frame *frame = &connection->frames[connection->frames_len];
    struct delivery_message *message;
    uint64_t limit = 1 + below(world, BATCH);

    if (!world->connected || connection->frames_len == QUEUE ||
        delivery_peek(&world->delivery) == NULL)
        return;
    memset(frame, 0, sizeof(*frame));
    frame->base = delivery_base(&world->delivery);
    while (frame->len < limit && (message = delivery_peek(&world->delivery)) != NULL) {
        delivery_take(&world->delivery, message);
        if (frame->len == 0)
            frame->first = message->number;
        require(world, message->number == frame->first + frame->len,
                "numbers of a batch follow each other");
        total_voids += message->given_up ? 1 : 0;
        frame->entries[frame->len].id = (unsigned)((struct item *)message - world->items);
        frame->entries[frame->len++].is_void = message->given_up;
    }
    connection->frames_len++;
}

/* The connection ends. What was on its way is lost, or comes when nobody expects it. */
static void cut(struct world *world)
{
    struct connection *connection = &world->connections[world->current];

    if (!world->connected)
        return;
    world->connected = false;
    connection->replies_len = 0;
    if (chance(world, 2))
        connection->frames_len = (unsigned)below(world, connection->frames_len + 1);
    delivery_lost(&world->delivery);
    if (world->delivery.route == PARLEY_TRANSPORT_HTTP && !world->healing)
        delivery_exhaust(&world->delivery, HTTP_TRIES, 503, "no attempt left");
    drain(world);
}

/* The next connection. A WebSocket's begins with what the receiver knows. */
static void connect_again(struct world *world)
{
    struct reply reply;

    if (world->connected)
        return;
    world->current = (world->current + 1) % CONNECTIONS;
    world->connections[world->current].frames_len = 0;
    world->connections[world->current].replies_len = 0;
    world->connected = true;
    if (chance(world, 3))
        delivery_switch(&world->delivery, world->delivery.route == PARLEY_TRANSPORT_HTTP
                                              ? PARLEY_TRANSPORT_WEBSOCKET
                                              : PARLEY_TRANSPORT_HTTP);
    if (world->delivery.route == PARLEY_TRANSPORT_WEBSOCKET && world->receive.known) {
        make_reply(world, &reply);
        read_acknowledgement(world, &reply);
    }
}

static void cancel(struct world *world)
{
    struct item *item = &world->items[below(world, MESSAGES)];

    if (item->message.in_list)
        delivery_give_up(&world->delivery, &item->message, PARLEY_CANCELLED, "by the host");
    drain(world);
}

static void pass_time(struct world *world)
{
    world->now_ns += below(world, 30) * NS_PER_MS;
    delivery_expire(&world->delivery, world->now_ns);
    drain(world);
    for (unsigned i = 0; i < world->posted; i++)
        require(world,
                world->items[i].reports == 1 ||
                    world->items[i].message.deadline_ns > world->now_ns,
                "what is due has its result");
}

/* ---- A run ---- */

static void random_step(struct world *world)
{
    switch (below(world, 20)) {
    case 0:
    case 1:
    case 2:
        post(world);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        send_frame(world);
        break;
    case 7:
    case 8:
    case 9:
        read_frame(world, &world->connections[world->current]);
        break;
    case 10:
        read_frame(world, &world->connections[below(world, CONNECTIONS)]);
        break;
    case 11:
    case 12:
    case 13:
        read_reply(world);
        break;
    case 14:
    case 15:
        answer_one(world);
        break;
    case 16:
        if (chance(world, 2))
            cut(world);
        break;
    case 17:
        connect_again(world);
        break;
    case 18:
        if (chance(world, 3))
            cancel(world);
        else
            world->no_memory = chance(world, 4);
        break;
    default:
        pass_time(world);
    }
}

/* No more accidents: everything must find its end. */
static void heal(struct world *world)
{
    world->healing = true;
    world->no_memory = false;
    cut(world);
    for (unsigned i = 0; i < HEAL_STEPS && world->delivery.counts.pending > 0; i++) {
        connect_again(world);
        send_frame(world);
        read_frame(world, &world->connections[world->current]);
        answer_one(world);
        read_reply(world);
        check_all(world);
        if (i % 100 == 99) /* replies beyond the queue are lost: ask again */
            cut(world);
    }
    require(world, world->delivery.counts.pending == 0, "a healed link delivers everything");
}

static void finish_run(struct world *world)
{
    if (chance(world, 4))
        delivery_give_up_all(&world->delivery, PARLEY_CANCELLED, "closed");
    else
        heal(world);
    drain(world);
    check_all(world);
    for (unsigned i = 0; i < world->posted; i++) {
        require(world, world->items[i].reports == 1, "every message has a result");
        require(world, world->items[i].releases == 1, "every message is released");
    }
    require(world, world->delivery.front == NULL, "nothing is left in the list");
    total_resent += world->delivery.counts.resent;
    for (unsigned i = 0; i <= PARLEY_CANCELLED; i++)
        total_outcomes[i] += ended(world, (parley_outcome)i);
}

static bool run(uint64_t seed)
{
    static struct world world;
    const parley_allocator host = {heap_allocate, heap_resize, heap_release, &world.no_memory};
    struct delivery_limits limits;
    struct alloc alloc;

    memset(&world, 0, sizeof(world));
    world.random.state = seed;
    snprintf(replay, sizeof(replay), "    replay: SEED=%" PRIu64 "\n", seed);
    limits.in_flight_max = 1 + (uint32_t)below(&world, WINDOW_MAX);
    alloc_init(&alloc, &host);
    delivery_init(&world.delivery, &limits);
    delivery_switch(&world.delivery, PARLEY_TRANSPORT_WEBSOCKET);
    receive_init(&world.receive, &alloc, limits.in_flight_max);
    for (unsigned i = 0; i < STEPS && !world.failed; i++) {
        random_step(&world);
        check_all(&world);
    }
    if (!world.failed)
        finish_run(&world);
    receive_fini(&world.receive);
    return !world.failed;
}

static void lossy_link(void)
{
    const uint64_t runs = getenv("SEED") != NULL ? 1 : RUNS;
    const uint64_t first = check_seed(1);
    uint64_t seed = first;

    signal(SIGABRT, tell_seed);
    while (seed < first + runs && run(seed))
        seed++;
    CHECK_U64(seed, first + runs);
    printf("\n    %" PRIu64 " runs: %" PRIu64 " handlers ran, %" PRIu64
           " answered later; %" PRIu64 " resent, %" PRIu64 " repeats, %" PRIu64
           " voids; %" PRIu64 " delivered, %" PRIu64 " rejected, %" PRIu64
           " exhausted, %" PRIu64 " expired, %" PRIu64 " cancelled ",
           runs, total_runs, total_late, total_resent, total_repeats, total_voids,
           total_outcomes[PARLEY_DELIVERED], total_outcomes[PARLEY_REJECTED],
           total_outcomes[PARLEY_EXHAUSTED], total_outcomes[PARLEY_EXPIRED],
           total_outcomes[PARLEY_CANCELLED]);
    if (runs == 1)
        return;
    /* The link did its worst: each of these happened, often. */
    CHECK(total_late > runs && total_resent > runs && total_repeats > runs);
    CHECK(total_voids > runs / 10);
    for (unsigned i = PARLEY_DELIVERED; i <= PARLEY_CANCELLED; i++)
        CHECK(i == PARLEY_SENT || total_outcomes[i] > runs / 10);
}

static const struct check_test tests[] = {
    {"over a lossy link each message runs once, in order, and has one true result",
     lossy_link},
};

CHECK_MAIN("delivery over a link", tests)
