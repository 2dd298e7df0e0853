/* SPDX-License-Identifier: Apache-2.0
 *
 * getaddrinfo() on a thread of its own, behind a small table of names. An entry is queued
 * or being asked (and collects those who wait for it), or done (and serves from the cache
 * until it expires). Only done entries count for the bound: one that is waited for exists
 * because a query does. The lock covers the table and is never held across a name service
 * call or a post.
 */
#include "runtime/resolver.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "runtime/clock.h"

#define BUCKETS 256 /* a power of two; names per bucket stay few for any sane entries_max */

struct answer {
    parley_status status;
    uint32_t count;
    const char *detail;
    char addresses[RESOLVER_ADDRESSES_MAX][RESOLVER_ADDRESS_BYTES];
};

struct entry {
    struct entry *bucket_next;
    struct entry *next; /* in the queue, or among the done */
    bool done;
    uint64_t expires_ns;
    struct resolver_query *waiting;
    struct answer answer;
    char host[RESOLVER_HOST_BYTES];
};

struct list {
    struct entry *first, *last;
};

struct resolver {
    struct alloc alloc;
    uint64_t ttl_ns;
    uint64_t ttl_negative_ns;
    uint32_t entries_max;
    pthread_t thread;
    pthread_mutex_t lock; /* for everything below */
    pthread_cond_t asked;
    bool stopping;
    struct list queue;
    struct list done; /* in the order of resolution */
    uint32_t done_count;
    struct entry *buckets[BUCKETS];
};

/* ---- Answers ---- */

static void fill(struct resolver_query *query, const struct answer *answer)
{
    query->status = answer->status;
    query->count = answer->count;
    query->detail = answer->detail;
    memcpy(query->addresses, answer->addresses, sizeof(query->addresses));
}

/* Lets go of the query: it may be gone when this returns. */
static void reply(struct resolver_query *query)
{
    actor_post_control(query->reply_to, &query->node);
}

static void refuse(struct resolver_query *query, parley_status status, const char *detail)
{
    query->status = status;
    query->count = 0;
    query->detail = detail;
    reply(query);
}

bool resolver_numeric(const char *host, struct resolver_query *query)
{
    unsigned char binary[sizeof(struct in6_addr)];
    int family = AF_INET;

    if (inet_pton(family, host, binary) != 1) {
        family = AF_INET6;
        if (inet_pton(family, host, binary) != 1)
            return false;
    }
    inet_ntop(family, binary, query->addresses[0], RESOLVER_ADDRESS_BYTES);
    query->status = PARLEY_OK;
    query->count = 1;
    query->detail = "";
    return true;
}

static parley_status status_of(int failure)
{
    switch (failure) {
    case 0:
        return PARLEY_OK;
    case EAI_AGAIN:
        return PARLEY_ETIMEDOUT;
    case EAI_MEMORY:
        return PARLEY_ENOMEM;
    default:
        return PARLEY_EADDR;
    }
}

static void add_address(struct answer *answer, const struct addrinfo *info)
{
    char *text = answer->addresses[answer->count];

    /* What does not fit (a long interface name behind a link-local address) is left out. */
    if (getnameinfo(info->ai_addr, info->ai_addrlen, text, RESOLVER_ADDRESS_BYTES, NULL, 0,
                    NI_NUMERICHOST) != 0)
        return;
    for (uint32_t i = 0; i < answer->count; i++) {
        if (strcmp(answer->addresses[i], text) == 0)
            return;
    }
    answer->count++;
}

/* Asks the name service. Blocks. */
static void resolve(const char *host, struct answer *ret_answer)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const int failure = getaddrinfo(host, NULL, &hints, &found);

    memset(ret_answer, 0, sizeof(*ret_answer));
    ret_answer->status = status_of(failure);
    ret_answer->detail = failure == 0 ? "" : gai_strerror(failure);
    if (failure != 0)
        return;
    for (const struct addrinfo *at = found;
         at != NULL && ret_answer->count < RESOLVER_ADDRESSES_MAX; at = at->ai_next)
        add_address(ret_answer, at);
    freeaddrinfo(found);
    if (ret_answer->count == 0) {
        ret_answer->status = PARLEY_EADDR;
        ret_answer->detail = "the name has no usable address";
    }
}

/* ---- The table, under the lock ---- */

