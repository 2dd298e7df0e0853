/* SPDX-License-Identifier: Apache-2.0
 *
 * Both ends of the receiving process: see receiver.h. Handlers run on its workers; one
 * thread answers what they put off.
 */
#include "test/faults/receiver.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "parley.h"

#define START_TIMEOUT_MS 20000
#define BIND_TRIES       500
#define LATER_MAX        65536

extern char **environ;

/* ---- in the receiving process ---- */

struct later {
    pthread_mutex_t lock;
    pthread_cond_t more;
    parley *node;
    bool stop;
    size_t first, len;
    parley_token tokens[LATER_MAX];
};

struct serving {
    struct books *books;
    uint32_t life;
    struct later later;
};

static bool put_off(struct later *later, parley_token token)
{
    pthread_mutex_lock(&later->lock);
    bool room = later->len < LATER_MAX;
    if (room) {
        later->tokens[(later->first + later->len++) % LATER_MAX] = token;
        pthread_cond_signal(&later->more);
    }
    pthread_mutex_unlock(&later->lock);
    return room;
}

static void *finish_later(void *user)
{
    struct later *later = user;

    pthread_mutex_lock(&later->lock);
    for (;;) {
        while (later->len == 0 && !later->stop)
            pthread_cond_wait(&later->more, &later->lock);
        if (later->len == 0)
            break;
        parley_token token = later->tokens[later->first];
        later->first = (later->first + 1) % LATER_MAX;
        later->len--;
        pthread_mutex_unlock(&later->lock);
        while (parley_message_finish(later->node, token, PARLEY_OK, NULL) == PARLEY_ENOMEM)
            sched_yield();
        pthread_mutex_lock(&later->lock);
    }
    pthread_mutex_unlock(&later->lock);
    return NULL;
}

/* In order is: one more than the last; and, in a new process, no later than that. */
static void note_order(struct serving *serving, struct book_key key)
{
    struct book_case *book = &serving->books->cases[key.of_case];
    uint32_t next = atomic_load(&book->next);
    bool first_here = atomic_exchange(&book->life, serving->life) != serving->life;

    if (first_here ? key.number > next : key.number != next)
        atomic_fetch_add(&book->violations, 1);
    atomic_store(&book->next, key.number + 1);
}

static void note_run(struct serving *serving, const parley_incoming *message,
                     struct book_entry *entry)
{
    uint64_t now_ns = books_now_ns();
    bool first = atomic_load(&entry->runs) == 0;

    if (first)
        atomic_store(&entry->first_ns, now_ns);
    if (!first && atomic_load(&entry->life) == serving->life)
        atomic_fetch_add(&entry->twice, 1);
    if (!first && !message->redelivered)
        atomic_fetch_add(&entry->unmarked, 1);
    atomic_store(&entry->life, serving->life);
    atomic_store(&entry->last_ns, now_ns);
    atomic_fetch_add(&entry->runs, 1);
}

static void note_address(struct books *books, const parley_incoming *message)
{
    uint64_t hash =
        books_hash(UINT64_C(0xcbf29ce484222325), message->sender, strlen(message->sender) + 1);
    uint64_t index = atomic_fetch_add(&books->runs_len, 1);

    hash = books_hash(hash, message->session_id, strlen(message->session_id));
    if (index < BOOKS_MESSAGES_MAX)
        books->runs[index] = (struct book_run){hash, message->number};
}

static parley_verdict handle(const parley_incoming *message, char *detail, void *user)
{
    struct serving *serving = user;
    struct book_entry *entry = NULL;
    struct book_key key;

    note_address(serving->books, message);
    if (books_parse(message->payload, message->payload_len, &key))
        entry = books_entry(serving->books, key);
    if (entry == NULL) {
        atomic_fetch_add(&serving->books->strange, 1);
        return PARLEY_ACCEPT;
    }
    note_order(serving, key);
    note_run(serving, message, entry);
    atomic_fetch_add(&serving->books->handled, 1);
    if (key.kind == BOOK_REJECT) {
        snprintf(detail, PARLEY_DETAIL_MAX, "no %u", key.number);
        return PARLEY_REJECT;
    }
    return key.kind == BOOK_LATER && put_off(&serving->later, message->token) ? PARLEY_LATER
                                                                              : PARLEY_ACCEPT;
}

static void to_stderr(parley_log_level level, const char *line, void *user)
{
    (void)user;
    fprintf(stderr, "[receiver %d] %s\n", (int)level, line);
}

static parley *open_node(struct serving *serving, uint16_t port)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    parley_options options;
    char error[256] = "";
    parley *node = NULL;
    parley_status status;
    unsigned tries = 0;

    parley_options_init(&options);
    options.node_id = "receiver";
    options.listen_host = "127.0.0.1";
    options.listen_port = port;
    options.workers = 2;
    options.guests_max = 1000000;
    options.heartbeat_interval_ms = 300;
    options.heartbeat_grace_ms = 300;
    options.on_message = handle;
    options.on_message_user = serving;
    if (getenv("PARLEY_TEST_LOG") != NULL) {
        options.log = to_stderr;
        options.log_level = PARLEY_LOG_DEBUG;
    }
    while ((status = parley_open(&options, error, sizeof(error), &node)) ==
               PARLEY_EADDRINUSE &&
           tries++ < BIND_TRIES)
        nanosleep(&pause, NULL);
    if (status != PARLEY_OK)
        fprintf(stderr, "receiver: %s %s\n", parley_strerror(status), error);
    return node;
}

