/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley ping` as a shell meets it: its lines, its statistics, its exit codes.
 */
#include <pthread.h>

#include "test/cli/commands.h"

static void both_transports_answer_and_are_counted(void)
{
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, any_port))
        return;
    EXPECT_EXIT(parley_run(output, "ping --url %s --peer-id n1 -n 3 -i 0.01", node.url), 0,
                output);
    CHECK_CONTAINS(output, "PING n1 (http://127.0.0.1:");
    CHECK_CONTAINS(output, "\nanswer from n1 via http: seq=1 code=200 time=");
    CHECK_CONTAINS(output, "\nanswer from n1 via websocket: seq=3 time=");
    CHECK_CONTAINS(output, " ms\n\n--- n1 ping statistics ---\n"
                           "http: 3 sent, 3 answered, 0% lost, min/avg/max/mdev = ");
    CHECK_CONTAINS(output, "\nwebsocket: 3 sent, 3 answered, 0% lost, min/avg/max/mdev = ");
    EXPECT_EXIT(parley_run(output, "ping -q --url %s -n 1 --transport ws", node.url), 0,
                output);
    CHECK(strstr(output, "answer from") == NULL && strstr(output, "http: ") == NULL);
    CHECK_CONTAINS(output, "websocket: 1 sent, 1 answered");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void json_has_a_line_per_answer_and_transport(void)
{
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, any_port))
        return;
    EXPECT_EXIT(parley_run(output, "ping --url %s --peer-id n1 -n 1 --json", node.url), 0,
                output);
    CHECK_CONTAINS(output,
                   "{\"event\":\"ping\",\"peer\":\"n1\",\"transport\":\"http\",\"seq\":1,"
                   "\"answered\":true,\"status\":\"OK\",\"time_ms\":");
    CHECK_CONTAINS(output, ",\"http_code\":200,\"detail\":\"\"}\n");
    CHECK_CONTAINS(
        output, "{\"event\":\"statistics\",\"transport\":\"websocket\",\"sent\":1,"
                "\"answered\":1,\"refused\":0,\"pending\":0,\"loss_percent\":0,\"min_ms\":");
    CHECK(strstr(output, "PING") == NULL);
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void nobody_there_is_3(void)
{
    char output[OUTPUT_MAX];

    EXPECT_EXIT(parley_run(output, "ping --url http://127.0.0.1:%u -n 2 -i 0.01", free_port()),
                3, output);
    CHECK_CONTAINS(output, "via http: seq=1 the peer cannot be reached");
    CHECK_CONTAINS(output, "http: 2 sent, 0 answered, 100% lost\n");
    CHECK_CONTAINS(output, "websocket: 2 sent, 0 answered, 100% lost\n");
}

static void some_lost_is_1(void)
{
    static const char *const arguments[] = {"--no-websocket", NULL};
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, arguments))
        return;
    EXPECT_EXIT(parley_run(output, "ping --url %s -n 1 --transport both", node.url), 1,
                output);
    CHECK_CONTAINS(output, "http: 1 sent, 1 answered, 0% lost");
    CHECK_CONTAINS(output, "websocket: 1 sent, 0 answered");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

/* A transport that the peer's settings forbid is left out; asked for by name, it is 4. */
static void settings_decide_which_transports_are_asked(void)
{
    char output[OUTPUT_MAX], yaml[256], path[] = "/tmp/parley_test_cli_XXXXXX";
    struct node node;

    if (!node_start(&node, any_port))
        return;
    snprintf(yaml, sizeof(yaml), "peers: [{id: old, url: \"%s\", dialect: service}]\n",
             node.url);
    write_file(path, yaml);
    EXPECT_EXIT(parley_run(output, "ping -c %s old -n 1", path), 0, output);
    CHECK_CONTAINS(output, "http: 1 sent, 1 answered");
    CHECK(strstr(output, "websocket") == NULL);
    EXPECT_EXIT(parley_run(output, "ping -c %s old -n 1 --transport ws", path), 4, output);
    CHECK_CONTAINS(
        output, "parley ping: old: its preference or dialect forbids pings over websocket\n");
    unlink(path);
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void a_silent_peer_times_out(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char output[OUTPUT_MAX];

    CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(listener, 8) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &len) == 0);
    EXPECT_EXIT(parley_run(output, "ping --url http://127.0.0.1:%u -n 1 -W 0.1",
                           (unsigned)ntohs(address.sin_port)),
                3, output);
    CHECK_CONTAINS(output, "via http: seq=1 timed out");
    CHECK_CONTAINS(output, "via websocket: seq=1 timed out");
    close(listener);
}

static void a_signal_brings_the_statistics(void)
{
    struct command ping;
    struct node node;
    char line[256];

    if (!node_start(&node, any_port))
        return;
    const char *const arguments[] = {"ping", "--url", node.url, "-i", "3600", NULL};

    if (command_start(&ping, arguments, PIPE_OUTPUT, -1)) {
        for (int i = 0; i < 3; i++) /* the head, and an answer of each transport */
            CHECK(read_line(ping.output, line, sizeof(line)));
        CHECK_CONTAINS(line, "seq=1");
        kill(ping.pid, SIGINT);
        CHECK(read_line(ping.output, line, sizeof(line)));
        CHECK(read_line(ping.output, line, sizeof(line)));
        CHECK_CONTAINS(line, "ping statistics ---");
        CHECK(read_line(ping.output, line, sizeof(line)));
        CHECK_CONTAINS(line, "http: 1 sent, 1 answered, 0% lost");
        CHECK_U64(command_wait(&ping), 0);
    }
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

/* HS256 over {"sub":"cli"}, signed with the secret of the test. */
static void make_token(char *path)
{
    char command[512], output[256];

    write_file(path, "");
    snprintf(command, sizeof(command),
             "b64() { base64 -w0 | tr '+/' '-_' | tr -d '='; }; "
             "body=$(printf '{\"alg\":\"HS256\",\"typ\":\"JWT\"}' | b64)."
             "$(printf '{\"sub\":\"cli\",\"iat\":%%s,\"exp\":%%s}' $(date +%%s) "
             "$(($(date +%%s) + 300)) | b64); "
             "printf '%%s.%%s\\n' $body $(printf %%s $body | "
             "openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary | b64) >%s",
             path);
    CHECK_U64(command_run(command, output, sizeof(output)), 0);
    CHECK_TEXT(output, "");
}

static void a_token_opens_what_is_closed_without(void)
{
    char output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";
    struct node node;

    setenv("PARLEY_SECURITY_JWT_SECRET", "0123456789abcdef0123456789abcdef", 1);
    CHECK(node_start(&node, any_port));
    unsetenv("PARLEY_SECURITY_JWT_SECRET");
    make_token(path);
    EXPECT_EXIT(parley_run(output, "ping --url %s -n 1 --transport ws", node.url), 4, output);
    CHECK_CONTAINS(output, "via websocket: seq=1 code=403");
    EXPECT_EXIT(
        parley_run(output, "ping --url %s --node-id cli -n 1 --token-file %s", node.url, path),
        0, output);
    EXPECT_EXIT(parley_run(output, "send --url %s --transport http --type t '{}'", node.url),
                4, output);
    EXPECT_EXIT(
        parley_run(
            output,
            "send --url %s --node-id cli --transport http --type t --token-file %s '{}'",
            node.url, path),
        0, output);
    EXPECT_EXIT(
        parley_run(
            output,
            "send --url %s --type t '{}' --set transport.ttl_ms=2000; "
            "PARLEY_TOKEN=$(cat %s) '%s/parley' send --url %s --node-id cli --type t '{}'",
            node.url, path, tree.build, node.url),
        0, output);
    CHECK_CONTAINS(output, "message 1: rejected");
    CHECK_CONTAINS(output, "message 1: delivered");
    unlink(path);
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static const struct check_test tests[] = {
    {"both transports answer and are counted", both_transports_answer_and_are_counted},
    {"--json: a line per answer and transport", json_has_a_line_per_answer_and_transport},
    {"nobody there is 3", nobody_there_is_3},
    {"some lost is 1", some_lost_is_1},
    {"settings decide which transports are asked", settings_decide_which_transports_are_asked},
    {"a silent peer times out", a_silent_peer_times_out},
    {"a signal brings the statistics", a_signal_brings_the_statistics},
    {"a token opens what is closed without", a_token_opens_what_is_closed_without},
};

CHECK_MAIN("cli: ping", tests)
