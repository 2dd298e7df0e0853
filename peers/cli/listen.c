/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley listen`: a node that prints the messages it gets. Workers copy each message into
 * a bounded queue and answer "later"; the main thread prints it and then acknowledges it, so
 * that what a sender is told was delivered has been written. A full queue holds up the
 * worker, and with it the senders.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "parley.h"
#include "peers/cli/cli.h"
#include "peers/cli/node.h"
#include "peers/cli/watch.h"

#define TYPES_MAX       32
#define QUEUE_BYTES_MAX ((size_t)64 << 20)
#define SETTLE_STEP_MS  20
#define SETTLE_MIN_MS   100
#define SETTLE_MAX_MS   1000
#define ENDED           "the listener has ended"

enum listen_flag {
    FLAG_TYPE = CLI_FLAG_COMMAND,
    FLAG_REJECT,
    FLAG_FULL,
    FLAG_DIGEST,
};

static const char help[] =
    "parley listen: run a node that prints the messages it gets, one line each\n"
    "\n" NODE_HELP
    "      --type TYPE       print messages of this type only, the others are accepted\n"
    "                        unseen; repeatable\n"
    "  -n, --count N         end after N messages; those behind them are refused\n"
    "      --reject TEXT     refuse what is printed, for this reason\n"
    "      --full            payloads in full; otherwise cut to the terminal's width\n"
    "      --digest          instead of payloads, their length and SHA-256\n"
    "      --json            one JSON object per message and line\n" CLI_COMMON_HELP "\n"
    "A line: time, sender, type, session#number (- without), transport, payload. Where it\n"
    "listens is said on stderr. A message is acknowledged once its line is written. Ctrl-C\n"
    "ends it, and so does the end of the program that reads its output: exit code 0. Exit\n"
    "codes: 1 failed, 2 usage.\n";

/* One message, copied; its texts follow it in the same allocation. */
struct item {
    struct item *next;
    size_t bytes;
    parley_incoming message;
    struct timespec received;
};

struct listen {
    struct cli_setup setup;
    struct node_flags node;
    const char *types[TYPES_MAX];
    size_t types_len;
    uint32_t count; /* 0: no end */
    const char *reject;
    bool full;
    bool digest;
    struct watch watch;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t drained;
    struct item *items;
    struct item **items_end;
    size_t bytes;
    bool taken;   /* something was */
    bool closing; /* nothing is taken any more */
};

/* ---- Flags ---- */

static enum cli_exit take(struct listen *listen, int letter, char *argument)
{
    switch (letter) {
    case FLAG_TYPE:
        if (listen->types_len == TYPES_MAX)
            return cli_fail(&listen->setup, CLI_USAGE, "--type can be given %d times",
                            TYPES_MAX);
        listen->types[listen->types_len++] = argument;
        return CLI_OK;
    case 'n':
        return cli_number(&listen->setup, "--count", argument, 1, "a number from 1",
                          &listen->count);
    case FLAG_REJECT:
        if (argument[0] == '\0' || strlen(argument) >= PARLEY_DETAIL_MAX)
            return cli_fail(&listen->setup, CLI_USAGE,
                            "--reject: expected a reason of 1 to %d bytes",
                            PARLEY_DETAIL_MAX - 1);
        listen->reject = argument;
        return CLI_OK;
    case FLAG_FULL:
        listen->full = true;
        return CLI_OK;
    case FLAG_DIGEST:
        listen->digest = true;
        return CLI_OK;
    default:
        return node_take(&listen->node, &listen->setup, letter, argument);
    }
}

static enum cli_exit parse(struct listen *listen, int argc, char **argv)
{
    static const struct option options[] = {
        NODE_LONG_OPTIONS,
        {"type", required_argument, NULL, FLAG_TYPE},
        {"count", required_argument, NULL, 'n'},
        {"reject", required_argument, NULL, FLAG_REJECT},
        {"full", no_argument, NULL, FLAG_FULL},
        {"digest", no_argument, NULL, FLAG_DIGEST},
        {NULL, 0, NULL, 0},
    };
    enum cli_exit code = CLI_OK;
    int letter;

    while (code == CLI_OK && (letter = cli_next_flag(&listen->setup, argc, argv,
                                                     "n:" CLI_SHORT_OPTIONS, options)) != -1)
        code = take(listen, letter, optarg);
    if (code == CLI_OK && !listen->setup.help && optind < argc)
        return cli_fail(&listen->setup, CLI_USAGE, "unexpected \"%.80s\"", argv[optind]);
    return code;
}

/* ---- From the workers ---- */

static bool is_wanted(const struct listen *listen, const char *type)
{
    for (size_t i = 0; i < listen->types_len; i++) {
        if (strcmp(listen->types[i], type) == 0)
            return true;
    }
    return listen->types_len == 0;
}

/* Copies a text behind the item. */
static const char *keep(char **end, const char *text, size_t len)
{
    char *copy = *end;

    memcpy(copy, text, len);
    copy[len] = '\0';
    *end += len + 1;
    return copy;
}

static struct item *item_new(const parley_incoming *message)
{
    size_t sender = strlen(message->sender), type = strlen(message->type);
    size_t session = strlen(message->session_id), id = strlen(message->message_id);
    size_t bytes =
        sizeof(struct item) + sender + type + session + id + message->payload_len + 5;
    struct item *item = malloc(bytes);
    char *end;

    if (item == NULL)
        return NULL;
    *item = (struct item){.bytes = bytes, .message = *message};
    end = (char *)(item + 1);
    item->message.sender = keep(&end, message->sender, sender);
    item->message.type = keep(&end, message->type, type);
    item->message.session_id = keep(&end, message->session_id, session);
    item->message.message_id = keep(&end, message->message_id, id);
    item->message.payload = keep(&end, message->payload, message->payload_len);
    clock_gettime(CLOCK_REALTIME, &item->received);
    return item;
}

/* Runs on a worker. */
static parley_verdict take_message(const parley_incoming *message, char *detail, void *user)
{
    struct listen *listen = user;
    struct item *item;
    bool taken;

    if (!is_wanted(listen, message->type))
        return PARLEY_ACCEPT;
    item = item_new(message);
    if (item == NULL) {
        snprintf(detail, PARLEY_DETAIL_MAX, "out of memory");
        return PARLEY_REJECT;
    }
    pthread_mutex_lock(&listen->lock);
    while (!listen->closing && listen->bytes >= QUEUE_BYTES_MAX)
        pthread_cond_wait(&listen->drained, &listen->lock);
    taken = !listen->closing;
    if (taken) {
        listen->taken = true;
        *listen->items_end = item;
        listen->items_end = &item->next;
        listen->bytes += item->bytes;
    }
    pthread_mutex_unlock(&listen->lock);
    if (taken) {
        watch_ring(&listen->watch);
        return PARLEY_LATER;
    }
    free(item);
    snprintf(detail, PARLEY_DETAIL_MAX, "%s", ENDED);
    return PARLEY_REJECT;
}

static struct item *next_item(struct listen *listen)
{
    struct item *item;

    pthread_mutex_lock(&listen->lock);
    item = listen->items;
    if (item != NULL) {
        listen->items = item->next;
        if (listen->items == NULL)
            listen->items_end = &listen->items;
        listen->bytes -= item->bytes;
        pthread_cond_broadcast(&listen->drained);
    }
    pthread_mutex_unlock(&listen->lock);
    return item;
}

/* ---- Running ---- */

static void refuse(parley *runtime, struct item *item)
{
    parley_message_finish(runtime, item->message.token, PARLEY_EREFUSED, ENDED);
    free(item);
}

/* Writes one message, then acknowledges it. @return whether it could be written */
static bool show(const struct listen *listen, parley *runtime, struct item *item)
{
    cli_print_incoming(&item->message, &item->received, listen->setup.json, listen->full,
                       listen->digest);
    if (fflush(stdout) != 0) {
        refuse(runtime, item);
        return false;
    }
    parley_message_finish(runtime, item->message.token,
                          listen->reject != NULL ? PARLEY_EREFUSED : PARLEY_OK,
                          listen->reject);
    free(item);
    return true;
}

/* Prints until a signal, the end of the count or of the reader. */
static enum cli_exit print_all(struct listen *listen, parley *runtime)
{
    uint32_t printed = 0;

    while (listen->count == 0 || printed < listen->count) {
        struct item *item = next_item(listen);
        unsigned seen = watch_wait(&listen->watch, -1, item == NULL ? -1 : 0);

        if (seen & (WATCH_SIGNAL | WATCH_OUTPUT)) {
            if (item != NULL)
                refuse(runtime, item);
            break;
        }
        if (item == NULL)
            continue;
        if (!show(listen, runtime, item))
            return errno == EPIPE ? CLI_OK : cli_finish(&listen->setup, CLI_OK);
        printed++;
    }
    return CLI_OK;
}

/* The last answers are on their way, and closing would cut them off: gives them time, and
 * more of it to senders that are still connected. */
static void settle(struct listen *listen, parley *runtime)
{
    const int64_t start_ms = watch_now_ms();
    parley_stats stats = {.size = sizeof(stats)};
    int64_t waited_ms = 0;

    listen->watch.output = -1;
    do {
        if (watch_wait(&listen->watch, -1, SETTLE_STEP_MS) & WATCH_SIGNAL)
            return;
        if (parley_stats_get(runtime, &stats) != PARLEY_OK)
            return;
        waited_ms = watch_now_ms() - start_ms;
    } while (waited_ms < SETTLE_MIN_MS ||
             (stats.ws_connections > 0 && waited_ms < SETTLE_MAX_MS));
}

/* Takes nothing more, and refuses what nobody will see. */
static void end(struct listen *listen, parley *runtime)
{
    struct item *item;

    pthread_mutex_lock(&listen->lock);
    listen->closing = true;
    pthread_cond_broadcast(&listen->drained);
    pthread_mutex_unlock(&listen->lock);
    while ((item = next_item(listen)) != NULL)
        refuse(runtime, item);
    if (listen->taken)
        settle(listen, runtime);
}

static enum cli_exit run(struct listen *listen)
{
    parley_options *options = listen->setup.options;
    parley *runtime = NULL;
    enum cli_exit code;

    if (!watch_open(&listen->watch))
        return cli_fail(&listen->setup, CLI_FAILED, "no file descriptors left");
    listen->watch.output = STDOUT_FILENO;
    signal(SIGPIPE, SIG_IGN); /* a reader that went is an error of fflush() */
    options->on_message = take_message;
    options->on_message_user = listen;
    code = node_open(&listen->setup, &runtime);
    if (code == CLI_OK) {
        node_announce(&listen->setup, runtime, stderr);
        code = print_all(listen, runtime);
        end(listen, runtime);
    }
    parley_close(runtime);
    watch_close(&listen->watch);
    return code;
}

enum cli_exit cli_listen(int argc, char **argv)
{
    struct listen listen = {.setup.command = argv[0],
                            .watch = WATCH_CLOSED,
                            .lock = PTHREAD_MUTEX_INITIALIZER,
                            .drained = PTHREAD_COND_INITIALIZER};
    enum cli_exit code;

    listen.items_end = &listen.items;
    code = parse(&listen, argc, argv);
    if (code != CLI_OK)
        return code;
    if (listen.setup.help) {
        fputs(help, stdout);
        return cli_finish(&listen.setup, CLI_OK);
    }
    code = node_load(&listen.setup);
    if (code == CLI_OK)
        code = run(&listen);
    cli_unload(&listen.setup);
    return code;
}
