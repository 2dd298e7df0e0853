/* SPDX-License-Identifier: Apache-2.0
 *
 * The `parley` command as a shell meets it: real processes, real sockets on loopback, exit
 * codes and the lines they print.
 */
#include <pthread.h>

#include "test/cli/commands.h"

/* ---- Help, version, usage ---- */

static void help_and_version_go_to_stdout(void)
{
    static const char *const commands[] = {"",          "serve", "listen", "send",
                                           "broadcast", "ping",  "keygen", "config"};
    char output[OUTPUT_MAX];

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        EXPECT_EXIT(parley_run(output, "%s --help 2>&-", commands[i]), 0, output);
        CHECK_CONTAINS(output, "parley");
        CHECK_CONTAINS(output, commands[i]);
    }
    EXPECT_EXIT(parley_run(output, "help send"), 0, output);
    CHECK_CONTAINS(output, "parley send [options]");
    EXPECT_EXIT(parley_run(output, "--version"), 0, output);
    CHECK_TEXT(output, "parley " PARLEY_VERSION "\n");
}

/* Each flag that a help text names, with an argument it may or may not want. */
static void help_names_only_flags_that_exist(void)
{
    char output[OUTPUT_MAX];

    find_tree();
    EXPECT_EXIT(parley_run(output,
                           "help; p='%s/parley'; "
                           "for c in serve listen send broadcast ping keygen config; do "
                           "for f in $($p help $c | grep -oE -- ' --[a-z-]+' | sort -u); do "
                           "echo $c $f; $p $c $f=x --help 2>&1; done; done | "
                           "grep -E 'unrecognized|--token-file'",
                           tree.build),
                0, output);
    CHECK(strstr(output, "unrecognized") == NULL);
    CHECK_CONTAINS(output, "broadcast --token-file\n"); /* it did look */
}

