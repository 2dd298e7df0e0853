/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley broadcast`: posts one message to every peer of the configuration, or to several
 * addresses, and prints one line per peer as results come, then a summary.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parley.h"
#include "peers/cli/cli.h"
#include "peers/cli/outbox.h"
#include "peers/cli/payload.h"
#include "peers/cli/target.h"

#define EXCEPT_MAX 64

enum broadcast_flag {
    FLAG_TYPE = CLI_FLAG_COMMAND,
    FLAG_TTL,
    FLAG_FILE,
    FLAG_EXCEPT,
};

static const char help[] =
    "parley broadcast [options] --type TYPE PAYLOAD\n"
    "\n"
    "Sends PAYLOAD, one JSON object, to every peer of the configuration, and prints one line\n"
    "per peer and a summary. The payload - is read from standard input.\n"
    "\n"
    "      --url URL         a peer's address; repeatable, and then these peers only\n"
    "      --except ID       leave this peer out; repeatable\n"
    "      --type TYPE       type of the message\n"
    "      --file FILE       the payload is the content of FILE, - for standard input\n"
    "      --ttl-ms N        milliseconds the message has to get its results\n"
    "      --transport WAY   auto (default), ws or http\n" TARGET_PEER_HELP
    "  -q, --quiet           print only peers that did not get it, and the summary\n"
    "      --json            one JSON object per peer, and one as the "
    "summary\n" CLI_COMMON_HELP "\n"
    "A peer without url connects to a node and cannot be reached by a command: it counts as\n"
    "unreachable. Ctrl-C gives up what is under way. Exit codes: 0 every peer got it, else\n"
    "the highest of the peers' codes: 3 unreachable, 4 refused, 5 timed out; 1 failed, 2\n"
    "usage.\n";

struct broadcast {
    struct cli_setup setup;
    struct target_flags target;
    struct targets targets;
    struct payloads payloads;
    struct outbox outbox;
    const char *except[EXCEPT_MAX];
    size_t except_len;
    const char *type;
    uint32_t ttl_ms;
    bool quiet;
    parley_message message;
    size_t without_url;
    enum cli_exit worst;
};

/* ---- Flags ---- */

static enum cli_exit take(struct broadcast *broadcast, int letter, char *argument)
{
    switch (letter) {
    case FLAG_TYPE:
        broadcast->type = argument;
        return CLI_OK;
    case FLAG_TTL:
        return cli_number(&broadcast->setup, "--ttl-ms", argument, 1,
                          "a number of milliseconds", &broadcast->ttl_ms);
    case FLAG_FILE:
        return payloads_add_file(&broadcast->payloads, argument);
    case FLAG_EXCEPT:
        if (broadcast->except_len == EXCEPT_MAX)
            return cli_fail(&broadcast->setup, CLI_USAGE, "--except can be given %d times",
                            EXCEPT_MAX);
        broadcast->except[broadcast->except_len++] = argument;
        return CLI_OK;
    case 'q':
        broadcast->quiet = true;
        return CLI_OK;
    default:
        return target_take(&broadcast->target, &broadcast->setup, letter, argument);
    }
}

static enum cli_exit parse(struct broadcast *broadcast, int argc, char **argv)
{
    static const struct option options[] = {
        TARGET_LONG_OPTIONS,
        {"type", required_argument, NULL, FLAG_TYPE},
        {"ttl-ms", required_argument, NULL, FLAG_TTL},
        {"file", required_argument, NULL, FLAG_FILE},
        {"except", required_argument, NULL, FLAG_EXCEPT},
        {"quiet", no_argument, NULL, 'q'},
        {NULL, 0, NULL, 0},
    };
    const struct cli_setup *setup = &broadcast->setup;
    enum cli_exit code = payloads_init(&broadcast->payloads, setup, (size_t)argc);
    int letter;

    while (code == CLI_OK &&
           (letter = cli_next_flag(setup, argc, argv, "q" CLI_SHORT_OPTIONS, options)) != -1)
        code = take(broadcast, letter, optarg);
    if (code != CLI_OK || setup->help)
        return code;
    while (code == CLI_OK && optind < argc)
        code = payloads_add_text(&broadcast->payloads, argv[optind++]);
    if (code != CLI_OK)
        return code;
    if (broadcast->target.peer_id != NULL)
        return cli_fail(setup, CLI_USAGE, "--peer-id goes with one --url; see send");
    if (broadcast->type == NULL)
        return cli_fail(setup, CLI_USAGE, "expected --type");
    if (broadcast->payloads.sources_len != 1)
        return cli_fail(setup, CLI_USAGE, "expected one payload, found %zu",
                        broadcast->payloads.sources_len);
    return CLI_OK;
}

/* ---- Whom ---- */

static bool is_left_out(const struct broadcast *broadcast, const char *id)
{
    for (size_t i = 0; i < broadcast->except_len; i++) {
        if (strcmp(broadcast->except[i], id) == 0)
            return true;
    }
    return false;
}

/* Takes --except's peers out; each must be one of those addressed. */
static enum cli_exit leave_out(struct broadcast *broadcast)
{
    struct targets *targets = &broadcast->targets;
    size_t kept = 0;

    for (size_t i = 0; i < broadcast->except_len; i++) {
        size_t at = 0;

        while (at < targets->len && strcmp(targets->entries[at].id, broadcast->except[i]) != 0)
            at++;
        if (at == targets->len)
            return cli_fail(&broadcast->setup, CLI_USAGE, "--except %.128s: no such peer",
                            broadcast->except[i]);
    }
    for (size_t i = 0; i < targets->len; i++) {
        if (!is_left_out(broadcast, targets->entries[i].id))
            targets->entries[kept++] = targets->entries[i];
    }
    targets->len = kept;
    return CLI_OK;
}

/* ---- Results ---- */

static void print_result(struct broadcast *broadcast, const char *id,
                         const parley_result *result)
{
    enum cli_exit code = cli_outcome_exit(result->outcome);
    char members[TARGET_ID_MAX + 16];

    if (code > broadcast->worst)
        broadcast->worst = code;
    if (code == CLI_OK && broadcast->quiet)
        return;
    snprintf(members, sizeof(members), "\"peer\":\"%s\"", id);
    cli_print_result(id, members, result, "", broadcast->setup.json);
    fflush(stdout);
}

static void collect(struct broadcast *broadcast)
{
    struct ticket *ticket;

    while ((ticket = outbox_collect(&broadcast->outbox)) != NULL) {
        print_result(broadcast, broadcast->targets.entries[ticket->number - 1].id,
                     &ticket->result);
        outbox_done(&broadcast->outbox, ticket);
    }
}

/* A peer that only a node can reach gets a line as the others do. */
static void print_without_url(struct broadcast *broadcast, const char *id)
{
    const parley_result result = {.size = sizeof(result),
                                  .outcome = PARLEY_EXHAUSTED,
                                  .detail = "has no url: only a node can reach it"};

    broadcast->without_url++;
    print_result(broadcast, id, &result);
}

static void print_summary(const struct broadcast *broadcast)
{
    struct outbox_counts counts = broadcast->outbox.counts;
    bool json = broadcast->setup.json;

    counts.of[PARLEY_EXHAUSTED] += broadcast->without_url;
    counts.all += broadcast->without_url;
    printf(json ? "{\"event\":\"summary\",\"peers\":%zu" : "%zu peer", counts.all);
    if (!json && counts.all != 1)
        putchar('s');
    for (int outcome = PARLEY_DELIVERED; outcome <= PARLEY_CANCELLED; outcome++) {
        const char *name = parley_outcome_name((parley_outcome)outcome);

        if (json)
            printf(",\"%s\":%zu", name, counts.of[outcome]);
        else if (counts.of[outcome] > 0)
            printf(", %zu %s", counts.of[outcome], name);
    }
    puts(json ? "}" : "");
}

/* ---- Sending ---- */

/* Reads the one payload. */
static enum cli_exit read_payload(struct broadcast *broadcast)
{
    for (;;) {
        enum payload_state state =
            payloads_next(&broadcast->payloads, &broadcast->message.payload,
                          &broadcast->message.payload_len);

        if (state == PAYLOAD_READY)
            return CLI_OK;
        if (state != PAYLOAD_READ)
            return CLI_USAGE;
        if (payloads_read(&broadcast->payloads) != CLI_OK)
            return CLI_FAILED;
    }
}

/* Posts to one peer, waiting while the runtime is full. @return false: a signal came */
static bool post(struct broadcast *broadcast, parley *runtime, size_t at,
                 parley_status *status)
{
    parley_peer peer;

    *status = parley_peer_find(runtime, broadcast->targets.entries[at].id, &peer);
    while (*status == PARLEY_OK) {
        while (!outbox_ready(&broadcast->outbox)) {
            if (outbox_wait(&broadcast->outbox, -1) & WATCH_SIGNAL)
                return false;
            collect(broadcast);
        }
        *status =
            outbox_post(&broadcast->outbox, runtime, peer, &broadcast->message, at + 1, 0);
        if (*status != PARLEY_EAGAIN)
            return true;
        *status = PARLEY_OK;
    }
    return true;
}

static enum cli_exit exchange(struct broadcast *broadcast, parley *runtime)
{
    struct targets *targets = &broadcast->targets;

    for (size_t i = 0; i < targets->len; i++) {
        parley_status status;

        if (targets->entries[i].url == NULL) {
            print_without_url(broadcast, targets->entries[i].id);
            continue;
        }
        if (!post(broadcast, runtime, i, &status))
            return CLI_FAILED;
        if (status != PARLEY_OK)
            return payloads_refused(&broadcast->payloads, 1, status);
        collect(broadcast);
    }
    while (broadcast->outbox.flying > 0) {
        if (outbox_wait(&broadcast->outbox, -1) & WATCH_SIGNAL)
            return CLI_FAILED;
        collect(broadcast);
    }
    return CLI_OK;
}

static enum cli_exit start(struct broadcast *broadcast, parley *runtime)
{
    enum cli_exit code = target_check_type(&broadcast->setup, runtime, broadcast->type);
    parley_status status;

    if (code != CLI_OK)
        return code;
    status = outbox_attach(&broadcast->outbox, runtime);
    if (status != PARLEY_OK)
        return cli_fail(&broadcast->setup, CLI_FAILED, "%s", parley_strerror(status));
    parley_message_init(&broadcast->message, broadcast->type, NULL, 0);
    broadcast->message.ttl_ms = broadcast->ttl_ms;
    return read_payload(broadcast);
}

static enum cli_exit run(struct broadcast *broadcast)
{
    parley *runtime = NULL;
    enum cli_exit code =
        outbox_init(&broadcast->outbox, &broadcast->setup, broadcast->targets.len + 1);

    if (code == CLI_OK)
        code = targets_open(&broadcast->targets, &broadcast->setup, &runtime);
    if (code == CLI_OK)
        code = start(broadcast, runtime);
    if (code == CLI_OK)
        code = exchange(broadcast, runtime);
    parley_close(runtime);
    collect(broadcast); /* what was cancelled by a signal */
    if (code == CLI_OK || broadcast->outbox.counts.all + broadcast->without_url > 0)
        print_summary(broadcast);
    outbox_fini(&broadcast->outbox);
    return code != CLI_OK ? code : broadcast->worst;
}

enum cli_exit cli_broadcast(int argc, char **argv)
{
    struct broadcast broadcast = {.setup.command = argv[0]};
    enum cli_exit code = parse(&broadcast, argc, argv);

    if (code == CLI_OK && broadcast.setup.help) {
        fputs(help, stdout);
        payloads_free(&broadcast.payloads);
        return cli_finish(&broadcast.setup, CLI_OK);
    }
    if (code == CLI_OK)
        code = cli_load(&broadcast.setup);
    if (code == CLI_OK) {
        payloads_bound(&broadcast.payloads, broadcast.setup.options);
        code = targets_find_all(&broadcast.targets, &broadcast.target, &broadcast.setup);
    }
    if (code == CLI_OK)
        code = leave_out(&broadcast);
    if (code == CLI_OK)
        code = payloads_open(&broadcast.payloads);
    if (code == CLI_OK)
        code = run(&broadcast);
    targets_free(&broadcast.targets);
    payloads_free(&broadcast.payloads);
    cli_unload(&broadcast.setup);
    return cli_finish(&broadcast.setup, code);
}