static void list_append(struct list *list, struct entry *entry)
{
    entry->next = NULL;
    if (list->last != NULL)
        list->last->next = entry;
    else
        list->first = entry;
    list->last = entry;
}

static struct entry *list_take(struct list *list)
{
    struct entry *entry = list->first;

    if (entry != NULL) {
        list->first = entry->next;
        if (list->first == NULL)
            list->last = NULL;
    }
    return entry;
}

static struct entry **bucket_of(struct resolver *resolver, const char *host)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (const char *at = host; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    return &resolver->buckets[hash & (BUCKETS - 1)];
}

static struct entry *find(struct resolver *resolver, const char *host)
{
    struct entry *entry = *bucket_of(resolver, host);

    while (entry != NULL && strcmp(entry->host, host) != 0)
        entry = entry->bucket_next;
    return entry;
}

static void forget_oldest(struct resolver *resolver)
{
    struct entry *entry = list_take(&resolver->done);
    struct entry **link = bucket_of(resolver, entry->host);

    while (*link != entry)
        link = &(*link)->bucket_next;
    *link = entry->bucket_next;
    resolver->done_count--;
    alloc_free(&resolver->alloc, entry);
}

/* Takes an expired entry out of the done, to be asked again. */
static void undo(struct resolver *resolver, struct entry *entry)
{
    struct entry *before = NULL;

    for (struct entry *at = resolver->done.first; at != entry; at = at->next)
        before = at;
    if (before != NULL)
        before->next = entry->next;
    else
        resolver->done.first = entry->next;
    if (resolver->done.last == entry)
        resolver->done.last = before;
    resolver->done_count--;
    entry->done = false;
    list_append(&resolver->queue, entry);
    pthread_cond_signal(&resolver->asked);
}

static struct entry *ask(struct resolver *resolver, const char *host)
{
    struct entry *entry = alloc_zeroed(&resolver->alloc, sizeof(*entry));
    struct entry **bucket = bucket_of(resolver, host);

    if (entry == NULL)
        return NULL;
    memcpy(entry->host, host, strlen(host) + 1);
    entry->bucket_next = *bucket;
    *bucket = entry;
    list_append(&resolver->queue, entry);
    pthread_cond_signal(&resolver->asked);
    return entry;
}

static struct resolver_query *finish(struct resolver *resolver, struct entry *entry)
{
    struct resolver_query *waiting = entry->waiting;
    const uint64_t ttl_ns =
        entry->answer.status == PARLEY_OK ? resolver->ttl_ns : resolver->ttl_negative_ns;

    entry->waiting = NULL;
    entry->done = true;
    entry->expires_ns = clock_now_ns() + ttl_ns;
    list_append(&resolver->done, entry);
    resolver->done_count++;
    while (resolver->done_count > resolver->entries_max)
        forget_oldest(resolver);
    return waiting;
}

/* ---- The thread ---- */

static struct entry *next_asked(struct resolver *resolver)
{
    while (resolver->queue.first == NULL && !resolver->stopping)
        pthread_cond_wait(&resolver->asked, &resolver->lock);
    return resolver->stopping ? NULL : list_take(&resolver->queue);
}

static void *thread_main(void *argument)
{
    struct resolver *resolver = argument;
    struct entry *entry;

    pthread_setname_np(pthread_self(), "parley-dns");
    pthread_mutex_lock(&resolver->lock);
    while ((entry = next_asked(resolver)) != NULL) {
        struct resolver_query *waiting;
        struct answer answer;

        pthread_mutex_unlock(&resolver->lock);
        resolve(entry->host, &answer); /* the name never changes, and the entry is not done */
        pthread_mutex_lock(&resolver->lock);
        entry->answer = answer;
        waiting = finish(resolver, entry);
        pthread_mutex_unlock(&resolver->lock);
        while (waiting != NULL) {
            struct resolver_query *next = waiting->next;

            fill(waiting, &answer);
            reply(waiting);
            waiting = next;
        }
        pthread_mutex_lock(&resolver->lock);
    }
    pthread_mutex_unlock(&resolver->lock);
    return NULL;
}

/* Creates the thread with every signal blocked from its first instruction on. */
static int create_thread(struct resolver *resolver)
{
    sigset_t all;
    sigset_t before;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&resolver->thread, NULL, thread_main, resolver);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