int receiver_main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    struct serving *serving = calloc(1, sizeof(*serving));
    int books_fd = (int)strtol(argv[2], NULL, 10);
    pthread_t finisher;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (serving == NULL)
        return 2;
    pthread_mutex_init(&serving->later.lock, NULL);
    pthread_cond_init(&serving->later.more, NULL);
    serving->books =
        mmap(NULL, sizeof(struct books), PROT_READ | PROT_WRITE, MAP_SHARED, books_fd, 0);
    if (serving->books == MAP_FAILED)
        return 2;
    serving->life = atomic_load(&serving->books->life);
    serving->later.node = open_node(serving, (uint16_t)strtoul(argv[3], NULL, 10));
    if (serving->later.node == NULL ||
        pthread_create(&finisher, NULL, finish_later, &serving->later) != 0)
        return 2;
    printf("port %u\n", (unsigned)parley_port(serving->later.node));
    fflush(stdout);
    for (char byte; read(STDIN_FILENO, &byte, 1) > 0;)
        continue;
    pthread_mutex_lock(&serving->later.lock);
    serving->later.stop = true;
    pthread_cond_signal(&serving->later.more);
    pthread_mutex_unlock(&serving->later.lock);
    pthread_join(finisher, NULL);
    parley_close(serving->later.node);
    munmap(serving->books, sizeof(struct books));
    free(serving);
    return 0;
}

/* ---- in the test ---- */

static unsigned read_port(int output)
{
    char line[64] = "";
    size_t len = 0;
    struct pollfd ready = {.fd = output, .events = POLLIN};

    while (len < sizeof(line) - 1 && memchr(line, '\n', len) == NULL) {
        if (poll(&ready, 1, START_TIMEOUT_MS) != 1)
            return 0;
        ssize_t got = read(output, line + len, sizeof(line) - 1 - len);
        if (got <= 0)
            return 0;
        len += (size_t)got;
    }
    line[len] = '\0';
    return strncmp(line, "port ", 5) == 0 ? (unsigned)strtoul(line + 5, NULL, 10) : 0;
}

static bool spawn(struct receiver *receiver, int input, int output)
{
    char books[24], port[24];
    char *argv[] = {"faults", "receive", books, port, NULL};
    posix_spawn_file_actions_t actions;
    const int books_there = 3;

    snprintf(books, sizeof(books), "%d", books_there);
    snprintf(port, sizeof(port), "%u", (unsigned)receiver->port);
    posix_spawn_file_actions_init(&actions);
    bool good =
        posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, receiver->books_fd, books_there) == 0 &&
        posix_spawn(&receiver->process, "/proc/self/exe", &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return good;
}

bool receiver_restart(struct receiver *receiver)
{
    int in[2], out[2];
    unsigned port = 0;

    atomic_fetch_add(&receiver->books->life, 1);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        return false;
    bool spawned = spawn(receiver, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    if (spawned)
        port = read_port(out[0]);
    close(out[0]);
    receiver->input = in[1];
    if (port == 0)
        fputs("faults: the receiver did not start\n", stderr);
    receiver->port = (uint16_t)port;
    return port != 0;
}

bool receiver_start(struct receiver *receiver, uint32_t stride)
{
    *receiver = (struct receiver){.books_fd = memfd_create("books", MFD_CLOEXEC)};
    if (receiver->books_fd < 0 || ftruncate(receiver->books_fd, sizeof(struct books)) != 0)
        return false;
    receiver->books = mmap(NULL, sizeof(struct books), PROT_READ | PROT_WRITE, MAP_SHARED,
                           receiver->books_fd, 0);
    if (receiver->books == MAP_FAILED)
        return false;
    receiver->books->stride = stride;
    return receiver_restart(receiver);
}

void receiver_kill(struct receiver *receiver)
{
    kill(receiver->process, SIGKILL);
    waitpid(receiver->process, NULL, 0);
    close(receiver->input);
    receiver->process = 0;
}

void receiver_stop(struct receiver *receiver)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    int status = 0;
    pid_t ended = 0;

    if (receiver->process == 0)
        return;
    close(receiver->input);
    for (unsigned i = 0; i < 4000 && ended == 0; i++) {
        ended = waitpid(receiver->process, &status, WNOHANG);
        if (ended == 0)
            nanosleep(&pause, NULL);
    }
    if (ended != receiver->process) {
        fputs("faults: the receiver did not end\n", stderr);
        receiver->crashes++;
        receiver_kill(receiver);
    } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fprintf(stderr, "faults: the receiver ended with status 0x%x\n", (unsigned)status);
        receiver->crashes++;
    }
    receiver->process = 0;
}

void receiver_free(struct receiver *receiver)
{
    munmap(receiver->books, sizeof(struct books));
    close(receiver->books_fd);
}