static const struct {
    const char *arguments, *says;
} usage_mistakes[] = {
    {"", "parley serve"},
    {"dance", "parley: no command \"dance\"; parley --help lists them\n"},
    {"sned", "parley: no command \"sned\"; did you mean send? parley --help lists them\n"},
    {"help pnig", "no command \"pnig\"; did you mean ping?"},
    {"send --tpye t", "parley send: did you mean --type?\n"},
    {"serve --nonsense", "parley serve: unrecognized option '--nonsense'"},
    {"serve extra", "parley serve: unexpected \"extra\"\n"},
    {"serve --listen 8080", "parley serve: --listen 8080: expected HOST:PORT"},
    {"serve --listen ::1:80", "expected HOST:PORT, or [HOST]:PORT for IPv6\n"},
    {"serve --listen localhost:80",
     "parley serve: node.listen_host: expected a numeric IPv4 or IPv6 address, found "
     "\"localhost\"\n"},
    {"serve --listen 127.0.0.1:65536", "expected a port number from 0 to 65535"},
    {"serve --set transport.http.attempts=0",
     "parley serve: transport.http.attempts: expected a number from 1 to 100, found 0\n"},
    {"serve --set attempts", "parley serve: --set attempts: expected key=value\n"},
    {"serve --node-id 'a b'", "parley serve: node.id: expected 1 to 128 characters"},
    {"send", "parley send: expected --url or a peer's id\n"},
    {"send --url http://127.0.0.1:1 '{}'", "parley send: expected --type\n"},
    {"send --url http://127.0.0.1:1 --type t", "parley send: expected a payload\n"},
    {"send --url http://127.0.0.1:1 --type t 5", "a payload that is one JSON object\n"},
    {"send --url http://127.0.0.1:1 --type t '{\"a\":1,}'", "one JSON object\n"},
    {"send --url http://127.0.0.1:1 --type 'a b' '{}'", "expected a type of 1 to 64"},
    {"send --url ftp://127.0.0.1:1 --type t '{}'",
     "parley send: --url: expected a URL such as http://host:port, found ftp://"},
    {"send --url http://h --peer-id 'a b' --type t '{}'",
     "parley send: --peer-id: expected 1 to 128 characters"},
    {"send --type t '{}'",
     "expected --url or a peer's id, and a payload; found only \"{}\"\n"},
    {"send --url http://127.0.0.1:1 --type t --dialect service --transport ws '{}'",
     "--transport ws: 127.0.0.1:1 is of dialect service, which has no WebSocket\n"},
    {"send --url http://127.0.0.1:1 --type t --ttl-ms 5s '{}'",
     "parley send: --ttl-ms 5s: expected a number of milliseconds\n"},
    {"send --url http://127.0.0.1:1 --type t --transport pigeon '{}'",
     "parley send: --transport pigeon: expected auto, ws or http\n"},
    {"send --url http://127.0.0.1:1 --type t --dialect klingon '{}'",
     "expected auto, parley, manager or service\n"},
    {"send --url http://127.0.0.1:1 --type t --envelope-version 2 '{}'",
     "--envelope-version 2: expected auto, 1.0 or 0.3\n"},
    {"send --url http://127.0.0.1:1 --type t --transport both '{}'",
     "--transport both: expected auto, ws or http\n"},
    {"send --url http://127.0.0.1:1 --type t --lines '{}'", "--lines reads one --file"},
    {"send --url http://127.0.0.1:1 --url http://h --type t '{}'", "can be given once"},
    {"ping", "parley ping: expected --url or a peer's id\n"},
    {"ping --url http://127.0.0.1:1 -n 0", "--count 0: expected a number from 1\n"},
    {"ping --url http://127.0.0.1:1 -i 0", "--interval 0: expected 0.01 to 3600 seconds"},
    {"ping --url http://127.0.0.1:1 -W 1s", "--timeout 1s: expected 0.001 to 3600"},
    {"ping --url http://127.0.0.1:1 more", "parley ping: unexpected \"more\"\n"},
    {"listen --count none", "--count none: expected a number from 1\n"},
    {"listen --reject ''", "--reject: expected a reason of 1 to 255 bytes\n"},
    {"listen more", "parley listen: unexpected \"more\"\n"},
    {"config check --force", "parley config: --output and --force go with init\n"},
    {"config init -c conf/peer_service.yaml", "init starts from the defaults"},
    {"send nobody --type t '{}'", "parley send: no peer \"nobody\" in the configuration\n"},
    {"send --peer-id a b --type t '{}'", "parley send: --peer-id goes with --url\n"},
    {"send --url http://127.0.0.1:1 --type t - - </dev/null",
     "parley send: standard input can be read only once\n"},
    {"config", "parley config: expected check, init or show\n"},
    {"config burn", "parley config: expected check, init or show, found \"burn\"\n"},
    {"config check a b", "parley config: unexpected \"b\"\n"},
    {"config chekc", "found \"chekc\"; did you mean check?\n"},
};

static void usage_mistakes_exit_with_2_and_say_why(void)
{
    char output[OUTPUT_MAX];

    for (size_t i = 0; i < sizeof(usage_mistakes) / sizeof(usage_mistakes[0]); i++) {
        EXPECT_EXIT(parley_run(output, "%s", usage_mistakes[i].arguments), 2, output);
        CHECK_CONTAINS(output, usage_mistakes[i].says);
    }
}

static void output_that_cannot_be_written_is_a_failure(void)
{
    char output[OUTPUT_MAX];

    EXPECT_EXIT(parley_run(output, "--help >/dev/full"), 1, output);
    CHECK_TEXT(output, "parley: standard output cannot be written\n");
}

/* Without a file in their place, the next one opened would get their numbers. */
static void closed_streams_are_failures(void)
{
    char output[OUTPUT_MAX];

    EXPECT_EXIT(parley_run(output, "send --url http://127.0.0.1:1 --type t - <&-"), 1, output);
    CHECK_TEXT(output, "parley send: standard input: Bad file descriptor\n");
    EXPECT_EXIT(parley_run(output, "send --url http://127.0.0.1:1 --type t --lines <&-"), 1,
                output);
    EXPECT_EXIT(parley_run(output, "config show >&-"), 1, output);
    CHECK_TEXT(output, "parley config: standard output cannot be written\n");
}

/* ---- config ---- */

