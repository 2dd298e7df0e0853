/* SPDX-License-Identifier: Apache-2.0 */
#include "peers/nonces.h"

#include <assert.h>
#include <string.h>

#include "peers/hash.h"
#include "peers/nonces_file.h"
#include "peers/seen.h"
#include "runtime/clock.h"

static_assert(NONCES_KEY_BYTES == SEEN_KEY_BYTES, "it is seen.h that uses it");

struct nonces_mark {
    uint64_t hash; /* of the session's id */
    uint64_t newest_us;
    uint64_t at_ns; /* when it was used last; 0: free */
};

struct nonces_sender {
    UT_hash_handle by_name;
    struct seen seen;
    struct nonces_mark marks[NONCES_SESSIONS_MAX];
    uint64_t used_ns;
    char name[];
};

parley_status nonces_init(struct nonces *nonces, const struct alloc *alloc,
                          const struct nonces_limits *limits,
                          const uint8_t key[NONCES_KEY_BYTES])
{
    *nonces = (struct nonces){
        .alloc = alloc,
        .window_ns = limits->window_s * NS_PER_S,
        .nonces_max = limits->nonces_max,
    };
    memcpy(nonces->key, key, sizeof(nonces->key));
    if (pthread_mutex_init(&nonces->mutex, NULL) == 0)
        return PARLEY_OK;
    nonces->alloc = NULL;
    return PARLEY_ESYSTEM;
}

static void forget(struct nonces *nonces, struct nonces_sender *sender)
{
    const struct alloc *alloc = nonces->alloc;

    HASH_DELETE(by_name, nonces->by_name, sender);
    nonces->senders--;
    seen_fini(&sender->seen);
    alloc_free(alloc, sender);
}

void nonces_fini(struct nonces *nonces)
{
    struct nonces_sender *sender, *next;

    if (nonces->alloc == NULL)
        return;
    HASH_ITER(by_name, nonces->by_name, sender, next)
    forget(nonces, sender);
    nonces_file_close(nonces->file);
    pthread_mutex_destroy(&nonces->mutex);
    nonces->alloc = NULL;
}

/* ---- Senders, under the mutex ---- */

static bool over(const struct nonces *nonces, uint64_t at_ns, uint64_t now_ns)
{
    return now_ns > at_ns && now_ns - at_ns > nonces->window_ns;
}

/* Makes room by those who have not been heard within the window. */
static bool sweep(struct nonces *nonces, uint64_t now_ns)
{
    struct nonces_sender *sender, *next;

    HASH_ITER(by_name, nonces->by_name, sender, next)
    {
        if (over(nonces, sender->used_ns, now_ns))
            forget(nonces, sender);
    }
    return nonces->senders < NONCES_SENDERS_MAX;
}

static struct nonces_sender *find(struct nonces *nonces, const char *name)
{
    struct nonces_sender *sender = NULL;

    HASH_FIND(by_name, nonces->by_name, name, strlen(name), sender);
    return sender;
}

/* @return NULL: out of memory, or there are too many */
static struct nonces_sender *find_or_add(struct nonces *nonces, const char *name,
                                         uint64_t now_ns)
{
    const struct alloc *alloc = nonces->alloc;
    struct nonces_sender *sender = find(nonces, name);
    size_t len = strlen(name);

    if (sender != NULL)
        return sender;
    if (nonces->senders >= NONCES_SENDERS_MAX && !sweep(nonces, now_ns))
        return NULL;
    sender = alloc_zeroed(alloc, sizeof(*sender) + len + 1);
    if (sender == NULL)
        return NULL;
    memcpy(sender->name, name, len + 1);
    seen_init(&sender->seen, alloc, nonces->nonces_max, nonces->key);
    sender->seen.lifetime_ns = nonces->window_ns;
    sender->used_ns = now_ns;
    HASH_ADD_KEYPTR(by_name, nonces->by_name, sender->name, len, sender);
    if (sender->by_name.tbl == NULL) {
        alloc_free(alloc, sender);
        return NULL;
    }
    nonces->senders++;
    return sender;
}

/* ---- Nonces ---- */

static enum nonces_answer look(const struct nonces_sender *sender, const char *nonce,
                               uint64_t now_ns)
{
    uint64_t number;

    if (seen_find(&sender->seen, SEEN_NONCE, nonce, strlen(nonce), now_ns, &number))
        return NONCES_SEEN;
    return seen_full(&sender->seen, now_ns) ? NONCES_FULL : NONCES_NEW;
}

