/* SPDX-License-Identifier: Apache-2.0
 *
 * A man in the middle: relays every connection made to his port, sees what goes either way,
 * and may change it. One thread, a few connections.
 */
#ifndef PARLEY_TEST_MEDDLER_H
#define PARLEY_TEST_MEDDLER_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/check.h"

#define MEDDLER_PAIRS 16

struct meddler;

/** Sees, and may change in place, what was read. @return what is left of it to be passed on */
typedef size_t (*meddler_fn)(struct meddler *meddler, char *bytes, size_t len, bool to_server);

struct meddler {
    int listener, wake[2];
    uint16_t port, target;
    pthread_t thread;
    meddler_fn meddle; /* NULL: only looks */
    char marker[64];   /* what is looked for */
    _Atomic(uint64_t) seen, bytes, connections, ended;
    _Atomic(bool) cut; /* closes everything there is */
    int pairs[MEDDLER_PAIRS][2];
    _Atomic(uint64_t) number; /* meddle()'s own */
};

static inline void meddler_look(struct meddler *meddler, const char *bytes, size_t len)
{
    size_t marker = strlen(meddler->marker);

    atomic_fetch_add(&meddler->bytes, len);
    if (marker > 0 && memmem(bytes, len, meddler->marker, marker) != NULL)
        atomic_fetch_add(&meddler->seen, 1);
}

static inline bool meddler_pass(struct meddler *meddler, int from, int to, bool to_server)
{
    static _Thread_local char bytes[65536];
    ssize_t len = recv(from, bytes, sizeof(bytes), 0);
    size_t left, done = 0;

    if (len <= 0)
        return false;
    meddler_look(meddler, bytes, (size_t)len);
    left = meddler->meddle != NULL ? meddler->meddle(meddler, bytes, (size_t)len, to_server)
                                   : (size_t)len;
    while (done < left) {
        ssize_t sent = send(to, bytes + done, left - done, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        done += (size_t)sent;
    }
    return true;
}

static inline void meddler_drop(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
    pair[0] = pair[1] = -1;
}

static inline void meddler_accept(struct meddler *meddler)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(meddler->target),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int in = accept(meddler->listener, NULL, NULL), out = socket(AF_INET, SOCK_STREAM, 0);

    for (size_t i = 0; in >= 0 && i < MEDDLER_PAIRS; i++) {
        if (meddler->pairs[i][0] >= 0)
            continue;
        if (connect(out, (struct sockaddr *)&address, sizeof(address)) != 0)
            break;
        meddler->pairs[i][0] = in;
        meddler->pairs[i][1] = out;
        atomic_fetch_add(&meddler->connections, 1);
        return;
    }
    close(in);
    close(out);
}

static inline void *meddler_run(void *user)
{
    struct meddler *meddler = user;

    for (;;) {
        struct pollfd polls[2 + 2 * MEDDLER_PAIRS] = {{meddler->wake[0], POLLIN, 0},
                                                      {meddler->listener, POLLIN, 0}};

        for (size_t i = 0; i < MEDDLER_PAIRS; i++) {
            polls[2 + 2 * i] = (struct pollfd){meddler->pairs[i][0], POLLIN, 0};
            polls[3 + 2 * i] = (struct pollfd){meddler->pairs[i][1], POLLIN, 0};
        }
        poll(polls, sizeof(polls) / sizeof(polls[0]), -1);
        if (polls[0].revents != 0) {
            char byte;

            if (read(meddler->wake[0], &byte, 1) != 1 || byte == 'q')
                return NULL;
        }
        if (polls[1].revents != 0)
            meddler_accept(meddler);
        for (size_t i = 0; i < MEDDLER_PAIRS; i++) {
            int *pair = meddler->pairs[i];

            if (pair[0] < 0 || polls[2 + 2 * i].fd != pair[0])
                continue;
            if (atomic_load(&meddler->cut) ||
                (polls[2 + 2 * i].revents != 0 &&
                 !meddler_pass(meddler, pair[0], pair[1], true)) ||
                (polls[3 + 2 * i].revents != 0 &&
                 !meddler_pass(meddler, pair[1], pair[0], false))) {
                meddler_drop(pair);
                atomic_fetch_add(&meddler->ended, 1);
            }
        }
        atomic_store(&meddler->cut, false);
    }
}

static inline void meddler_open(struct meddler *meddler, uint16_t target, meddler_fn meddle,
                                const char *marker)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);

    memset(meddler, 0, sizeof(*meddler));
    memset(meddler->pairs, -1, sizeof(meddler->pairs));
    meddler->target = target;
    meddler->meddle = meddle;
    for (size_t i = 0; marker[i] != '\0' && i + 1 < sizeof(meddler->marker); i++)
        meddler->marker[i] = marker[i];
    meddler->listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(meddler->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(meddler->listener, 16) == 0);
    getsockname(meddler->listener, (struct sockaddr *)&address, &len);
    meddler->port = ntohs(address.sin_port);
    CHECK(pipe(meddler->wake) == 0);
    CHECK(pthread_create(&meddler->thread, NULL, meddler_run, meddler) == 0);
}

/** Cuts every connection. */
static inline void meddler_cut(struct meddler *meddler)
{
    atomic_store(&meddler->cut, true);
    CHECK(write(meddler->wake[1], "c", 1) == 1);
}

static inline void meddler_close(struct meddler *meddler)
{
    CHECK(write(meddler->wake[1], "q", 1) == 1);
    pthread_join(meddler->thread, NULL);
    for (size_t i = 0; i < MEDDLER_PAIRS; i++) {
        if (meddler->pairs[i][0] >= 0)
            meddler_drop(meddler->pairs[i]);
    }
    close(meddler->listener);
    close(meddler->wake[0]);
    close(meddler->wake[1]);
}

#endif