static void config_check_names_the_mistake(void)
{
    char output[OUTPUT_MAX], expected[512], path[] = "/tmp/parley_test_cli_XXXXXX";

    EXPECT_EXIT(parley_run(output, "config check conf/peer_service.yaml"), 0, output);
    CHECK_TEXT(output, "conf/peer_service.yaml: ok\n");
    write_file(path, "transport:\n  http: {attemps: 3}\n");
    EXPECT_EXIT(parley_run(output, "config check %s", path), 1, output);
    snprintf(expected, sizeof(expected),
             "parley config: %s:2:10: transport.http.attemps: expected a known key; nearest "
             "is transport.http.attempts\n",
             path);
    CHECK_TEXT(output, expected);
    EXPECT_EXIT(parley_run(output, "config check --json %s 2>&-", path), 1, output);
    CHECK_CONTAINS(output, "{\"ok\":false,\"file\":\"/tmp/parley_test_cli_");
    CHECK_CONTAINS(output, "transport.http.attemps: expected a known key");
    EXPECT_EXIT(parley_run(output, "serve -c %s", path), 1, output);
    CHECK_CONTAINS(output, ":2:10: transport.http.attemps");
    unlink(path);
    EXPECT_EXIT(parley_run(output, "config check %s", path), 1, output);
    CHECK_CONTAINS(output, ": No such file or directory\n");
}