static enum nonces_answer add(struct nonces *nonces, const char *name, const char *nonce,
                              uint64_t at_ns, uint64_t now_ns)
{
    struct nonces_sender *sender = find_or_add(nonces, name, now_ns);
    enum nonces_answer answer;

    if (sender == NULL)
        return NONCES_FULL;
    answer = look(sender, nonce, now_ns);
    if (answer != NONCES_NEW)
        return answer;
    if (seen_reserve(&sender->seen, 1, now_ns) != PARLEY_OK)
        return NONCES_FULL;
    seen_add(&sender->seen, SEEN_NONCE, nonce, strlen(nonce), at_ns, 0);
    sender->used_ns = now_ns;
    return NONCES_NEW;
}

enum nonces_answer nonces_look(struct nonces *nonces, const char *sender, const char *nonce,
                               uint64_t now_ns)
{
    enum nonces_answer answer = NONCES_NEW;
    struct nonces_sender *known;

    pthread_mutex_lock(&nonces->mutex);
    known = find(nonces, sender);
    if (known != NULL)
        answer = look(known, nonce, now_ns);
    pthread_mutex_unlock(&nonces->mutex);
    return answer;
}

enum nonces_answer nonces_add(struct nonces *nonces, const char *sender, const char *nonce,
                              uint64_t now_ns, uint64_t wall_us)
{
    enum nonces_answer answer;

    pthread_mutex_lock(&nonces->mutex);
    answer = add(nonces, sender, nonce, now_ns, now_ns);
    pthread_mutex_unlock(&nonces->mutex);
    if (answer == NONCES_NEW)
        nonces_file_add(nonces->file, NONCES_NONCE, sender, nonce, 0, wall_us);
    return answer;
}

/* ---- Sessions ---- */

static bool is_free(const struct nonces *nonces, const struct nonces_mark *mark,
                    uint64_t now_ns)
{
    return mark->at_ns == 0 || over(nonces, mark->at_ns, now_ns);
}

/* The session's mark, or a free one that becomes it. @return NULL: all are in use */
static struct nonces_mark *mark_of(const struct nonces *nonces, struct nonces_sender *sender,
                                   const char *session_id, uint64_t now_ns)
{
    uint64_t hash =
        seen_hash(sender->seen.key, SEEN_MESSAGE_ID, session_id, strlen(session_id));
    struct nonces_mark *vacant = NULL;

    for (unsigned i = 0; i < NONCES_SESSIONS_MAX; i++) {
        struct nonces_mark *mark = &sender->marks[i];

        if (is_free(nonces, mark, now_ns))
            vacant = mark;
        else if (mark->hash == hash)
            return mark;
    }
    if (vacant != NULL)
        *vacant = (struct nonces_mark){.hash = hash};
    return vacant;
}

/* @return whether it was newer than what was there */
static bool raise(struct nonces_mark *mark, uint64_t newest_us, uint64_t now_ns)
{
    mark->at_ns = now_ns > 0 ? now_ns : 1;
    if (newest_us <= mark->newest_us)
        return false;
    mark->newest_us = newest_us;
    return true;
}

enum nonces_answer nonces_session(struct nonces *nonces, const char *sender,
                                  const char *session_id, bool known, uint64_t oldest_us,
                                  uint64_t newest_us, uint64_t now_ns, uint64_t wall_us)
{
    enum nonces_answer answer = NONCES_FULL;
    struct nonces_sender *found;
    struct nonces_mark *mark;
    bool rises = false;

    pthread_mutex_lock(&nonces->mutex);
    found = find_or_add(nonces, sender, now_ns);
    mark = found != NULL ? mark_of(nonces, found, session_id, now_ns) : NULL;
    if (mark != NULL && !known && oldest_us <= mark->newest_us) {
        answer = NONCES_SEEN;
    } else if (mark != NULL) {
        answer = NONCES_NEW;
        rises = raise(mark, newest_us, now_ns);
        found->used_ns = now_ns;
    }
    pthread_mutex_unlock(&nonces->mutex);
    if (rises)
        nonces_file_add(nonces->file, NONCES_SESSION, sender, session_id, newest_us, wall_us);
    return answer;
}

/* ---- From the file ---- */

bool nonces_restore(struct nonces *nonces, enum nonces_kind kind, const char *sender,
                    const char *text, uint64_t newest_us, uint64_t at_ns, uint64_t now_ns)
{
    struct nonces_sender *found;
    struct nonces_mark *mark;

    if (kind == NONCES_NONCE)
        return add(nonces, sender, text, at_ns, now_ns) != NONCES_FULL;
    found = find_or_add(nonces, sender, now_ns);
    mark = found != NULL ? mark_of(nonces, found, text, now_ns) : NULL;
    if (mark == NULL)
        return false;
    (void)raise(mark, newest_us, at_ns);
    return true;
}
