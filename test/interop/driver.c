/* SPDX-License-Identifier: Apache-2.0
 *
 * A node that the interop scripts drive: `driver CONFIG.yaml` opens a runtime, does what
 * standard input says, one command a line, and tells what happens on standard output, one
 * JSON object a line. Events come from any worker; a lock keeps each line whole.
 *
 *   send PEER TYPE JSON      also send-ws, send-http: with that hint
 *   connect PEER             disconnect PEER
 *   ping PEER ws|http
 *   refuse TYPE REASON       the handler rejects this type from now on
 *   stats                    quit
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parley.h"

#define LINE_BYTES_MAX ((size_t)4 << 20)
#define PING_MS        10000

struct driver {
    parley *runtime;
    pthread_mutex_t lock; /* of standard output, and of what follows */
    char refused_type[65];
    char refused_reason[PARLEY_DETAIL_MAX];
};

/* ---- What is told ---- */

static void put_text(const char *key, const char *text)
{
    printf(",\"%s\":\"", key);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < ' ')
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static void open_line(struct driver *driver, const char *event)
{
    pthread_mutex_lock(&driver->lock);
    printf("{\"event\":\"%s\"", event);
}

static void close_line(struct driver *driver)
{
    puts("}");
    fflush(stdout);
    pthread_mutex_unlock(&driver->lock);
}

static const char *transport_name(parley_transport transport)
{
    if (transport == PARLEY_TRANSPORT_NONE)
        return "none";
    return transport == PARLEY_TRANSPORT_HTTP ? "http" : "websocket";
}

/* A message that was sent: who tells of its result, and under which name. */
struct posted {
    struct driver *driver;
    char name[65];
};

static void on_result(const parley_result *result, void *user)
{
    struct posted *posted = user;
    struct driver *driver = posted->driver;

    open_line(driver, "result");
    put_text("name", posted->name);
    put_text("outcome", parley_outcome_name(result->outcome));
    put_text("transport", transport_name(result->transport));
    printf(",\"attempts\":%" PRIu32 ",\"http_code\":%" PRIu32 ",\"maybe_duplicate\":%s",
           result->attempts, result->http_code, result->maybe_duplicate ? "true" : "false");
    put_text("detail", result->detail);
    close_line(driver);
    free(posted);
}

static parley_verdict on_message(const parley_incoming *message, char *detail, void *user)
{
    struct driver *driver = user;
    parley_verdict verdict = PARLEY_ACCEPT;

    open_line(driver, "message");
    if (strcmp(message->type, driver->refused_type) == 0) {
        snprintf(detail, PARLEY_DETAIL_MAX, "%s", driver->refused_reason);
        verdict = PARLEY_REJECT;
    }
    put_text("sender", message->sender);
    put_text("type", message->type);
    printf(",\"payload\":%.*s", (int)message->payload_len, message->payload);
    put_text("session_id", message->session_id);
    put_text("message_id", message->message_id);
    printf(",\"number\":%" PRIu64 ",\"timestamp\":%.6f", message->number, message->timestamp);
    put_text("transport", transport_name(message->transport));
    printf(",\"redelivered\":%s", message->redelivered ? "true" : "false");
    close_line(driver);
    return verdict;
}

static void on_state(parley_peer peer, const char *id, parley_peer_state state, bool healthy,
                     const char *reason, void *user)
{
    struct driver *driver = user;

    (void)peer;
    open_line(driver, "state");
    put_text("peer", id);
    put_text("state", parley_peer_state_name(state));
    printf(",\"healthy\":%s", healthy ? "true" : "false");
    put_text("reason", reason);
    close_line(driver);
}

static void on_pong(const parley_pong *pong, void *user)
{
    struct driver *driver = user;

    open_line(driver, "pong");
    put_text("transport", transport_name(pong->transport));
    put_text("status", parley_status_name(pong->status));
    printf(",\"http_code\":%" PRIu32, pong->http_code);
    put_text("detail", pong->detail);
    close_line(driver);
}

static void log_line(parley_log_level level, const char *line, void *user)
{
    (void)level;
    (void)user;
    fprintf(stderr, "driver: %s\n", line);
}

/* ---- What is asked ---- */

/* Cuts the next word off *rest. */
static char *word(char **rest)
{
    char *text = *rest, *space = strchr(text, ' ');

    if (space != NULL)
        *space = '\0';
    *rest = space != NULL ? space + 1 : text + strlen(text);
    return text;
}