static void config_show_can_be_read_again(void)
{
    char first[OUTPUT_MAX], second[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";

    write_file(path,
               "node: {id: \"true\"}\n"
               "transport: {http: {attempts: 7}}\n"
               "peers: [{id: a, url: \"http://h:1\"}, {id: b, preference: http_only}]\n");
    EXPECT_EXIT(parley_run(first, "config show %s --set transport.ttl_ms=5", path), 0, first);
    unlink(path);
    CHECK_CONTAINS(first, "  id: \"true\" ");
    CHECK_CONTAINS(first, "    attempts: 7 ");
    CHECK_CONTAINS(first, "  ttl_ms: 5 ");
    CHECK_CONTAINS(first, "  - id: a ");
    CHECK_CONTAINS(first, "    preference: http_only ");
    strcpy(path, "/tmp/parley_test_cli_XXXXXX"); // NOLINT(*-security.insecureAPI.strcpy)
    write_file(path, first);
    EXPECT_EXIT(parley_run(second, "config show %s", path), 0, second);
    CHECK_TEXT(second, first);
    unlink(path);
}

static void config_show_json_and_environment(void)
{
    char output[OUTPUT_MAX];

    setenv("PARLEY_TRANSPORT_HTTP_ATTEMPTS", "5", 1);
    EXPECT_EXIT(parley_run(output, "config show --json --set node.id=n"), 0, output);
    unsetenv("PARLEY_TRANSPORT_HTTP_ATTEMPTS");
    CHECK_CONTAINS(output, "{\"node.id\":\"n\",\"node.listen_host\":null,");
    CHECK_CONTAINS(output, ",\"transport.preference\":\"websocket_first\",");
    CHECK_CONTAINS(output, ",\"transport.http.attempts\":5,");
    CHECK_CONTAINS(output, "}\n");
}

static void config_init_writes_what_passes_the_check(void)
{
    char defaults[OUTPUT_MAX], output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";

    write_file(path, "");
    EXPECT_EXIT(parley_run(output, "config init --output %s", path), 1, output);
    CHECK_CONTAINS(output, " exists; --force overwrites it\n");
    setenv("PARLEY_TRANSPORT_HTTP_ATTEMPTS", "5", 1); /* no default: it must not be written */
    EXPECT_EXIT(parley_run(output, "config init -o %s --force", path), 0, output);
    unsetenv("PARLEY_TRANSPORT_HTTP_ATTEMPTS");
    CHECK_CONTAINS(output, ": written\n");
    EXPECT_EXIT(parley_run(output, "config check %s", path), 0, output);
    EXPECT_EXIT(parley_run(defaults, "config show"), 0, defaults);
    EXPECT_EXIT(parley_run(output, "config show %s", path), 0, output);
    CHECK_TEXT(output, defaults);
    unlink(path);
}

static void config_init_explains_every_key(void)
{
    char output[OUTPUT_MAX], keys[OUTPUT_MAX];

    EXPECT_EXIT(parley_run(output, "config init --node-id n-1"), 0, output);
    CHECK_CONTAINS(output, "\ntransport:\n  # which transports a message may take, and in "
                           "which order\n  preference: websocket_first\n");
    CHECK_CONTAINS(output, "  id: \"n-1\"\n");
    /* every key but the sections has its comment above it */
    EXPECT_EXIT(parley_run(keys, "config init | grep -v '^#' | grep -B1 -E '^ +[a-z_]+: ' | "
                                 "grep -c '^ *# '"),
                0, keys);
    EXPECT_EXIT(parley_run(output, "config show | grep -c '#'"), 0, output);
    CHECK_TEXT(keys, output);
}

/* The example of a peer, with its marks of a comment taken away, is right as it stands. */
static void config_init_shows_a_peer_that_can_be_used(void)
{
    char output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";

    write_file(path, "");
    EXPECT_EXIT(parley_run(output,
                           "config init | sed -e '/^peers: /d' -e '/^# peers:/,$s/^# //' >%s",
                           path),
                0, output);
    EXPECT_EXIT(parley_run(output, "config show %s", path), 0, output);
    CHECK_CONTAINS(output, "  - id: \"orders-1\" ");
    CHECK_CONTAINS(output, "    dialect: auto ");
    unlink(path);
}

static void config_does_not_tell_secrets(void)
{
    char output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";

    write_file(path, "security: {jwt_secret: hush-hush}\n"
                     "peers: [{id: a, url: \"http://h\", token: hush-hush}]\n");
    for (int json = 0; json < 2; json++) {
        EXPECT_EXIT(parley_run(output, "config show %s %s", json ? "--json" : "", path), 0,
                    output);
        CHECK_CONTAINS(output, "********");
        CHECK(strstr(output, "hush") == NULL);
    }
    EXPECT_EXIT(parley_run(output, "config init --set security.jwt_secret=hush"), 2, output);
    CHECK_CONTAINS(output, "--set security.jwt_secret: ps would show the secret");
    CHECK(strstr(output, "hush") == NULL);
    unlink(path);
}

/* The asterisks of what was shown would be a secret that everybody knows. */
static void what_was_shown_is_not_taken_for_a_secret(void)
{
    char output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";

    write_file(path, "peers: [{id: a, url: \"http://h\", token: \"********\"}]\n");
    EXPECT_EXIT(parley_run(output, "config check %s", path), 1, output);
    CHECK_CONTAINS(output, ":1:41: peers[0].token: expected 1 to 1024 printable characters "
                           "without spaces, found the asterisks that are shown in place of a "
                           "secret\n");
    setenv("PARLEY_SECURITY_JWT_SECRET", "s0000000000000000000000000000000000000", 1);
    EXPECT_EXIT(parley_run(output, "config show >%s", path), 0, output);
    unsetenv("PARLEY_SECURITY_JWT_SECRET");
    EXPECT_EXIT(parley_run(output, "config check %s", path), 1, output);
    CHECK_CONTAINS(output, ": security.jwt_secret: expected ");
    CHECK_CONTAINS(output, "found the asterisks");
    unlink(path);
}

static void a_secret_that_came_out_empty_opens_no_node(void)
{
    char output[OUTPUT_MAX];

    setenv("PARLEY_SECURITY_JWT_SECRET", "", 1);
    EXPECT_EXIT(parley_run(output, "serve --listen 127.0.0.1:0"), 1, output);
    CHECK_CONTAINS(output, "environment: PARLEY_SECURITY_JWT_SECRET: expected 1 to 1024 ");
    CHECK_CONTAINS(output, "found \"\"\n");
    setenv("PARLEY_SECURITY_JWT_SECRET", "not one", 1);
    EXPECT_EXIT(parley_run(output, "config check"), 1, output);
    unsetenv("PARLEY_SECURITY_JWT_SECRET");
    CHECK_CONTAINS(output, "found something else, which is not shown\n");
}

static void misspelt_variables_are_told(void)
{
    char output[OUTPUT_MAX];

    setenv("PARLEY_TRASNPORT_HTTP_ATTEMPTS", "5", 1);
    EXPECT_EXIT(parley_run(output, "config check"), 1, output);
    unsetenv("PARLEY_TRASNPORT_HTTP_ATTEMPTS");
    CHECK_TEXT(output, "parley config: environment: PARLEY_TRASNPORT_HTTP_ATTEMPTS: expected "
                       "a known setting; nearest is PARLEY_TRANSPORT_HTTP_ATTEMPTS\n");
}

/* ---- serve and send ---- */

static void serve_announces_itself_and_ends_on_signals(void)
{
    static const char *const json[] = {"--json", "--node-id", "n-1", NULL};
    struct node node;

    if (!node_start(&node, any_port))
        return;
    CHECK(strncmp(node.line, "listening on http://127.0.0.1:", 30) == 0);
    CHECK_U64(node_stop(&node, SIGTERM), 0);
    if (!node_start(&node, json))
        return;
    CHECK_CONTAINS(node.line, "{\"event\":\"listening\",\"url\":\"http://127.0.0.1:");
    CHECK_CONTAINS(node.line, ",\"node_id\":\"n-1\"}");
    CHECK_U64(node_stop(&node, SIGINT), 0);
}

static void serve_on_a_taken_port_says_which(void)
{
    char output[OUTPUT_MAX], expected[256];
    struct node node;

    if (!node_start(&node, any_port))
        return;
    EXPECT_EXIT(parley_run(output, "serve --listen %s", node.url + strlen("http://")), 1,
                output);
    snprintf(expected, sizeof(expected), "parley serve: %s: address already in use\n",
             node.url + strlen("http://"));
    CHECK_CONTAINS(output, expected);
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void messages_are_delivered_over_each_transport(void)
{
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, any_port))
        return;
    EXPECT_EXIT(parley_run(output, "send --url %s --type t --transport ws '{}'", node.url), 0,
                output);
    CHECK_CONTAINS(output, "message 1: delivered, transport websocket, 1 attempt, ");
    EXPECT_EXIT(
        parley_run(output, "send --url %s --type t --transport http '{\"a\":[1]}'", node.url),
        0, output);
    CHECK_CONTAINS(output, "message 1: delivered, transport http, 1 attempt, ");
    CHECK_CONTAINS(output, ", http 200");
    EXPECT_EXIT(parley_run(output, "send --url %s --type t --json '{}'", node.url), 0, output);
    CHECK_CONTAINS(output, "{\"message\":1,\"outcome\":\"delivered\",\"transport\":\"");
    CHECK_CONTAINS(output,
                   ",\"maybe_duplicate\":false,\"detail\":\"\",\"bytes\":2,\"sha256\":\"");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void several_payloads_are_several_messages(void)
{
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, any_port))
        return;
    EXPECT_EXIT(parley_run(output,
                           "send --url %s --type t '{\"n\":1}' - '{\"n\":3}' <<'END'\n"
                           "{\"n\":2}\nEND\n",
                           node.url),
                0, output);
    CHECK_CONTAINS(output, "message 1: delivered");
    CHECK_CONTAINS(output, "message 2: delivered");
    CHECK_CONTAINS(output, "message 3: delivered");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void peers_of_the_configuration_have_names(void)
{
    char output[OUTPUT_MAX], yaml[512], path[] = "/tmp/parley_test_cli_XXXXXX";
    struct node node;

    if (!node_start(&node, any_port))
        return;
    /* listen_host: sending must not try to listen where the node itself would */
    snprintf(yaml, sizeof(yaml),
             "node: {listen_host: 127.0.0.1, listen_port: %s}\n"
             "peers: [{id: other, url: \"http://127.0.0.1:1\"}, {id: mine, url: \"%s\"}]\n",
             strrchr(node.url, ':') + 1, node.url);
    write_file(path, yaml);
    EXPECT_EXIT(parley_run(output, "send -c %s mine --type t '{}'", path), 0, output);
    CHECK_CONTAINS(output, "message 1: delivered");
    unlink(path);
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void a_node_without_websocket_takes_http_only(void)
{
    static const char *const arguments[] = {"--no-websocket", NULL};
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, arguments))
        return;
    EXPECT_EXIT(parley_run(output, "send --url %s --type t '{}'", node.url), 0, output);
    CHECK_CONTAINS(output, "message 1: delivered, transport http, ");
    EXPECT_EXIT(parley_run(output, "send --url %s --type t --transport ws --ttl-ms 300 '{}'",
                           node.url),
                5, output);
    CHECK_CONTAINS(output, "message 1: expired, ");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void nobody_there_is_unreachable_or_timed_out(void)
{
    char output[OUTPUT_MAX];
    unsigned port = free_port();

    EXPECT_EXIT(parley_run(output,
                           "send --url http://127.0.0.1:%u --type t --transport http "
                           "--set transport.http.attempts=1 '{}'",
                           port),
                3, output);
    CHECK_CONTAINS(output, "message 1: exhausted, transport http, 1 attempt, ");
    EXPECT_EXIT(parley_run(output,
                           "send --url http://127.0.0.1:%u --type t --transport ws "
                           "--ttl-ms 300 '{}'",
                           port),
                5, output);
    CHECK_CONTAINS(output, "message 1: expired, ");
}

