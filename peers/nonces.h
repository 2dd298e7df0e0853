/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory against replay: what a runtime has taken of each sender whose signature held,
 * for the time in which its copy would still be fresh.
 *
 * Of a message signed the older way its nonce is kept. Messages bound to their place in a
 * session are told apart by their numbers as long as the session is known; for when it no
 * longer is, after a restart above all, the newest timestamp taken in it is kept: what comes
 * to an unknown session has to be newer. That is one entry a session, at any rate.
 *
 * Only what was verified enters. Each sender has its own bounds, and nobody makes another's
 * entries go: where a sender's memory is full, its next message has to wait. With a state
 * directory all of it survives a restart (nonces_file.h).
 *
 * Threads: any, under a mutex that is held for table look-ups only.
 */
#ifndef PARLEY_PEERS_NONCES_H
#define PARLEY_PEERS_NONCES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parley.h"
#include "runtime/alloc.h"

#define NONCES_KEY_BYTES    16
#define NONCES_SESSIONS_MAX 64   /* of one sender, within the window */
#define NONCES_SENDERS_MAX  4096 /* who have a trusted key and were heard within it */

struct nonces_sender;
struct nonces_file;

struct nonces {
    const struct alloc *alloc;
    uint64_t window_ns;
    uint32_t nonces_max; /* of one sender */
    uint8_t key[NONCES_KEY_BYTES];
    struct nonces_file *file; /* NULL: a restart forgets */
    pthread_mutex_t mutex;    /* guards the rest */
    struct nonces_sender *by_name;
    uint32_t senders;
};

struct nonces_limits {
    uint64_t window_s;
    uint32_t nonces_max;
};

enum nonces_answer {
    NONCES_NEW,
    NONCES_SEEN, /* it is a repeat; of a session: not newer than what was taken in it */
    NONCES_FULL, /* too many of this sender's, or no memory: not now */
};

/** @param key secret and random, so that nobody can make two texts look the same */
parley_status nonces_init(struct nonces *nonces, const struct alloc *alloc,
                          const struct nonces_limits *limits,
                          const uint8_t key[NONCES_KEY_BYTES]);
/** Closes the file, too. */
void nonces_fini(struct nonces *nonces);

/** Whether a nonce could be added. Adds nothing. */
enum nonces_answer nonces_look(struct nonces *nonces, const char *sender, const char *nonce,
                               uint64_t now_ns);

/** Adds a nonce for which nonces_look() has said NONCES_NEW: its message is being run.
 *  @param wall_us the time by the wall clock, for the file */
enum nonces_answer nonces_add(struct nonces *nonces, const char *sender, const char *nonce,
                              uint64_t now_ns, uint64_t wall_us);

/**
 * Messages of a session are about to be run.
 *
 * @param known     the receiver knows the session: its numbers say what is a repeat
 * @param oldest_us the oldest timestamp that one of them is signed with
 * @param newest_us the newest one
 */
enum nonces_answer nonces_session(struct nonces *nonces, const char *sender,
                                  const char *session_id, bool known, uint64_t oldest_us,
                                  uint64_t newest_us, uint64_t now_ns, uint64_t wall_us);

/* ---- For nonces_file.c, while it reads ---- */

enum nonces_kind { NONCES_NONCE = 1, NONCES_SESSION = 2 };

/** Adds what was taken at `at_ns`. @return false: there is no room for it */
bool nonces_restore(struct nonces *nonces, enum nonces_kind kind, const char *sender,
                    const char *text, uint64_t newest_us, uint64_t at_ns, uint64_t now_ns);

#endif
