/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley send`: posts messages to one peer and prints one line per result, as results
 * come. Results arrive on the runtime's workers, which put them into a table under a lock;
 * the main thread waits for them there and does all the printing.
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parley.h"
#include "peers/cli/cli.h"

#define STDIN_BYTES_MAX ((size_t)64 << 20)
#define PEER_ID_MAX     128

static const char help[] =
    "parley send [options] (--url URL | PEER_ID) --type TYPE PAYLOAD...\n"
    "\n"
    "Sends each PAYLOAD, one JSON object, as a message and prints one line per result.\n"
    "The payload - is read from standard input. PEER_ID is a peer of the configuration.\n"
    "\n"
    "      --url URL            http, https, ws or wss address of a peer\n"
    "      --type TYPE          type of the messages\n"
    "      --ttl-ms N           milliseconds a message has to get its result\n"
    "      --transport WAY      auto (default), ws or http\n"
    "      --dialect DIALECT    auto (default), parley, manager or service\n"
    "      --peer-id ID         with --url: the name to address the peer by\n"
    "  -c, --config FILE        configuration, see conf/peer_service.yaml\n"
    "      --node-id ID         name that the peer knows us by\n"
    "      --set KEY=VALUE      any other setting; repeatable\n"
    "      --json               results as one JSON object per line\n"
    "  -v, --verbose            log more to stderr; twice: everything\n"
    "\n"
    "Exit codes: 0 every message was delivered (or sent, to a peer that never acknowledges);\n"
    "1 failed, 2 usage, 3 peer unreachable, 4 refused by the peer, 5 timed out: the first\n"
    "message that was not delivered decides.\n";

/* One message and what became of it. */
struct entry {
    struct send *send;
    const char *payload;
    size_t payload_len;
    bool done;
    bool printed;
    parley_result result;
    char detail[PARLEY_DETAIL_MAX];
};

struct send {
    struct cli_setup setup;
    const char *url, *peer_id, *type, *transport, *dialect;
    uint32_t ttl_ms;
    char url_id[PEER_ID_MAX + 1]; /* made from --url */
    char *input;                  /* what standard input gave */
    struct entry *entries;
    size_t entries_len;
    size_t posted;

    pthread_mutex_t lock; /* guards what follows, and the entries' results */
    pthread_cond_t changed;
    size_t results;
    uint64_t writable;
};

/* ---- Flags and payloads ---- */

static enum cli_exit take_ttl(struct send *send, const char *text)
{
    char *end = NULL;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number == 0 ||
        number > UINT32_MAX)
        return cli_fail(&send->setup, CLI_USAGE,
                        "--ttl-ms %.40s: expected a number of milliseconds", text);
    send->ttl_ms = (uint32_t)number;
    return CLI_OK;
}

static enum cli_exit take(struct send *send, int letter, char *argument)
{
    switch (letter) {
    case 'u':
        send->url = argument;
        return CLI_OK;
    case 't':
        send->type = argument;
        return CLI_OK;
    case 'T':
        return take_ttl(send, argument);
    case 'w':
        send->transport = argument;
        return CLI_OK;
    case 'd':
        send->dialect = argument;
        return CLI_OK;
    case 'p':
        send->peer_id = argument;
        return CLI_OK;
    default:
        return cli_take(&send->setup, letter, argument);
    }
}

static enum cli_exit parse(struct send *send, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_LONG_OPTIONS,
        {"url", required_argument, NULL, 'u'},
        {"type", required_argument, NULL, 't'},
        {"ttl-ms", required_argument, NULL, 'T'},
        {"transport", required_argument, NULL, 'w'},
        {"dialect", required_argument, NULL, 'd'},
        {"peer-id", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    enum cli_exit code = CLI_OK;
    int letter;

    while (code == CLI_OK &&
           (letter = getopt_long(argc, argv, CLI_SHORT_OPTIONS, options, NULL)) != -1)
        code = take(send, letter, optarg);
    if (code != CLI_OK || send->setup.help)
        return code;
    if (send->url == NULL) {
        if (send->peer_id != NULL)
            return cli_fail(&send->setup, CLI_USAGE, "--peer-id goes with --url");
        if (optind == argc)
            return cli_fail(&send->setup, CLI_USAGE, "expected --url or a peer's id");
        send->peer_id = argv[optind++];
    }
    if (send->type == NULL)
        return cli_fail(&send->setup, CLI_USAGE, "expected --type");
    return CLI_OK;
}

/* Reads standard input whole, once. */
static enum cli_exit read_input(struct send *send, size_t *ret_len)
{
    size_t len = 0, room = 65536;
    char *input = malloc(room);

    while (input != NULL) {
        len += fread(input + len, 1, room - len, stdin);
        if (len < room || room >= STDIN_BYTES_MAX)
            break;
        send->input = realloc(input, room * 2);
        if (send->input == NULL)
            free(input);
        input = send->input;
        room *= 2;
    }
    send->input = input;
    if (input == NULL)
        return cli_fail(&send->setup, CLI_FAILED, "out of memory");
    if (ferror(stdin))
        return cli_fail(&send->setup, CLI_FAILED, "standard input cannot be read");
    if (len == room)
        return cli_fail(&send->setup, CLI_USAGE,
                        "standard input: expected less than %zu bytes", room);
    while (len > 0 && strchr(" \t\r\n", input[len - 1]) != NULL)
        len--; /* an editor's last newline */
    *ret_len = len;
    return CLI_OK;
}

static enum cli_exit take_payloads(struct send *send, int len, char **payloads)
{
    if (len < 1)
        return cli_fail(&send->setup, CLI_USAGE, "expected a payload");
    send->entries = calloc((size_t)len, sizeof(*send->entries));
    if (send->entries == NULL)
        return cli_fail(&send->setup, CLI_FAILED, "out of memory");
    send->entries_len = (size_t)len;
    for (int i = 0; i < len; i++) {
        struct entry *entry = &send->entries[i];

        entry->send = send;
        entry->payload = payloads[i];
        entry->payload_len = strlen(payloads[i]);
        if (strcmp(payloads[i], "-") != 0)
            continue;
        if (send->input != NULL)
            return cli_fail(&send->setup, CLI_USAGE, "standard input can be read only once");
        if (read_input(send, &entry->payload_len) != CLI_OK)
            return CLI_FAILED;
        entry->payload = send->input;
    }
    return CLI_OK;
}

/* ---- The peer ---- */

/* A name for a peer of which only the address is known: its "host:port". */
static void id_from_url(const char *url, char *id, size_t len)
{
    const char *host = strstr(url, "://");
    size_t used = 0;

    host = host != NULL ? host + 3 : url;
    for (; *host != '\0' && *host != '/' && used + 1 < len; host++) {
        if (isalnum((unsigned char)*host) || strchr(".-:_", *host) != NULL)
            id[used++] = *host;
    }
    id[used] = '\0';
    if (used == 0) /* the library says what is wrong with such an address */
        snprintf(id, len, "peer");
}

static enum cli_exit find_entry(const struct send *send, parley_peer_entry *ret_entry)
{
    const parley_options *options = send->setup.options;

    for (size_t i = 0; i < options->peers_len; i++) {
        if (strcmp(options->peers[i].id, send->peer_id) == 0) {
            *ret_entry = options->peers[i];
            return CLI_OK;
        }
    }
    return cli_fail(&send->setup, CLI_USAGE, "no peer \"%.128s\" in the configuration",
                    send->peer_id);
}

static enum cli_exit apply_transport(const struct send *send, parley_peer_options *options)
{
    if (send->transport == NULL || strcmp(send->transport, "auto") == 0)
        return CLI_OK;
    if (strcmp(send->transport, "ws") == 0)
        options->preference = PARLEY_WEBSOCKET_ONLY;
    else if (strcmp(send->transport, "http") == 0)
        options->preference = PARLEY_HTTP_ONLY;
    else
        return cli_fail(&send->setup, CLI_USAGE,
                        "--transport %.40s: expected auto, ws or http", send->transport);
    options->preference_set = true;
    return CLI_OK;
}

static enum cli_exit apply_dialect(const struct send *send, parley_peer_options *options)
{
    static const char *const names[] = {
        [PARLEY_DIALECT_AUTO] = "auto",
        [PARLEY_DIALECT_PARLEY] = "parley",
        [PARLEY_DIALECT_MANAGER] = "manager",
        [PARLEY_DIALECT_SERVICE] = "service",
    };

    if (send->dialect == NULL)
        return CLI_OK;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], send->dialect) == 0) {
            options->dialect = (parley_dialect)i;
            return CLI_OK;
        }
    }
    return cli_fail(&send->setup, CLI_USAGE,
                    "--dialect %.40s: expected auto, parley, manager or service",
                    send->dialect);
}

static enum cli_exit make_entry(struct send *send, parley_peer_entry *ret_entry)
{
    parley_peer_entry entry = {.url = send->url};
    enum cli_exit code = CLI_OK;

    parley_peer_options_init(&entry.options);
    if (send->url == NULL) {
        code = find_entry(send, &entry);
    } else {
        id_from_url(send->url, send->url_id, sizeof(send->url_id));
        entry.id = send->peer_id != NULL ? send->peer_id : send->url_id;
    }
    if (code == CLI_OK)
        code = apply_transport(send, &entry.options);
    if (code == CLI_OK)
        code = apply_dialect(send, &entry.options);
    *ret_entry = entry;
    return code;
}

/* ---- Results ---- */

/* Runs on a worker. */
static void take_result(const parley_result *result, void *user)
{
    struct entry *entry = user;
    struct send *send = entry->send;

    pthread_mutex_lock(&send->lock);
    entry->result = *result;
    snprintf(entry->detail, sizeof(entry->detail), "%s", result->detail);
    entry->result.detail = entry->detail;
    entry->done = true;
    send->results++;
    pthread_cond_signal(&send->changed);
    pthread_mutex_unlock(&send->lock);
}

/* Runs on a worker. */
static void take_writable(parley_peer peer, void *user)
{
    struct send *send = user;

    (void)peer;
    pthread_mutex_lock(&send->lock);
    send->writable++;
    pthread_cond_signal(&send->changed);
    pthread_mutex_unlock(&send->lock);
}

/* Prints what has come since; the lock is held, which at most delays a worker. */
static void print_results(struct send *send)
{
    for (size_t i = 0; i < send->posted; i++) {
        struct entry *entry = &send->entries[i];

        if (!entry->done || entry->printed)
            continue;
        cli_print_result(i + 1, &entry->result, send->setup.json);
        entry->printed = true;
    }
    fflush(stdout);
}

static void show_progress(const struct send *send)
{
    if (isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO))
        fprintf(stderr, "\r%zu of %zu results%s", send->results, send->entries_len,
                send->results == send->entries_len ? "\n" : "");
}

/* Every accepted message has exactly one result, at the latest when its time is over. */
static void wait_results(struct send *send)
{
    size_t shown = 0;

    pthread_mutex_lock(&send->lock);
    for (;;) {
        if (send->results != shown) {
            shown = send->results;
            print_results(send);
            show_progress(send);
        }
        if (send->results == send->posted)
            break;
        pthread_cond_wait(&send->changed, &send->lock);
    }
    pthread_mutex_unlock(&send->lock);
}

/* ---- Sending ---- */

/* Posts one message, waiting while the mailbox is full. */
static parley_status post_one(struct send *send, parley *runtime, parley_peer peer,
                              struct entry *entry)
{
    parley_message message;

    parley_message_init(&message, send->type, entry->payload, entry->payload_len);
    message.ttl_ms = send->ttl_ms;
    for (;;) {
        uint64_t seen;
        parley_status status;

        pthread_mutex_lock(&send->lock);
        seen = send->writable + send->results;
        pthread_mutex_unlock(&send->lock);
        status = parley_send(runtime, peer, &message, take_result, entry, NULL);
        if (status != PARLEY_EAGAIN)
            return status;
        pthread_mutex_lock(&send->lock);
        while (send->writable + send->results == seen)
            pthread_cond_wait(&send->changed, &send->lock);
        pthread_mutex_unlock(&send->lock);
    }
}

static enum cli_exit post_all(struct send *send, parley *runtime, parley_peer peer)
{
    for (size_t i = 0; i < send->entries_len; i++) {
        parley_status status = post_one(send, runtime, peer, &send->entries[i]);

        if (status == PARLEY_EINVAL)
            return cli_fail(
                &send->setup, CLI_USAGE,
                "message %zu: expected a type of 1 to 64 characters of A-Z a-z 0-9 "
                ". _ : - and a payload that is one JSON object",
                i + 1);
        if (status != PARLEY_OK)
            return cli_fail(&send->setup, status == PARLEY_ETOOBIG ? CLI_USAGE : CLI_FAILED,
                            "message %zu: %s", i + 1, parley_strerror(status));
        send->posted++;
    }
    return CLI_OK;
}

static enum cli_exit exchange(struct send *send, parley *runtime, const char *id)
{
    parley_peer peer;
    parley_status status = parley_peer_find(runtime, id, &peer);
    enum cli_exit code;

    if (status == PARLEY_OK)
        status = parley_on_writable(runtime, take_writable, send);
    if (status != PARLEY_OK)
        return cli_fail(&send->setup, CLI_FAILED, "%s: %s", id, parley_strerror(status));
    code = post_all(send, runtime, peer);
    wait_results(send);
    for (size_t i = 0; i < send->posted && code == CLI_OK; i++)
        code = cli_outcome_exit(send->entries[i].result.outcome);
    return code;
}

static enum cli_exit run(struct send *send)
{
    char error[CLI_ERROR_MAX] = "";
    parley_options *options = send->setup.options;
    parley_peer_entry entry;
    parley *runtime = NULL;
    parley_status status;
    enum cli_exit code = make_entry(send, &entry);

    if (code != CLI_OK)
        return code;
    options->peers = &entry;
    options->peers_len = 1;
    options->workers = 1;
    options->listen_host = NULL; /* a node may be running with the same configuration */
    status = parley_open(options, error, sizeof(error), &runtime);
    if (status != PARLEY_OK)
        return cli_fail(&send->setup, status == PARLEY_EURL ? CLI_USAGE : CLI_FAILED, "%s",
                        error[0] != '\0' ? error : parley_strerror(status));
    code = exchange(send, runtime, entry.id);
    parley_close(runtime);
    return code;
}

enum cli_exit cli_send(int argc, char **argv)
{
    struct send send = {.setup.command = argv[0],
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .changed = PTHREAD_COND_INITIALIZER};
    enum cli_exit code = parse(&send, argc, argv);

    if (code == CLI_OK && send.setup.help) {
        fputs(help, stdout);
        return cli_finish(&send.setup, CLI_OK);
    }
    if (code == CLI_OK)
        code = take_payloads(&send, argc - optind, argv + optind);
    if (code == CLI_OK)
        code = cli_load(&send.setup);
    if (code == CLI_OK)
        code = run(&send);
    cli_unload(&send.setup);
    free(send.entries);
    free(send.input);
    return cli_finish(&send.setup, code);
}
