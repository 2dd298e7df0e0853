/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley send`: posts messages to one peer and prints one line per result, as results
 * come. Payloads are read, posted and forgotten one by one, so that a stream of any length
 * takes the same memory; a full mailbox holds back the reading.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parley.h"
#include "peers/cli/cli.h"
#include "peers/cli/outbox.h"
#include "peers/cli/payload.h"
#include "peers/cli/progress.h"
#include "peers/cli/target.h"

#define TICKETS     1024 /* as many as may be in flight by default */
#define PROGRESS_MS 200
#define MIB         1048576.0

enum send_flag {
    FLAG_TYPE = CLI_FLAG_COMMAND,
    FLAG_TTL,
    FLAG_FILE,
    FLAG_LINES,
};

static const char help[] =
    "parley send [options] (--url URL | PEER_ID) --type TYPE PAYLOAD...\n"
    "\n"
    "Sends each PAYLOAD, one JSON object, as a message and prints one line per result.\n"
    "The payload - is read from standard input. PEER_ID is a peer of the configuration.\n"
    "\n"
    "      --url URL         http, https, ws or wss address of a peer\n"
    "      --peer-id ID      with --url: the name to address the peer by; one that checks\n"
    "                        signatures takes only what is signed for its own name\n"
    "      --type TYPE       type of the messages\n"
    "      --file FILE       a payload that is the content of FILE, - for standard input;\n"
    "                        repeatable, and in order with the other payloads\n"
    "      --lines           each line of the one --file, or of standard input, is a payload\n"
    "                        (JSON Lines); it is sent as it is read, blank lines are passed\n"
    "                        over, a full mailbox holds back the reading, and results\n"
    "                        name the line\n"
    "      --ttl-ms N        milliseconds a message has to get its result, a large file\n"
    "                        included; default: transport.ttl_ms, a minute\n"
    "      --transport WAY   auto (default), ws or http\n" TARGET_PEER_HELP
    "  -q, --quiet           print only messages that were not delivered\n"
    "      --json            results as one JSON object per line\n" CLI_COMMON_HELP "\n"
    "A payload longer than limits.message_bytes_max travels in chunks, up to\n"
    "limits.transfer_bytes_max; on a terminal stderr shows how far it is. On the wire it\n"
    "grows by a third: when that takes longer than a minute (50 MiB do below 1.2 MB/s) give\n"
    "--ttl-ms. An older peer gets chunks of 6 KiB, after the first ten one every 4 seconds\n"
    "unless --no-pace says that it is not limited. With -v and --json results tell the\n"
    "payload's length and SHA-256.\n"
    "Ctrl-C stops reading and gives up what is under way: those messages end as cancelled.\n"
    "Exit codes: 0 every message was delivered (or sent, to a peer that never acknowledges);\n"
    "1 failed, 2 usage, 3 peer unreachable, 4 refused by the peer, 5 timed out: the first\n"
    "message that was not delivered decides. A payload that is not one JSON object ends\n"
    "the sending with 2; those before it were sent.\n";

struct send {
    struct cli_setup setup;
    struct target_flags target;
    struct targets targets;
    struct payloads payloads;
    struct outbox outbox;
    const char *type;
    uint32_t ttl_ms;
    bool quiet;
    parley_message message; /* the next one */
    size_t posted;
    size_t failed;               /* number of the first that was not delivered; 0: none */
    enum cli_exit failed_code;   /* what it asks for */
    int64_t progress_ms;         /* when it was last shown */
    struct progress_bar bar;     /* of the message in chunks that is under way */
    struct outbox_progress told; /* of it */
};

/* ---- Flags ---- */

static enum cli_exit take(struct send *send, int letter, char *argument)
{
    switch (letter) {
    case 1: /* not a flag: the peer's id comes first, unless there is --url */
        return payloads_add_text(&send->payloads, argument);
    case FLAG_FILE:
        return payloads_add_file(&send->payloads, argument);
    case FLAG_TYPE:
        send->type = argument;
        return CLI_OK;
    case FLAG_TTL:
        return cli_number(&send->setup, "--ttl-ms", argument, 1, "a number of milliseconds",
                          &send->ttl_ms);
    case FLAG_LINES:
        send->payloads.lines = true;
        return CLI_OK;
    case 'q':
        send->quiet = true;
        return CLI_OK;
    default:
        return target_take(&send->target, &send->setup, letter, argument);
    }
}

/* The first word is the peer's id when no address is given. */
static enum cli_exit take_peer_id(struct send *send)
{
    struct payloads *payloads = &send->payloads;
    size_t at = 0;

    if (send->target.urls_len > 1)
        return cli_fail(&send->setup, CLI_USAGE, "--url can be given once; see broadcast");
    if (send->target.urls_len == 1)
        return CLI_OK;
    if (send->target.peer_id != NULL)
        return cli_fail(&send->setup, CLI_USAGE, "--peer-id goes with --url");
    while (at < payloads->sources_len && payloads->sources[at].text == NULL)
        at++; /* --file before the id */
    if (at == payloads->sources_len)
        return cli_fail(&send->setup, CLI_USAGE, "expected --url or a peer's id");
    send->target.peer_id = payloads->sources[at].text;
    payloads->sources_len--;
    memmove(&payloads->sources[at], &payloads->sources[at + 1],
            (payloads->sources_len - at) * sizeof(payloads->sources[0]));
    return CLI_OK;
}

static enum cli_exit check_payloads(struct send *send)
{
    struct payloads *payloads = &send->payloads;

    if (payloads->lines && payloads->sources_len == 0)
        return payloads_add_file(payloads, "-");
    if (payloads->sources_len == 0 && send->target.urls_len == 0)
        return cli_fail(&send->setup, CLI_USAGE,
                        "expected --url or a peer's id, and a payload; found only \"%.40s\"",
                        send->target.peer_id);
    if (payloads->sources_len == 0)
        return cli_fail(&send->setup, CLI_USAGE, "expected a payload");
    if (payloads->lines && (payloads->sources_len > 1 || payloads->sources[0].text != NULL))
        return cli_fail(&send->setup, CLI_USAGE,
                        "--lines reads one --file, or standard input, and nothing else");
    return CLI_OK;
}

static enum cli_exit parse(struct send *send, int argc, char **argv)
{
    static const struct option options[] = {
        TARGET_LONG_OPTIONS,
        {"type", required_argument, NULL, FLAG_TYPE},
        {"ttl-ms", required_argument, NULL, FLAG_TTL},
        {"file", required_argument, NULL, FLAG_FILE},
        {"lines", no_argument, NULL, FLAG_LINES},
        {"quiet", no_argument, NULL, 'q'},
        {NULL, 0, NULL, 0},
    };
    enum cli_exit code = payloads_init(&send->payloads, &send->setup, (size_t)argc);
    int letter;

    while (code == CLI_OK && (letter = cli_next_flag(&send->setup, argc, argv,
                                                     "-q" CLI_SHORT_OPTIONS, options)) != -1)
        code = take(send, letter, optarg);
    while (code == CLI_OK && optind < argc) /* what follows a "--" */
        code = payloads_add_text(&send->payloads, argv[optind++]);
    if (code == CLI_OK && !send->setup.help)
        code = take_peer_id(send);
    if (code == CLI_OK && !send->setup.help && send->type == NULL)
        return cli_fail(&send->setup, CLI_USAGE, "expected --type");
    return code == CLI_OK && !send->setup.help ? check_payloads(send) : code;
}

/* ---- Results ---- */

static void print_result(struct send *send, const struct ticket *ticket)
{
    char label[64], members[96], more[64 + DIGEST_TEXT] = "";

    if (ticket->line == 0) {
        snprintf(label, sizeof(label), "message %zu", ticket->number);
        snprintf(members, sizeof(members), "\"message\":%zu", ticket->number);
    } else {
        snprintf(label, sizeof(label), "line %zu", ticket->line);
        snprintf(members, sizeof(members), "\"message\":%zu,\"line\":%zu", ticket->number,
                 ticket->line);
    }
    if (ticket->sha256[0] != '\0')
        snprintf(more, sizeof(more),
                 send->setup.json ? ",\"bytes\":%zu,\"sha256\":\"%s\""
                                  : ", %zu bytes, sha256 %s",
                 ticket->bytes, ticket->sha256);
    progress_clear(&send->bar);
    cli_print_result(label, members, &ticket->result, more, send->setup.json);
}

static void show_progress(struct send *send, bool last)
{
    int64_t now_ms = watch_now_ms();

    if (!isatty(STDERR_FILENO) || isatty(STDOUT_FILENO) ||
        (!last && now_ms - send->progress_ms < PROGRESS_MS))
        return;
    send->progress_ms = now_ms;
    fprintf(stderr, "\r%zu of %zu results%s", send->outbox.counts.all, send->posted,
            last ? "\n" : "");
}

/* Of a message in chunks. */
static void show_transfer(struct send *send)
{
    struct outbox_progress progress;

    if (!outbox_progress(&send->outbox, &progress))
        return;
    send->told = progress;
    progress_show(&send->bar, progress.number, progress.acknowledged, progress.bytes);
}

/* A large file may be on its way as it should, and need longer than other messages. */
static void explain_expiry(const struct send *send, const struct ticket *ticket)
{
    if (ticket->result.outcome == PARLEY_EXPIRED && ticket->number == send->told.number)
        fprintf(stderr,
                "parley send: message %zu: %.1f of %.1f MiB were acknowledged when its time "
                "was up; --ttl-ms gives it more\n",
                ticket->number, (double)send->told.acknowledged / MIB,
                (double)send->told.bytes / MIB);
}

/* Prints what has come since. */
static void collect(struct send *send)
{
    struct ticket *ticket;
    bool printed = false;

    show_transfer(send);
    while ((ticket = outbox_collect(&send->outbox)) != NULL) {
        enum cli_exit code = cli_outcome_exit(ticket->result.outcome);

        if (code != CLI_OK && (send->failed == 0 || ticket->number < send->failed)) {
            send->failed = ticket->number;
            send->failed_code = code;
        }
        if (code != CLI_OK || !send->quiet)
            print_result(send, ticket);
        explain_expiry(send, ticket);
        printed = true;
        outbox_done(&send->outbox, ticket);
    }
    if (!printed)
        return;
    fflush(stdout);
    show_progress(send, false);
}

/* ---- Sending ---- */

/* One step of the reading side: takes the next payload or posts the one that waits.
 * @return PAYLOAD_READY: go on; PAYLOAD_READ: wait, for input too; PAYLOAD_END, _FAILED */
static enum payload_state step(struct send *send, parley *runtime, parley_peer peer,
                               enum cli_exit *ret_code)
{
    struct payloads *payloads = &send->payloads;
    parley_status status;

    if (send->message.payload == NULL) {
        enum payload_state state =
            payloads_next(payloads, &send->message.payload, &send->message.payload_len);

        if (state == PAYLOAD_FAILED)
            *ret_code = CLI_USAGE;
        if (state != PAYLOAD_READY)
            return state;
    }
    status = outbox_post(&send->outbox, runtime, peer, &send->message, send->posted + 1,
                         payloads->lines ? payloads->line : 0);
    if (status == PARLEY_EAGAIN)
        return PAYLOAD_READY; /* the mailbox is full, and the outbox says so */
    if (status != PARLEY_OK) {
        *ret_code = payloads_refused(payloads, send->posted + 1, status);
        return PAYLOAD_FAILED;
    }
    send->posted++;
    send->message.payload = NULL;
    return PAYLOAD_READY;
}

/* Reads, posts and prints until every message has its result, or a signal comes. */
static enum cli_exit exchange(struct send *send, parley *runtime, parley_peer peer)
{
    enum payload_state state = PAYLOAD_READY;
    enum cli_exit code = CLI_OK;

    for (;;) {
        unsigned seen;

        collect(send);
        if (state == PAYLOAD_READY && outbox_ready(&send->outbox)) {
            state = step(send, runtime, peer, &code);
            continue;
        }
        if (state >= PAYLOAD_END && send->outbox.flying == 0)
            return code;
        seen = outbox_wait(&send->outbox,
                           state == PAYLOAD_READ ? payloads_file(&send->payloads) : -1);
        if (seen & WATCH_SIGNAL)
            return code;
        if (seen & WATCH_INPUT) {
            code = payloads_read(&send->payloads);
            state = code == CLI_OK ? PAYLOAD_READY : PAYLOAD_FAILED;
        }
    }
}

static enum cli_exit start(struct send *send, parley *runtime, parley_peer *ret_peer)
{
    enum cli_exit code = target_check_type(&send->setup, runtime, send->type);
    parley_status status;

    if (code != CLI_OK)
        return code;
    status = parley_peer_find(runtime, send->targets.entries[0].id, ret_peer);
    if (status == PARLEY_OK)
        status = outbox_attach(&send->outbox, runtime);
    if (status != PARLEY_OK)
        return cli_fail(&send->setup, CLI_FAILED, "%s", parley_strerror(status));
    parley_message_init(&send->message, send->type, NULL, 0);
    send->message.ttl_ms = send->ttl_ms;
    return CLI_OK;
}

static enum cli_exit run(struct send *send)
{
    parley *runtime = NULL;
    parley_peer peer = {0};
    enum cli_exit code = outbox_init(&send->outbox, &send->setup, TICKETS);

    send->outbox.digest = send->setup.json || send->setup.verbose > 0;
    progress_init(&send->bar);
    if (code == CLI_OK)
        code = targets_open(&send->targets, &send->setup, &runtime);
    if (code == CLI_OK)
        code = start(send, runtime, &peer);
    if (code == CLI_OK)
        code = exchange(send, runtime, peer);
    parley_close(runtime);
    collect(send); /* what was cancelled by a signal */
    progress_clear(&send->bar);
    if (send->posted > 0)
        show_progress(send, true);
    outbox_fini(&send->outbox);
    return code != CLI_OK ? code : send->failed_code;
}

enum cli_exit cli_send(int argc, char **argv)
{
    struct send send = {.setup.command = argv[0]};
    enum cli_exit code = parse(&send, argc, argv);

    if (code == CLI_OK && send.setup.help) {
        fputs(help, stdout);
        payloads_free(&send.payloads);
        return cli_finish(&send.setup, CLI_OK);
    }
    if (code == CLI_OK)
        code = cli_load(&send.setup);
    if (code == CLI_OK) {
        payloads_bound(&send.payloads, send.setup.options);
        code = targets_find_one(&send.targets, &send.target, &send.setup);
    }
    if (code == CLI_OK)
        code = payloads_open(&send.payloads);
    if (code == CLI_OK)
        code = run(&send);
    targets_free(&send.targets);
    payloads_free(&send.payloads);
    cli_unload(&send.setup);
    return cli_finish(&send.setup, code);
}