/* ---- For the layers above ---- */

parley_status resolver_start(const struct alloc *alloc, uint32_t ttl_ms,
                             uint32_t ttl_negative_ms, uint32_t entries_max,
                             struct resolver **ret_resolver)
{
    struct resolver *resolver = alloc_zeroed(alloc, sizeof(*resolver));

    if (resolver == NULL)
        return PARLEY_ENOMEM;
    resolver->alloc = *alloc;
    resolver->ttl_ns = ttl_ms * NS_PER_MS;
    resolver->ttl_negative_ns = ttl_negative_ms * NS_PER_MS;
    resolver->entries_max = entries_max;
    pthread_mutex_init(&resolver->lock, NULL); /* these two cannot fail with glibc */
    pthread_cond_init(&resolver->asked, NULL);
    if (create_thread(resolver) != 0) {
        pthread_cond_destroy(&resolver->asked);
        pthread_mutex_destroy(&resolver->lock);
        alloc_free(alloc, resolver);
        return PARLEY_ESYSTEM;
    }
    *ret_resolver = resolver;
    return PARLEY_OK;
}

/* Unhooks all queries that wait, those for a running name service call included. */
static struct resolver_query *take_waiting(struct resolver *resolver)
{
    struct resolver_query *all = NULL;

    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct entry *entry = resolver->buckets[i]; entry != NULL;
             entry = entry->bucket_next) {
            while (entry->waiting != NULL) {
                struct resolver_query *query = entry->waiting;

                entry->waiting = query->next;
                query->next = all;
                all = query;
            }
        }
    }
    return all;
}

static void free_entries(struct resolver *resolver)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        struct entry *entry = resolver->buckets[i];

        while (entry != NULL) {
            struct entry *next = entry->bucket_next;

            alloc_free(&resolver->alloc, entry);
            entry = next;
        }
    }
}

void resolver_stop(struct resolver *resolver)
{
    struct resolver_query *waiting;
    struct alloc alloc;

    if (resolver == NULL)
        return;
    pthread_mutex_lock(&resolver->lock);
    resolver->stopping = true;
    waiting = take_waiting(resolver);
    pthread_cond_signal(&resolver->asked);
    pthread_mutex_unlock(&resolver->lock);
    while (waiting != NULL) {
        struct resolver_query *next = waiting->next;

        refuse(waiting, PARLEY_ECLOSED, "the resolver was stopped");
        waiting = next;
    }
    pthread_join(resolver->thread, NULL);
    free_entries(resolver);
    pthread_cond_destroy(&resolver->asked);
    pthread_mutex_destroy(&resolver->lock);
    alloc = resolver->alloc;
    alloc_free(&alloc, resolver);
}

/* Hooks the query onto its name's entry, or answers it from there. @return PARLEY_OK: filled;
 * PARLEY_EAGAIN: hooked, the thread will answer; otherwise the refusal */
static parley_status look_up(struct resolver *resolver, struct resolver_query *query)
{
    struct entry *entry;

    if (resolver->stopping)
        return PARLEY_ECLOSED;
    entry = find(resolver, query->host);
    if (entry != NULL && entry->done) {
        if (clock_now_ns() < entry->expires_ns) {
            fill(query, &entry->answer);
            return PARLEY_OK;
        }
        undo(resolver, entry);
    }
    if (entry == NULL)
        entry = ask(resolver, query->host);
    if (entry == NULL)
        return PARLEY_ENOMEM;
    query->next = entry->waiting;
    entry->waiting = query;
    return PARLEY_EAGAIN;
}

void resolver_lookup(struct resolver *resolver, struct resolver_query *query)
{
    parley_status status;

    assert(memchr(query->host, '\0', sizeof(query->host)) != NULL);
    if (resolver_numeric(query->host, query)) {
        reply(query);
        return;
    }
    if (query->host[0] == '\0') {
        refuse(query, PARLEY_EADDR, "the host name is empty");
        return;
    }
    pthread_mutex_lock(&resolver->lock);
    status = look_up(resolver, query);
    pthread_mutex_unlock(&resolver->lock);
    if (status == PARLEY_OK)
        reply(query);
    else if (status != PARLEY_EAGAIN)
        refuse(query, status, parley_strerror(status));
}
