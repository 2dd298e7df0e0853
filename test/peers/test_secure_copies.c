/* SPDX-License-Identifier: Apache-2.0
 *
 * Somebody who sees the requests of two nodes and can post his own: what he copies, changes
 * and posts again undoes no handshake, runs nothing, and opens nothing after a restart.
 */
#include "peers/secure_table.h"
#include "test/peers/secure_pair.h"

#define COPY_MAX 65536

struct copy {
    char bytes[COPY_MAX];
    size_t len;
};

static struct copy step1, step3, step5, request;
static char answers[4][2048];
static _Atomic(uint64_t) begun, interfered;

static bool is_in(const char *bytes, size_t len, const char *what)
{
    return memmem(bytes, len, what, strlen(what)) != NULL;
}

static void keep(struct copy *copy, const char *bytes, size_t len)
{
    copy->len = len < COPY_MAX ? len : 0;
    memcpy(copy->bytes, bytes, copy->len);
}

/* Posts it. @return its answer, as far as it comes at once */
static void repeat(uint16_t port, const struct copy *copy, char *answer)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t got = 0;
    ssize_t more = 1;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        send(fd, copy->bytes, copy->len, MSG_NOSIGNAL) == (ssize_t)copy->len)
        while (more > 0 && memmem(answer, got, "\r\n\r\n", 4) == NULL) {
            more = recv(fd, answer + got, sizeof(answers[0]) - 1 - got, 0);
            got += more > 0 ? (size_t)more : 0;
        }
    answer[got] = '\0';
    close(fd);
}

/* Steps 1 and 3 once more, the latter with another signature, while theirs is on its way. */
static void interfere(const struct meddler *meddler)
{
    char *at = memmem(step3.bytes, step3.len, "\"signature\":\"", 13);

    CHECK(at != NULL);
    if (at == NULL)
        return;
    repeat(meddler->target, &step1, answers[0]);
    at[20] = at[20] == 'A' ? 'B' : 'A';
    repeat(meddler->target, &step3, answers[1]);
    atomic_fetch_add(&interfered, 1);
}

static size_t eavesdrop(struct meddler *meddler, char *bytes, size_t len, bool to_server)
{
    if (!to_server || !is_in(bytes, len, "POST /message"))
        return len;
    if (is_in(bytes, len, "\"handshake_init\"")) {
        keep(&step1, bytes, len);
        atomic_fetch_add(&begun, 1);
    } else if (is_in(bytes, len, "\"challenge_response\"")) {
        keep(&step3, bytes, len);
        if (meddler->number == 1)
            interfere(meddler);
        keep(&step3, bytes, len);
    } else if (step5.len == 0) {
        keep(&step5, bytes, len);
        if (meddler->number == 1) { /* theirs was answered: this one is out of turn */
            repeat(meddler->target, &step3, answers[2]);
            atomic_fetch_add(&interfered, 1);
        }
    } else {
        keep(&request, bytes, len);
    }
    return len;
}

static void begin(struct secure_pair *pair, uint64_t interfering)
{
    const struct secure_setup setup = {.preference = PARLEY_HTTP_ONLY,
                                       .sender_min = PARLEY_SECURITY_SEALED,
                                       .receiver_min = PARLEY_SECURITY_SEALED,
                                       .meddle = eavesdrop};

    step1.len = step3.len = step5.len = request.len = 0;
    atomic_store(&begun, 0);
    atomic_store(&interfered, 0);
    secure_open(pair, &setup);
    pair->meddler.number = interfering;
    secure_post(pair, 0, 10);
    CHECK(check_wait(&pair->tally.results, 10));
    CHECK_U64(pair->tally.outcomes[PARLEY_DELIVERED], 10);
}

static void test_handshake_is_not_undone(void)
{
    struct secure_pair pair;

    begin(&pair, 1);
    CHECK_U64(interfered, 2);
    CHECK_CONTAINS(answers[0], "HTTP/1.1 400");
    CHECK_CONTAINS(answers[1], "HTTP/1.1 400");
    CHECK_CONTAINS(answers[2], "HTTP/1.1 400");
    CHECK_U64(begun, 1); /* it has not had to begin anew */
    CHECK_U64(pair.seen.handled, 10);
    CHECK_U64(pair.seen.redelivered, 0);
    secure_close(&pair);
}

static void check_refused(const struct secure_pair *pair, const struct copy *copy,
                          const char *why)
{
    CHECK(copy->len > 0);
    repeat(parley_port(pair->receiver), copy, answers[3]);
    CHECK_CONTAINS(answers[3], "HTTP/1.1 400");
    if (strstr(answers[3], "detail") != NULL)
        CHECK_CONTAINS(answers[3], why);
    CHECK_U64(pair->seen.handled, 0);
}

