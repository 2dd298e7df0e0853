/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley serve`: runs a node until SIGINT or SIGTERM, then finishes what it accepted. A
 * second signal ends the waiting. The main thread only waits for signals, which are
 * blocked everywhere and taken with sigtimedwait(): no handler runs.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "parley.h"
#include "peers/cli/cli.h"

#define DRAIN_MS       10000
#define DRAIN_SLICE_MS 100
#define HOST_MAX       64

static const char help[] =
    "parley serve: run a node that accepts messages of every type\n"
    "\n"
    "  -c, --config FILE     configuration, see conf/peer_service.yaml\n"
    "      --listen ADDRESS  HOST:PORT to accept on; [HOST]:PORT for IPv6; port 0: any free\n"
    "                        one. Default: node.listen_host and listen_port, or 127.0.0.1\n"
    "                        and any free port\n"
    "      --no-websocket    HTTP only, in both directions\n"
    "      --node-id ID      name that peers know this node by\n"
    "      --set KEY=VALUE   any other setting, as transport.http.attempts=5; repeatable\n"
    "      --json            say where it listens as one line of JSON\n"
    "  -v, --verbose         log more to stderr; twice: everything\n"
    "\n"
    "Once it accepts it prints \"listening on http://HOST:PORT\". It runs until SIGINT or\n"
    "SIGTERM, waits up to 10 s for messages under way (a second signal ends that), and exits\n"
    "with 0, or 1 when some were left without a result.\n";

struct serve {
    struct cli_setup setup;
    char host[HOST_MAX]; /* of --listen, without brackets */
};

/* Takes --listen apart; the library judges the parts. */
static enum cli_exit take_listen(struct serve *serve, const char *address)
{
    const char *colon = strrchr(address, ':');
    const char *host = address;
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;

    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    } else if (memchr(host, ':', len) != NULL) {
        len = 0; /* IPv6 without brackets: which colon starts the port is anyone's guess */
    }
    if (len == 0 || len >= sizeof(serve->host))
        return cli_fail(&serve->setup, CLI_USAGE,
                        "--listen %.80s: expected HOST:PORT, or [HOST]:PORT for IPv6",
                        address);
    memcpy(serve->host, host, len);
    serve->host[len] = '\0';
    if (cli_override(&serve->setup, "node.listen_host", serve->host) != CLI_OK)
        return CLI_USAGE;
    return cli_override(&serve->setup, "node.listen_port", colon + 1);
}

static enum cli_exit take_no_websocket(struct cli_setup *setup)
{
    if (cli_override(setup, "node.accept_websocket", "false") != CLI_OK)
        return CLI_USAGE;
    return cli_override(setup, "transport.websocket.enabled", "false");
}

static enum cli_exit parse(struct serve *serve, int argc, char **argv)
{
    static const struct option options[] = {
        CLI_LONG_OPTIONS,
        {"listen", required_argument, NULL, 'l'},
        {"no-websocket", no_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    enum cli_exit code = CLI_OK;
    int letter;

    while (code == CLI_OK &&
           (letter = getopt_long(argc, argv, CLI_SHORT_OPTIONS, options, NULL)) != -1) {
        if (letter == 'l')
            code = take_listen(serve, optarg);
        else if (letter == 'w')
            code = take_no_websocket(&serve->setup);
        else
            code = cli_take(&serve->setup, letter, optarg);
    }
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

/* "127.0.0.1:80", "[::1]:80" */
static void write_address(const parley_options *options, unsigned port, char *buffer,
                          size_t len)
{
    bool brackets = strchr(options->listen_host, ':') != NULL;

    snprintf(buffer, len, "%s%s%s:%u", brackets ? "[" : "", options->listen_host,
             brackets ? "]" : "", port);
}

static enum cli_exit open_failed(const struct cli_setup *setup, parley_status status,
                                 const char *error)
{
    char address[HOST_MAX + 16];

    if (status == PARLEY_EADDRINUSE || status == PARLEY_EADDR) {
        write_address(setup->options, setup->options->listen_port, address, sizeof(address));
        return cli_fail(setup, CLI_FAILED, "%s: %s", address, parley_strerror(status));
    }
    return cli_fail(setup, CLI_FAILED, "%s",
                    error[0] != '\0' ? error : parley_strerror(status));
}

static enum cli_exit announce(const struct cli_setup *setup, const parley *runtime)
{
    char address[HOST_MAX + 16];

    write_address(setup->options, parley_port(runtime), address, sizeof(address));
    if (setup->json) {
        printf("{\"event\":\"listening\",\"url\":\"http://%s\",\"port\":%u,\"node_id\":",
               address, (unsigned)parley_port(runtime));
        cli_json_string(stdout, parley_node_id(runtime));
        puts("}");
    } else {
        printf("listening on http://%s\n", address);
    }
    return cli_finish(setup, CLI_OK);
}

/* Drains in slices, so that a second signal is seen. */
static enum cli_exit drain(const struct cli_setup *setup, parley *runtime,
                           const sigset_t *signals)
{
    const struct timespec at_once = {0};
    size_t left = 0;

    for (unsigned waited = 0; waited < DRAIN_MS; waited += DRAIN_SLICE_MS) {
        if (parley_drain(runtime, DRAIN_SLICE_MS, &left) == PARLEY_OK)
            return CLI_OK;
        if (sigtimedwait(signals, NULL, &at_once) > 0)
            break;
    }
    return cli_fail(setup, CLI_FAILED, "%zu message(s) left without a result", left);
}

static enum cli_exit run(const struct cli_setup *setup)
{
    char error[CLI_ERROR_MAX] = "";
    parley *runtime = NULL;
    parley_status status;
    enum cli_exit code;
    sigset_t signals;
    int seen;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);      /* before there are threads to inherit it */
    setup->options->on_message = accept_message; /* before anybody can connect */
    status = parley_open(setup->options, error, sizeof(error), &runtime);
    if (status != PARLEY_OK)
        return open_failed(setup, status, error);
    code = announce(setup, runtime);
    if (code == CLI_OK) {
        sigwait(&signals, &seen);
        code = drain(setup, runtime, &signals);
    }
    parley_close(runtime);
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
    code = cli_load(&serve.setup);
    if (code != CLI_OK)
        return code;
    if (serve.setup.options->listen_host == NULL)
        serve.setup.options->listen_host = "127.0.0.1";
    code = run(&serve.setup);
    cli_unload(&serve.setup);
    return code;
}
