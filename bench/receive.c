/* SPDX-License-Identifier: Apache-2.0
 *
 * parley-bench receive (hidden): the receiving node, a process of its own. Prints its port,
 * serves until its standard input ends, and dies with its parent. A byte there is a request
 * (commands.h): reset all connections, or have handlers answer later.
 *
 * The handler's books are one cache line per (peer, thread) of the sender. A peer's session
 * is handled by one worker at a time, so each line has one writer; GET /stats adds them up
 * on whichever worker answers it, hence relaxed atomics.
 */
#include <dirent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench/commands.h"
#include "bench/journal.h"
#include "bench/options.h"
#include "bench/payload.h"
#include "bench/security.h"
#include "bench/usage.h"
#include "parley.h"

#define RECEIVE_BIND_TRIES 100 /* 100 ms apart: the port of a node that was just killed */

struct book {
    _Alignas(64) _Atomic(uint64_t) last; /* 0: nothing seen yet */
    _Atomic(uint64_t) handled, twice, violations, hash_sum;
};

struct receiver {
    uint64_t peers, threads, port, workers, nodes;
    parley_security security; /* what these ask for, where there are several */
    bool midway;              /* the sender began before this process did */
    bool no_websocket;        /* answer upgrades with 404 */
    bool keeps_journal;
    struct journal journal;
    struct book *books;
    _Atomic(uint64_t) strange; /* payloads that are not ours */
    _Atomic(bool) owes;        /* a hint; under the lock, as the next ones, for certain */
    pthread_mutex_t lock;
    parley_token *owed;
    size_t owed_len, owed_capacity;
};

/* relaxed, all: one writer at a time, and the session's owner hands over with its queues;
   readers want a number, nothing it publishes. */