/* The same keys, nothing remembered: all that was recorded is said again, in order. */
static void test_after_a_restart(void)
{
    struct secure_setup setup = {.preference = PARLEY_HTTP_ONLY,
                                 .sender_min = PARLEY_SECURITY_SEALED,
                                 .receiver_min = PARLEY_SECURITY_SEALED};
    struct secure_pair before, after;

    begin(&before, 0);
    secure_close(&before);
    secure_open(&after, &setup);
    check_refused(&after, &request, "SESSION_NOT_FOUND");
    check_refused(&after, &step3, "SESSION_NOT_FOUND");
    repeat(parley_port(after.receiver), &step1, answers[3]);
    CHECK_CONTAINS(answers[3], "HTTP/1.1 200"); /* it cannot know */
    check_refused(&after, &step3, "CHALLENGE_INVALID");
    check_refused(&after, &step5, "ENCRYPTION_NOT_READY");
    check_refused(&after, &request, "ENCRYPTION_NOT_READY");
    secure_post(&after, 0, 10); /* whoever is waited for comes through all the same */
    CHECK(check_wait(&after.tally.results, 10));
    CHECK_U64(after.tally.outcomes[PARLEY_DELIVERED], 10);
    secure_close(&after);
}

/* What was sealed in one session, said under the name of another. */
static void test_in_another_session(void)
{
    static const char header[] = "Parley-Session: ";
    struct secure_pair first, second;
    struct copy moved;
    char *from, *to, *body;

    begin(&first, 0);
    moved = request;
    secure_close(&first);
    begin(&second, 0);
    atomic_store(&second.seen.handled, 0);
    from = memmem(request.bytes, request.len, header, sizeof(header) - 1);
    to = memmem(moved.bytes, moved.len, header, sizeof(header) - 1);
    body = memmem(moved.bytes, moved.len, "\r\n\r\n", 4);
    CHECK(from != NULL && to != NULL && body != NULL);
    if (from != NULL && to != NULL && body != NULL) {
        memcpy(to, from, sizeof(header) - 1 + 36);
        memset(body + 4 + 5, 0, 4); /* its counter: one that has been */
        check_refused(&second, &moved, "REPLAY_DETECTED");
        body[4 + 5] = 1; /* one that has not */
        check_refused(&second, &moved, "DECRYPTION_FAILED");
    }
    atomic_store(&second.seen.handled, 10);
    secure_post(&second, 10, 5);
    CHECK(check_wait(&second.tally.outcomes[PARLEY_DELIVERED], 15));
    CHECK_U64(begun, 1); /* the session goes on */
    secure_close(&second);
}

/* ---- The table ---- */

static bool add(struct secure_table *table, unsigned number)
{
    char id[40], entity[40];
    struct secure_session *session;

    snprintf(id, sizeof(id), "session-%u", number);
    snprintf(entity, sizeof(entity), "entity-%u", number);
    session = secure_session_new(table, id, entity, number);
    if (!CHECK(session != NULL) || !secure_table_add(table, session, 0))
        return false;
    secure_table_release(table, session);
    return true;
}

static bool has(struct secure_table *table, unsigned number)
{
    struct secure_session *session;
    char id[40];

    snprintf(id, sizeof(id), "session-%u", number);
    session = secure_table_find(table, id);
    if (session != NULL)
        secure_table_release(table, session);
    return session != NULL;
}

/* More peers than it has places: each gets one when it asks, the others ask again. */
static void test_full_table(void)
{
    struct secure_table table = {0};
    struct alloc alloc;
    unsigned added = 0;

    alloc_init(&alloc, NULL);
    secure_table_init(&table, &alloc);
    while (added < 5000 && add(&table, added))
        added++;
    CHECK_U64(added, 5000);
    CHECK(table.count < 5000); /* bounded all the same */
    CHECK(has(&table, 4999) && !has(&table, 0));
    CHECK(!add(&table, 4999)); /* its id is there */
    CHECK(has(&table, 4999));
    secure_table_fini(&table);
}

static const struct check_test tests[] = {
    {"copies do not undo a handshake", test_handshake_is_not_undone},
    {"copies after a restart", test_after_a_restart},
    {"copies in another session", test_in_another_session},
    {"a full table makes room", test_full_table},
};

CHECK_MAIN("copies of what was sealed", tests)
