/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley serve`: runs a node until SIGINT or SIGTERM, then finishes what it accepted. A
 * second signal ends the waiting.
 */
#include <stdio.h>
#include <string.h>

#include "parley.h"
#include "peers/cli/cli.h"
#include "peers/cli/node.h"
#include "peers/cli/watch.h"

#define DRAIN_MS       10000
#define DRAIN_SLICE_MS 100

static const char help[] =
    "parley serve: run a node that accepts messages of every type\n"
    "\n" NODE_HELP
    "      --json            say where it listens as one line of JSON\n" CLI_COMMON_HELP "\n"
    "Once it accepts it prints \"listening on http://HOST:PORT\". It runs until SIGINT or\n"
    "SIGTERM, waits up to 10 s for messages under way (a second signal ends that), and exits\n"
    "with 0, or 1 when some were left without a result. SIGHUP has it read configuration and\n"
    "keys again: security.identity_file, security.trusted_keys_dir and its peers' public_key\n"
    "take effect, all of them, or none where anything is wrong. The rest\n"
    "waits for a restart.\n";

struct serve {
    struct cli_setup setup;
    struct node_flags node;
};

static enum cli_exit parse(struct serve *serve, int argc, char **argv)
{
    static const struct option options[] = {NODE_LONG_OPTIONS, {NULL, 0, NULL, 0}};
    enum cli_exit code = CLI_OK;
    int letter;

    while (code == CLI_OK && (letter = cli_next_flag(&serve->setup, argc, argv,
                                                     CLI_SHORT_OPTIONS, options)) != -1)
        code = node_take(&serve->node, &serve->setup, letter, optarg);
    if (code == CLI_OK && !serve->setup.help && optind < argc)
        return cli_fail(&serve->setup, CLI_USAGE, "unexpected \"%.80s\"", argv[optind]);
    return code;
}

static parley_verdict accept_message(const parley_incoming *message, char *detail, void *user)
{
    (void)message;
    (void)detail;
    (void)user;
    return PARLEY_ACCEPT;
}

/* Drains in slices, so that a second signal is seen. */
static enum cli_exit drain(const struct cli_setup *setup, parley *runtime,
                           const struct watch *watch)
{
    size_t left = 0;

    for (unsigned waited = 0; waited < DRAIN_MS; waited += DRAIN_SLICE_MS) {
        if (parley_drain(runtime, DRAIN_SLICE_MS, &left) == PARLEY_OK)
            return CLI_OK;
        if (watch_wait(watch, -1, 0) & WATCH_SIGNAL)
            break;
    }
    return cli_fail(setup, CLI_FAILED, "%zu message(s) left without a result", left);
}

/* Whatever goes wrong is said, and the node goes on as it was. */
static void reload(const struct cli_setup *setup, parley *runtime)
{
    struct cli_setup again = *setup;
    char error[CLI_ERROR_MAX] = "";
    parley_status status;

    again.config = NULL;
    if (node_load(&again) != CLI_OK) {
        cli_fail(setup, CLI_FAILED, "nothing is reloaded");
        return;
    }
    status = parley_reload_keys(runtime, again.options, error, sizeof(error));
    if (status != PARLEY_OK)
        cli_fail(setup, CLI_FAILED, "%s; nothing is reloaded", error);
    else if (setup->json)
        puts("{\"event\":\"reloaded\"}");
    else
        puts("reloaded");
    fflush(stdout);
    cli_unload(&again);
}

static void wait_for_the_end(const struct cli_setup *setup, parley *runtime,
                             const struct watch *watch)
{
    unsigned seen;

    do {
        seen = watch_wait(watch, -1, -1);
        if (seen & WATCH_HANGUP)
            reload(setup, runtime);
    } while (!(seen & WATCH_SIGNAL));
}

static enum cli_exit run(const struct cli_setup *setup)
{
    struct watch watch = WATCH_CLOSED;
    parley *runtime = NULL;
    enum cli_exit code;

    if (!watch_open(&watch) || !watch_take_hangup(&watch))
        return cli_fail(setup, CLI_FAILED, "no file descriptors left");
    setup->options->on_message = accept_message; /* before anybody can connect */
    code = node_open(setup, &runtime);
    if (code == CLI_OK)
        code = node_announce(setup, runtime, stdout);
    if (code == CLI_OK) {
        wait_for_the_end(setup, runtime, &watch);
        code = drain(setup, runtime, &watch);
    }
    parley_close(runtime);
    watch_close(&watch);
    return code;
}

enum cli_exit cli_serve(int argc, char **argv)
{
    struct serve serve = {.setup.command = argv[0]};
    enum cli_exit code = parse(&serve, argc, argv);

    if (code != CLI_OK)
        return code;
    if (serve.setup.help) {
        fputs(help, stdout);
        return cli_finish(&serve.setup, CLI_OK);
    }
    code = node_load(&serve.setup);
    if (code == CLI_OK)
        code = run(&serve.setup);
    cli_unload(&serve.setup);
    return code;
}