static parley_status post(struct driver *driver, const char *verb, parley_peer peer,
                          char *rest)
{
    const char *type = word(&rest);
    parley_message message;
    parley_status status;
    struct posted *posted = calloc(1, sizeof(*posted));

    if (posted == NULL)
        return PARLEY_ENOMEM;
    posted->driver = driver;
    snprintf(posted->name, sizeof(posted->name), "%s", type);
    parley_message_init(&message, type, rest, strlen(rest));
    if (strcmp(verb, "send-ws") == 0)
        message.hint = PARLEY_HINT_WEBSOCKET;
    else if (strcmp(verb, "send-http") == 0)
        message.hint = PARLEY_HINT_HTTP;
    status = parley_send(driver->runtime, peer, &message, on_result, posted, NULL);
    if (status != PARLEY_OK)
        free(posted);
    return status;
}

static parley_status to_peer(struct driver *driver, const char *verb, char *rest)
{
    parley_peer peer;
    parley_status status = parley_peer_find(driver->runtime, word(&rest), &peer);

    if (status != PARLEY_OK)
        return status;
    if (strcmp(verb, "connect") == 0)
        return parley_connect(driver->runtime, peer);
    if (strcmp(verb, "disconnect") == 0)
        return parley_disconnect(driver->runtime, peer);
    if (strcmp(verb, "ping") == 0)
        return parley_ping(driver->runtime, peer,
                           strcmp(rest, "ws") == 0 ? PARLEY_TRANSPORT_WEBSOCKET
                                                   : PARLEY_TRANSPORT_HTTP,
                           PING_MS, on_pong, driver);
    return post(driver, verb, peer, rest);
}

static parley_status tell_stats(struct driver *driver)
{
    parley_stats stats;
    parley_status status;

    stats.size = sizeof(stats);
    status = parley_stats_get(driver->runtime, &stats);
    if (status != PARLEY_OK)
        return status;
    open_line(driver, "stats");
#define PUT(member, unit, description) printf(",\"" #member "\":%" PRIu64, stats.member);
    PARLEY_STATS_MAP(PUT)
#undef PUT
    close_line(driver);
    return PARLEY_OK;
}

static parley_status refuse(struct driver *driver, char *rest)
{
    const char *type = word(&rest);

    pthread_mutex_lock(&driver->lock);
    snprintf(driver->refused_type, sizeof(driver->refused_type), "%s", type);
    snprintf(driver->refused_reason, sizeof(driver->refused_reason), "%s", rest);
    pthread_mutex_unlock(&driver->lock);
    return PARLEY_OK;
}

static parley_status obey(struct driver *driver, const char *verb, char *rest)
{
    if (strcmp(verb, "stats") == 0)
        return tell_stats(driver);
    if (strcmp(verb, "refuse") == 0)
        return refuse(driver, rest);
    return to_peer(driver, verb, rest);
}

/* Tells of every command what came of it, so that scripts can wait for it. */
static void serve(struct driver *driver)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len;

    while ((len = getline(&line, &room, stdin)) > 0 && (size_t)len < LINE_BYTES_MAX) {
        char *rest = line;
        const char *verb;
        parley_status status;

        line[strcspn(line, "\n")] = '\0';
        verb = word(&rest);
        if (strcmp(verb, "quit") == 0)
            break;
        status = obey(driver, verb, rest);
        open_line(driver, "done");
        put_text("verb", verb);
        put_text("status", parley_status_name(status));
        close_line(driver);
    }
    free(line);
}

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "driver: %s: %s\n", what, why);
    return 2;
}

static int drive(parley_options *options)
{
    struct driver driver = {.lock = PTHREAD_MUTEX_INITIALIZER};
    char error[512] = "";
    parley_status status;

    options->on_message = on_message;
    options->on_message_user = &driver;
    options->log = log_line;
    status = parley_open(options, error, sizeof(error), &driver.runtime);
    if (status != PARLEY_OK)
        return fail(parley_status_name(status), error);
    parley_on_peer_state(driver.runtime, on_state, &driver);
    open_line(&driver, "ready");
    printf(",\"port\":%u", (unsigned)parley_port(driver.runtime));
    close_line(&driver);
    serve(&driver);
    return parley_close(driver.runtime) == PARLEY_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    parley_config *config;
    char error[512] = "";
    int code;

    if (argc != 2)
        return fail("usage", "driver CONFIG.yaml");
    if (parley_config_load(argv[1], error, sizeof(error), &config) != PARLEY_OK)
        return fail(argv[1], error);
    code = drive(parley_config_options(config));
    parley_config_free(config);
    return code;
}
