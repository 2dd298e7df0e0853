/* SPDX-License-Identifier: Apache-2.0
 *
 * Pings of ours and the pongs that answer them, seen from a plain socket at the other end.
 */
#include <netinet/tcp.h>

#include "test/transport/host.h"

static struct host server;

struct asked {
    struct end *end;
    uint64_t number;
};

static void ping_here(struct worker *worker, void *argument)
{
    struct asked *asked = argument;

    (void)worker;
    asked->number = ws_ping(&asked->end->ws);
}

static uint64_t ping(void)
{
    struct asked asked = {&server.ends[0], 0};

    host_on(&server, 0, ping_here, &asked);
    return asked.number;
}

/* An upgraded socket whose other end is server.ends[0]. */
static int open_socket(void)
{
    int fd;

    host_start(&server, 1);
    fd = raw_websocket(host_port(&server));
    CHECK(fd >= 0 && check_wait(&server.ends[0].opened, 1));
    return fd;
}

static void finish(int fd)
{
    close(fd);
    CHECK(check_wait(&server.ends[0].closed, 1));
    host_stop(&server);
}

/* Reads one ping. @return its payload */
static const uint8_t *take_ping(int fd)
{
    static uint8_t frame[10];

    CHECK(raw_exact(fd, frame, sizeof(frame)));
    CHECK_BYTES(frame, 2, "\x89\x08", 2);
    return frame + 2;
}

static void pong(int fd, const uint8_t *payload, size_t len)
{
    uint8_t frame[140];

    CHECK(raw_send(fd, frame, raw_frame(frame, 0x8a, payload, len)));
}

static void a_pong_names_the_ping_it_answers(void)
{
    int fd = open_socket();

    for (uint64_t number = 1; number <= 3; number++) {
        CHECK_U64(ping(), number);
        pong(fd, take_ping(fd), 8);
        CHECK(check_wait(&server.ends[0].pongs, number));
        CHECK_U64(server.ends[0].answered, number);
    }
    finish(fd);
}

static void one_pong_answers_all_pings_before_it(void)
{
    uint8_t second[8];
    int fd = open_socket();

    CHECK_U64(ping(), 1);
    take_ping(fd);
    CHECK_U64(ping(), 2);
    memcpy(second, take_ping(fd), sizeof(second));
    pong(fd, second, 8);
    CHECK(check_wait(&server.ends[0].pongs, 1));
    CHECK_U64(server.ends[0].answered, 2);
    finish(fd);
}

static void a_pong_in_pieces_is_one_pong(void)
{
    uint8_t frame[16];
    size_t len;
    int on = 1, fd = open_socket();

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ping();
    len = raw_frame(frame, 0x8a, take_ping(fd), 8);
    for (size_t i = 0; i < len; i++) {
        CHECK(raw_send(fd, frame + i, 1));
        ping(); /* a turn of the worker: it has read what was sent, or will as it likes */
    }
    CHECK(check_wait(&server.ends[0].pongs, 1));
    CHECK_U64(server.ends[0].answered, 1);
    finish(fd);
}

static void pongs_nobody_asked_for_answer_nothing(void)
{
    static const struct {
        const char *payload;
        size_t len;
    } foreign[] = {
        {"", 0},                                 /* empty */
        {"pong", 4},                             /* somebody else's */
        {"\0\0\0\0\0\0\0\0", 8},                 /* there is no ping 0 */
        {"\0\0\0\0\0\0\0\2", 8},                 /* not sent yet */
        {"\xff\xff\xff\xff\xff\xff\xff\xff", 8}, /* … */
        {"\0\0\0\0\0\0\0\0\1", 9},               /* too long */
    };
    int fd = open_socket();
    const uint8_t *payload;

    CHECK_U64(ping(), 1);
    payload = take_ping(fd);
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        pong(fd, (const uint8_t *)foreign[i].payload, foreign[i].len);
    pong(fd, payload, 8); /* ours comes last, so the others have been seen by then */
    CHECK(check_wait(&server.ends[0].pongs, 1));
    CHECK_U64(server.ends[0].answered, 1);
    CHECK_U64(server.ends[0].pongs, 1);
    finish(fd);
}

static const struct check_test tests[] = {
    {"a pong names the ping it answers", a_pong_names_the_ping_it_answers},
    {"one pong answers all pings before it", one_pong_answers_all_pings_before_it},
    {"a pong in pieces is one pong", a_pong_in_pieces_is_one_pong},
    {"pongs nobody asked for answer nothing", pongs_nobody_asked_for_answer_nothing},
};

CHECK_MAIN("pongs", tests)