/* Answers every request with 400 until the listening socket is shut down. */
static void *refuse_requests(void *user)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n"
                                 "Content-Type: application/json\r\n"
                                 "Content-Length: 25\r\n"
                                 "Connection: close\r\n"
                                 "\r\n"
                                 "{\"detail\":\"not from you\"}";
    const int *listener = user;
    int file;

    while ((file = accept4(*listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        char request[8192];
        size_t used = 0;
        ssize_t got;

        while ((got = read(file, request + used, sizeof(request) - 1 - used)) > 0) {
            used += (size_t)got;
            request[used] = '\0';
            if (strstr(request, "\r\n\r\n") != NULL && request[used - 1] == '}')
                break;
        }
        CHECK(write(file, answer, sizeof(answer) - 1) == sizeof(answer) - 1);
        close(file);
    }
    return NULL;
}

static void a_peer_that_refuses_leads_to_4(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    char output[OUTPUT_MAX];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;

    CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(listener, 8) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
    if (!CHECK(pthread_create(&thread, NULL, refuse_requests, &listener) == 0))
        return;
    EXPECT_EXIT(parley_run(output,
                           "send --url http://127.0.0.1:%u --type t --transport http "
                           "--dialect service '{}'",
                           (unsigned)ntohs(address.sin_port)),
                4, output);
    CHECK_CONTAINS(output, "message 1: rejected, transport http, 1 attempt, ");
    CHECK_CONTAINS(output, "http 400");
    CHECK_CONTAINS(output, "not from you");
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

static const struct check_test tests[] = {
    {"help and version go to stdout", help_and_version_go_to_stdout},
    {"help names only flags that exist", help_names_only_flags_that_exist},
    {"usage mistakes exit with 2 and say why", usage_mistakes_exit_with_2_and_say_why},
    {"output that cannot be written is a failure", output_that_cannot_be_written_is_a_failure},
    {"closed streams are failures", closed_streams_are_failures},
    {"config check names the mistake", config_check_names_the_mistake},
    {"config show can be read again", config_show_can_be_read_again},
    {"config show: JSON, environment", config_show_json_and_environment},
    {"config init writes what passes the check", config_init_writes_what_passes_the_check},
    {"config init explains every key", config_init_explains_every_key},
    {"config init shows a peer that can be used", config_init_shows_a_peer_that_can_be_used},
    {"config does not tell secrets", config_does_not_tell_secrets},
    {"what was shown is not taken for a secret", what_was_shown_is_not_taken_for_a_secret},
    {"a secret that came out empty opens no node", a_secret_that_came_out_empty_opens_no_node},
    {"misspelt variables are told", misspelt_variables_are_told},
    {"serve announces itself and ends on signals", serve_announces_itself_and_ends_on_signals},
    {"serve on a taken port says which", serve_on_a_taken_port_says_which},
    {"messages are delivered over each transport", messages_are_delivered_over_each_transport},
    {"several payloads are several messages", several_payloads_are_several_messages},
    {"peers of the configuration have names", peers_of_the_configuration_have_names},
    {"a node without WebSocket takes HTTP only", a_node_without_websocket_takes_http_only},
    {"nobody there is unreachable or timed out", nobody_there_is_unreachable_or_timed_out},
    {"a peer that refuses leads to 4", a_peer_that_refuses_leads_to_4},
};

CHECK_MAIN("cli", tests)