static uint64_t get(const _Atomic(uint64_t) *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add(_Atomic(uint64_t) *counter, uint64_t more)
{
    atomic_store_explicit(counter, get(counter) + more, memory_order_relaxed);
}

/* ---- answers that come later ---- */

/* @return whether it will be answered by answer_all() */
static bool owe(struct receiver *receiver, parley_token token)
{
    /* relaxed: a hint, which spares others the lock. */
    if (!atomic_load_explicit(&receiver->owes, memory_order_relaxed))
        return false;
    pthread_mutex_lock(&receiver->lock);
    bool owed = atomic_load_explicit(&receiver->owes, memory_order_relaxed);
    if (owed && receiver->owed_len == receiver->owed_capacity) {
        size_t capacity = receiver->owed_capacity * 2 + 1024;
        parley_token *more = realloc(receiver->owed, capacity * sizeof(*more));
        owed = more != NULL;
        if (more != NULL) {
            receiver->owed = more;
            receiver->owed_capacity = capacity;
        }
    }
    if (owed)
        receiver->owed[receiver->owed_len++] = token;
    pthread_mutex_unlock(&receiver->lock);
    return owed;
}

static size_t set_owing(struct receiver *receiver, parley *node, bool owes)
{
    pthread_mutex_lock(&receiver->lock);
    atomic_store_explicit(&receiver->owes, owes, memory_order_relaxed);
    size_t answered = owes ? 0 : receiver->owed_len;
    for (size_t i = 0; i < answered; i++)
        parley_message_finish(node, receiver->owed[i], PARLEY_OK, NULL);
    receiver->owed_len -= answered;
    pthread_mutex_unlock(&receiver->lock);
    return answered;
}

static parley_verdict handle(const parley_incoming *message, char *detail, void *user)
{
    struct receiver *receiver = user;
    struct payload_key key;
    (void)detail;
    if (!payload_parse(message->payload, message->payload_len, &key) ||
        key.peer >= receiver->peers || key.thread >= receiver->threads) {
        /* relaxed: a counter, read by figures() only. */
        atomic_fetch_add_explicit(&receiver->strange, 1, memory_order_relaxed);
        return PARLEY_REJECT;
    }
    struct book *book = &receiver->books[key.peer * receiver->threads + key.thread];
    uint64_t last = get(&book->last);
    bool first = last == 0 && receiver->midway;
    uint64_t hash = payload_hash(message->payload, message->payload_len);
    if (receiver->keeps_journal)
        journal_ran(&receiver->journal, key, hash, message->redelivered);
    add(&book->handled, 1);
    add(&book->hash_sum, hash);
    if (key.number <= last)
        add(&book->twice, 1);
    else if (key.number != last + 1 && !first)
        add(&book->violations, 1);
    if (key.number > last)
        add(&book->last, key.number - last);
    return owe(receiver, message->token) ? PARLEY_LATER : PARLEY_ACCEPT;
}

static size_t figures(char *buffer, size_t len, void *user)
{
    struct receiver *receiver = user;
    uint64_t handled = 0, twice = 0, violations = 0, hash_sum = 0;
    for (uint64_t i = 0; i < receiver->peers * receiver->threads; i++) {
        handled += get(&receiver->books[i].handled);
        twice += get(&receiver->books[i].twice);
        violations += get(&receiver->books[i].violations);
        hash_sum += get(&receiver->books[i].hash_sum);
    }
    int written =
        snprintf(buffer, len,
                 "\"handled\":%" PRIu64 ",\"handled_twice\":%" PRIu64
                 ",\"order_violations\":%" PRIu64 ",\"payload_hash_sum\":\"%016" PRIx64
                 "\",\"strange\":%" PRIu64 ",\"cpu_s\":%.6f,\"rss_kb\":%" PRIu64,
                 handled, twice, violations, hash_sum, get(&receiver->strange), usage_cpu_s(),
                 usage_rss_kb());
    return written > 0 && (size_t)written < len ? (size_t)written : 0;
}

static void print_log(parley_log_level level, const char *line, void *user)
{
    (void)level;
    (void)user;
    fprintf(stderr, "receiver: %s\n", line);
}

/* The sender, who connects to us. */
static parley_status add_sender(const struct receiver *receiver, parley *node)
{
    parley_peer_options options;
    struct security_other other;
    parley_peer peer;
    parley_peer_options_init(&options);
    if (!security_peer(receiver->security, SECURITY_SENDER, &other, &options))
        return PARLEY_ENOMEM;
    return parley_peer_add(node, SECURITY_SENDER, NULL, &options, &peer);
}

/* @param index which of several nodes; they have one worker each */
static parley_status open_node(struct receiver *receiver, uint64_t index, char *error,
                               size_t error_len, parley **ret_node)
{
    parley_options options;
    struct security_self self;
    char name[SECURITY_NAME_MAX];
    parley_options_init(&options);
    options.node_id = "bench-receiver";
    options.listen_host = "127.0.0.1";
    options.listen_port = (uint32_t)receiver->port;
    options.workers = (uint32_t)receiver->workers;
    options.accept_websocket = !receiver->no_websocket;
    uint32_t room = (uint32_t)receiver->peers + 64;
    if (options.guests_max < room)
        options.guests_max = room;
    if (options.connections_max < 2 * room)
        options.connections_max = 2 * room;
    options.on_message = handle; /* a restarted receiver is known to its senders at once */
    options.on_message_user = receiver;
    options.log = print_log;
    options.log_level = PARLEY_LOG_ERROR;
    if (receiver->nodes > 0) {
        security_peer_name((uint32_t)index, name);
        options.node_id = name;
        options.workers = 1;
        security_node(receiver->security, name, &self, &options);
    }
    parley_status status;
    unsigned tries = 0;
    const struct timespec pause = {.tv_nsec = 100000000};
    while ((status = parley_open(&options, error, error_len, ret_node)) == PARLEY_EADDRINUSE &&
           receiver->port != 0 && ++tries < RECEIVE_BIND_TRIES)
        nanosleep(&pause, NULL);
    if (status == PARLEY_OK && receiver->security != PARLEY_SECURITY_OFF)
        status = add_sender(receiver, *ret_node);
    return status;
}

/* ---- resets, as a network does them ---- */

static bool is_accepted(int fd, uint16_t port)
{
    struct sockaddr_in here = {0}, there;
    socklen_t here_len = sizeof(here), there_len = sizeof(there);
    return getsockname(fd, (struct sockaddr *)&here, &here_len) == 0 &&
           here.sin_family == AF_INET && ntohs(here.sin_port) == port &&
           getpeername(fd, (struct sockaddr *)&there, &there_len) == 0;
}

/* Connecting to nowhere resets a TCP connection at once, and drops what it held both ways;
   the node, which owns the descriptor, finds out as it would of any reset. By syscall(), as
   the network asks nobody either: to ThreadSanitizer connect() is a race with the owner. */
static unsigned cut_connections(uint16_t port)
{
    const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] != '.' && is_accepted(fd, port))
            count += syscall(SYS_connect, fd, &nowhere, sizeof(nowhere)) == 0;
    }
    if (directory)
        closedir(directory);
    return count;
}

