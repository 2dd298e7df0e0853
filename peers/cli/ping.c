/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley ping`: asks a peer again and again whether it is there, over HTTP and WebSocket,
 * as ping(8) does. Answers arrive on workers, which fill in the question's slot and ring
 * the bell; the main thread asks, prints and counts.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "parley.h"
#include "peers/cli/cli.h"
#include "peers/cli/ping_report.h"
#include "peers/cli/target.h"
#include "peers/cli/watch.h"

#define SLOTS 512 /* questions under way; when there are more, the next one waits */

#define INTERVAL_MS 1000
#define TIMEOUT_MS  5000

static const char help[] =
    "parley ping [options] (--url URL | PEER_ID)\n"
    "\n"
    "Asks a peer whether it is there: over HTTP by GET of its /health, over WebSocket by a\n"
    "ping on its connection. Prints one line per answer, and statistics at the end, which\n"
    "Ctrl-C brings. PEER_ID is a peer of the configuration.\n"
    "\n"
    "      --url URL         http, https, ws or wss address of a peer\n"
    "      --peer-id ID      with --url: the name to address the peer by\n"
    "  -n, --count N         ask N times; default: until Ctrl-C (-c names a configuration,\n"
    "                        as with every command)\n"
    "  -i, --interval S      seconds between questions, 0.01 to 3600; default: 1\n"
    "  -W, --timeout S       seconds to wait for an answer, connecting included, 0.001 to\n"
    "                        3600; default: 5\n"
    "      --transport WAY   ws, http, both, or auto (default): what the peer "
    "permits\n" TARGET_PEER_HELP "  -q, --quiet           only the statistics\n"
    "      --json            one JSON object per answer, and per transport at the "
    "end\n" CLI_COMMON_HELP "\n"
    "The first answer over WebSocket includes the time to connect. Exit codes: 0 every\n"
    "question was answered; 1 some were lost; 2 usage; 3 none was answered; 4 each was\n"
    "refused: an answer that says no, or no transport is permitted.\n";

enum { WAY_HTTP, WAY_WEBSOCKET, WAYS };

static const parley_transport transports[WAYS] = {
    [WAY_HTTP] = PARLEY_TRANSPORT_HTTP,
    [WAY_WEBSOCKET] = PARLEY_TRANSPORT_WEBSOCKET,
};

/* One question, and its answer once it has come. */
struct slot {
    struct ping *ping;
    struct slot *next;
    int way;
    struct ping_answer answer;
};

struct ping {
    struct cli_setup setup;
    struct target_flags target;
    struct targets targets;
    uint32_t count; /* 0: no end */
    uint32_t interval_ms, timeout_ms;
    bool quiet;
    bool closed; /* what has no answer by now is pending, not lost */
    struct watch watch;
    bool used[WAYS]; /* transports that are asked */
    struct ping_tally tallies[WAYS];
    struct slot slots[SLOTS];
    struct slot *unused;
    size_t flying;

    pthread_mutex_t lock; /* guards what follows */
    struct slot *done;
    struct slot **done_end;
};

/* ---- Flags ---- */

static enum cli_exit take(struct ping *ping, int letter, char *argument)
{
    switch (letter) {
    case 'n':
        return cli_number(&ping->setup, "--count", argument, 1, "a number from 1",
                          &ping->count);
    case 'i':
        return cli_seconds(&ping->setup, "--interval", argument, 0.01, 3600,
                           &ping->interval_ms);
    case 'W':
        return cli_seconds(&ping->setup, "--timeout", argument, 0.001, 3600,
                           &ping->timeout_ms);
    case 'q':
        ping->quiet = true;
        return CLI_OK;
    default:
        return target_take(&ping->target, &ping->setup, letter, argument);
    }
}

static enum cli_exit parse(struct ping *ping, int argc, char **argv)
{
    static const struct option options[] = {
        TARGET_LONG_OPTIONS,
        {"count", required_argument, NULL, 'n'},
        {"interval", required_argument, NULL, 'i'},
        {"timeout", required_argument, NULL, 'W'},
        {"quiet", no_argument, NULL, 'q'},
        {NULL, 0, NULL, 0},
    };
    enum cli_exit code = CLI_OK;
    int letter;

    while (code == CLI_OK &&
           (letter = cli_next_flag(&ping->setup, argc, argv, "n:i:W:q" CLI_SHORT_OPTIONS,
                                   options)) != -1)
        code = take(ping, letter, optarg);
    if (code != CLI_OK || ping->setup.help)
        return code;
    if (ping->target.urls_len > 1)
        return cli_fail(&ping->setup, CLI_USAGE, "--url can be given once");
    if (ping->target.urls_len == 0) {
        if (ping->target.peer_id != NULL)
            return cli_fail(&ping->setup, CLI_USAGE, "--peer-id goes with --url");
        if (optind == argc)
            return cli_fail(&ping->setup, CLI_USAGE, "expected --url or a peer's id");
        ping->target.peer_id = argv[optind++];
    }
    if (optind < argc)
        return cli_fail(&ping->setup, CLI_USAGE, "unexpected \"%.80s\"", argv[optind]);
    return CLI_OK;
}

/* ---- Questions ---- */

/* Runs on a worker. */
static void take_pong(const parley_pong *pong, void *user)
{
    struct slot *slot = user;
    struct ping *ping = slot->ping;

    slot->answer.status = pong->status;
    slot->answer.http_code = pong->http_code;
    slot->answer.latency_ns = pong->latency_ns;
    snprintf(slot->answer.detail, sizeof(slot->answer.detail), "%s", pong->detail);
    slot->next = NULL;
    pthread_mutex_lock(&ping->lock);
    *ping->done_end = slot;
    ping->done_end = &slot->next;
    pthread_mutex_unlock(&ping->lock);
    watch_ring(&ping->watch);
}

static struct slot *collect(struct ping *ping)
{
    struct slot *slot;

    pthread_mutex_lock(&ping->lock);
    slot = ping->done;
    if (slot != NULL) {
        ping->done = slot->next;
        if (ping->done == NULL)
            ping->done_end = &ping->done;
    }
    pthread_mutex_unlock(&ping->lock);
    return slot;
}

static parley_status ask(struct ping *ping, parley *runtime, parley_peer peer, int way,
                         uint32_t sequence)
{
    struct slot *slot = ping->unused;
    parley_status status;

    ping->unused = slot->next;
    slot->way = way;
    slot->answer.peer = ping->targets.entries[0].id;
    slot->answer.transport = transports[way];
    slot->answer.sequence = sequence;
    status = parley_ping(runtime, peer, transports[way], ping->timeout_ms, take_pong, slot);
    if (status == PARLEY_OK) {
        ping->tallies[way].sent++;
        ping->flying++;
        return PARLEY_OK;
    }
    slot->next = ping->unused;
    ping->unused = slot;
    return status;
}

/* ---- Lines and statistics ---- */

static void print_answers(struct ping *ping)
{
    struct slot *slot;

    while ((slot = collect(ping)) != NULL) {
        bool stopped = ping->closed && slot->answer.status == PARLEY_ECLOSED;

        if (stopped)
            ping->tallies[slot->way].pending++;
        else
            ping_count(&ping->tallies[slot->way], &slot->answer);
        if (!stopped && !ping->quiet)
            ping_print_answer(&slot->answer, ping->setup.json);
        slot->next = ping->unused;
        ping->unused = slot;
        ping->flying--;
    }
    fflush(stdout);
}

static enum cli_exit print_statistics(const struct ping *ping)
{
    uint32_t sent = 0, answered = 0, refused = 0;

    if (!ping->setup.json)
        printf("%s--- %s ping statistics ---\n", ping->quiet ? "" : "\n",
               ping->targets.entries[0].id);
    for (int way = 0; way < WAYS; way++) {
        if (!ping->used[way])
            continue;
        ping_print_tally(transports[way], &ping->tallies[way], ping->setup.json);
        sent += ping->tallies[way].sent - ping->tallies[way].pending;
        answered += ping->tallies[way].answered;
        refused += ping->tallies[way].refused;
    }
    if (answered > 0)
        return answered == sent ? CLI_OK : CLI_FAILED;
    return refused > 0 && refused == sent ? CLI_REFUSED : CLI_UNREACHABLE;
}

/* ---- Running ---- */

/* After the first question: only now is known which transports are permitted. */
static void print_head(const struct ping *ping)
{
    const parley_peer_entry *entry = &ping->targets.entries[0];
    bool http = ping->used[WAY_HTTP], websocket = ping->used[WAY_WEBSOCKET];

    if (ping->setup.json || ping->quiet)
        return;
    printf("PING %s (%s) over %s%s%s\n", entry->id, entry->url, http ? "http" : "",
           http && websocket ? " and " : "", websocket ? "websocket" : "");
    fflush(stdout);
}

/* Asks once over each transport. One that the peer forbids is left out from now on. */
static enum cli_exit ask_all(struct ping *ping, parley *runtime, parley_peer peer,
                             uint32_t sequence)
{
    bool used = false;

    for (int way = 0; way < WAYS; way++) {
        parley_status status = PARLEY_OK;

        if (ping->used[way])
            status = ask(ping, runtime, peer, way, sequence);
        if (status == PARLEY_EREFUSED) {
            ping->used[way] = false;
            if (ping->target.way != TARGET_WAY_AUTO)
                cli_fail(&ping->setup, CLI_REFUSED,
                         "%s: its preference or dialect forbids pings over %s",
                         ping->targets.entries[0].id, cli_transport_name(transports[way]));
        } else if (status != PARLEY_OK) {
            return cli_fail(&ping->setup, CLI_FAILED, "%s", parley_strerror(status));
        }
        used = used || ping->used[way];
    }
    if (!used && ping->target.way == TARGET_WAY_AUTO)
        cli_fail(&ping->setup, CLI_REFUSED, "%s: no transport is permitted",
                 ping->targets.entries[0].id);
    return used ? CLI_OK : CLI_REFUSED;
}

static bool room_to_ask(const struct ping *ping)
{
    return ping->flying + WAYS <= SLOTS;
}

/* Asks at its time and prints what comes, until the count is reached and the last answer
 * is there, or a signal comes. */
static enum cli_exit exchange(struct ping *ping, parley *runtime, parley_peer peer)
{
    int64_t next_ms = watch_now_ms();
    uint32_t sequence = 0;
    enum cli_exit code = CLI_OK;

    for (;;) {
        bool more = ping->count == 0 || sequence < ping->count;
        int64_t left_ms = next_ms - watch_now_ms();
        bool waits = more && room_to_ask(ping);

        if (waits && left_ms <= 0) {
            code = ask_all(ping, runtime, peer, ++sequence);
            if (code != CLI_OK)
                return code;
            if (sequence == 1)
                print_head(ping);
            next_ms += ping->interval_ms;
            if (next_ms < watch_now_ms())
                next_ms = watch_now_ms(); /* what was missed is not made up for */
            continue;
        }
        if (!more && ping->flying == 0)
            return CLI_OK;
        if (watch_wait(&ping->watch, -1, waits ? (int)left_ms : -1) & WATCH_SIGNAL)
            return CLI_OK;
        print_answers(ping);
    }
}

static enum cli_exit run(struct ping *ping)
{
    enum target_way way = ping->target.way;
    parley *runtime = NULL;
    parley_peer peer;
    parley_status status;
    enum cli_exit code;

    ping->used[WAY_HTTP] = way != TARGET_WAY_WEBSOCKET;
    ping->used[WAY_WEBSOCKET] = way != TARGET_WAY_HTTP;
    if (!watch_open(&ping->watch))
        return cli_fail(&ping->setup, CLI_FAILED, "no file descriptors left");
    code = targets_open(&ping->targets, &ping->setup, &runtime);
    if (code == CLI_OK) {
        status = parley_peer_find(runtime, ping->targets.entries[0].id, &peer);
        code = status == PARLEY_OK
                   ? exchange(ping, runtime, peer)
                   : cli_fail(&ping->setup, CLI_FAILED, "%s", parley_strerror(status));
        parley_close(runtime);
        ping->closed = true;
        print_answers(ping); /* what was under way when a signal came */
        if (code == CLI_OK)
            code = print_statistics(ping);
    }
    watch_close(&ping->watch);
    return code;
}

static void init(struct ping *ping, const char *command)
{
    *ping = (struct ping){.setup.command = command,
                          .target.both_allowed = true,
                          .interval_ms = INTERVAL_MS,
                          .timeout_ms = TIMEOUT_MS,
                          .watch = WATCH_CLOSED,
                          .lock = PTHREAD_MUTEX_INITIALIZER};
    ping->done_end = &ping->done;
    for (size_t i = 0; i < SLOTS; i++) {
        ping->slots[i].ping = ping;
        ping->slots[i].next = ping->unused;
        ping->unused = &ping->slots[i];
    }
}

enum cli_exit cli_ping(int argc, char **argv)
{
    struct ping ping;
    enum cli_exit code;

    init(&ping, argv[0]);
    code = parse(&ping, argc, argv);
    if (code != CLI_OK)
        return code;
    if (ping.setup.help) {
        fputs(help, stdout);
        return cli_finish(&ping.setup, CLI_OK);
    }
    code = cli_load(&ping.setup);
    if (code == CLI_OK)
        code = targets_find_one(&ping.targets, &ping.target, &ping.setup);
    if (code == CLI_OK)
        code = run(&ping);
    targets_free(&ping.targets);
    cli_unload(&ping.setup);
    return cli_finish(&ping.setup, code);
}