static void do_as_asked(struct receiver *receiver, parley *node, char request)
{
    if (request == RECEIVE_CUT)
        printf("cut %u\n", cut_connections(parley_port(node)));
    else
        printf("answered %zu\n", set_owing(receiver, node, request == RECEIVE_OWE));
    fflush(stdout);
}

static bool open_and_tell(struct receiver *receiver, uint64_t index, parley **ret_node)
{
    char error[512] = "";
    parley_status status = open_node(receiver, index, error, sizeof(error), ret_node);
    if (status == PARLEY_OK)
        status = parley_on_stats(*ret_node, figures, receiver);
    if (status != PARLEY_OK) {
        fprintf(stderr, "parley-bench: receiver: %s %s\n", parley_strerror(status), error);
        return false;
    }
    printf("port %u\n", (unsigned)parley_port(*ret_node));
    fflush(stdout);
    return true;
}

static int serve(struct receiver *receiver)
{
    uint64_t nodes = receiver->nodes > 0 ? receiver->nodes : 1, opened = 0;
    parley **node = calloc(nodes, sizeof(*node));
    while (node && opened < nodes && open_and_tell(receiver, opened, &node[opened]))
        opened++;
    bool good = opened == nodes;
    char byte;
    while (good && read(STDIN_FILENO, &byte, 1) > 0)
        do_as_asked(receiver, node[0], byte);
    for (uint64_t i = 0; i < opened; i++)
        parley_close(node[i]);
    free(node);
    free(receiver->owed);
    return good ? EXIT_OK : EXIT_FAILED;
}

int command_receive(int argc, char **argv)
{
    const char *security = "off";
    struct receiver receiver = {.peers = 100, .threads = 1, .lock = PTHREAD_MUTEX_INITIALIZER};
    const struct option_spec specs[] = {
        {"peers", "N", OPTION_NUMBER, &receiver.peers, 1, 100000, "peers of the sender"},
        {"threads", "T", OPTION_NUMBER, &receiver.threads, 1, 256, "threads that post there"},
        {"port", "PORT", OPTION_NUMBER, &receiver.port, 0, 65535, "0: any"},
        {"workers", "N", OPTION_NUMBER, &receiver.workers, 0, 256, "0: one per CPU"},
        {"nodes", "N", OPTION_NUMBER, &receiver.nodes, 0, 1000,
         "of names of their own; 0: one"},
        {"security", "off|signed|sealed", OPTION_TEXT, &security, 0, 0, "what these ask for"},
        {"midway", NULL, OPTION_FLAG, &receiver.midway, 0, 0, "any first number is right"},
        {"no-websocket", NULL, OPTION_FLAG, &receiver.no_websocket, 0, 0, "refuse upgrades"},
        {"journal", NULL, OPTION_FLAG, &receiver.keeps_journal, 0, 0, "a descriptor's"},
    };
    int code = options_parse("usage: parley-bench receive [OPTIONS]\n\nThe receiving node.\n",
                             specs, sizeof(specs) / sizeof(specs[0]), argc, argv);
    if (code >= 0)
        return code;
    if (!security_parse(security, &receiver.security))
        return options_wrong("--security: expected off, signed or sealed, not \"%s\"",
                             security);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (receiver.keeps_journal && !journal_open(&receiver.journal, RECEIVE_JOURNAL_FD)) {
        perror("parley-bench: receiver: journal");
        return EXIT_FAILED;
    }
    usage_raise_descriptors();
    receiver.books =
        aligned_alloc(64, receiver.peers * receiver.threads * sizeof(struct book));
    if (!receiver.books)
        return EXIT_FAILED;
    memset(receiver.books, 0, receiver.peers * receiver.threads * sizeof(struct book));
    code = serve(&receiver);
    free(receiver.books);
    journal_close(&receiver.journal);
    return code;
}
