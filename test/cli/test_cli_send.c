/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley send` as a shell meets it: where payloads come from, what is printed, what ends
 * it.
 */
#include "test/cli/commands.h"

/* Writes it all to a running command's standard input. */
static bool feed(const struct command *command, const char *text)
{
    return CHECK(write(command->input, text, strlen(text)) == (ssize_t)strlen(text));
}

static void expect_line(int file, const char *says)
{
    char line[1024];

    CHECK(read_line(file, line, sizeof(line)));
    CHECK_CONTAINS(line, says);
}

/* ---- Payloads ---- */

static void texts_files_and_standard_input_keep_their_order(void)
{
    static const char *const arguments[] = {"--listen", "127.0.0.1:0", "--json",
                                            "--count",  "4",           NULL};
    char output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";
    struct node node;

    write_file(path, "{\"n\":2,\n \"more\":true}\n\n");
    if (node_start_as(&node, "listen", arguments)) {
        EXPECT_EXIT(parley_run(output,
                               "send --url %s --type t '{\"n\":1}' --file %s - "
                               "'{\"n\":4}' <<'END'\n{\"n\":3}\nEND\n",
                               node.url, path),
                    0, output);
        CHECK_CONTAINS(output, "message 4: delivered");
        expect_line(node.command.output, "\"payload\":{\"n\":1}}");
        expect_line(node.command.output, "\"payload\":{\"n\":2,  \"more\":true}}");
        expect_line(node.command.output, "\"payload\":{\"n\":3}}");
        expect_line(node.command.output, "\"payload\":{\"n\":4}}");
        CHECK_U64(command_wait(&node.command), 0);
    }
    unlink(path);
}

static void a_file_that_is_missing_or_no_object_is_named(void)
{
    char output[OUTPUT_MAX], expected[256], path[] = "/tmp/parley_test_cli_XXXXXX";
    struct node node;

    write_file(path, "[1]\n");
    if (node_start(&node, any_port)) {
        EXPECT_EXIT(
            parley_run(output, "send --url %s --type t '{}' --file /nowhere/x.json", node.url),
            1, output);
        CHECK_TEXT(output, "parley send: /nowhere/x.json: No such file or directory\n");
        EXPECT_EXIT(
            parley_run(output, "send --url %s --type t '{}' --file %s", node.url, path), 2,
            output);
        CHECK_CONTAINS(output, "message 1: delivered");
        snprintf(expected, sizeof(expected),
                 "parley send: message 2 (%s): expected a payload that is one JSON object\n",
                 path);
        CHECK_CONTAINS(output, expected);
        EXPECT_EXIT(parley_run(output,
                               "--version | printf '{}\\0\\n' >%s; "
                               "'%s/parley' send --url %s --type t --file %s 2>&1",
                               path, tree.build, node.url, path),
                    2, output);
        CHECK_CONTAINS(output, "expected a payload that is one JSON object\n");
        CHECK_U64(node_stop(&node, SIGTERM), 0);
    }
    unlink(path);
}

/* ---- Lines ---- */

static void lines_are_sent_as_they_are_read(void)
{
    struct node node;
    struct command send;

    if (!node_start(&node, any_port))
        return;
    const char *const arguments[] = {"send",   "--url",   node.url, "--type",
                                     "tick.1", "--lines", NULL};

    if (command_start(&send, arguments, PIPE_INPUT, -1)) {
        feed(&send, "{\"n\":1}\n");
        expect_line(send.output, "line 1: delivered"); /* while its input is still open */
        feed(&send, "\r\n  \n{\"n\":2}\r\n{\"n\"");
        expect_line(send.output, "line 4: delivered");
        feed(&send, ":3}"); /* the last line needs no newline */
        close(send.input);
        send.input = -1;
        expect_line(send.output, "line 5: delivered");
        CHECK_U64(command_wait(&send), 0);
    }
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void a_bad_line_is_named_and_ends_it(void)
{
    char output[OUTPUT_MAX], expected[256], path[] = "/tmp/parley_test_cli_XXXXXX";
    struct node node;

    write_file(path, "{\"n\":1}\n\n{\"n\":2,}\n{\"n\":3}\n");
    if (node_start(&node, any_port)) {
        EXPECT_EXIT(parley_run(output, "send --url %s --type t --lines < %s", node.url, path),
                    2, output);
        CHECK_CONTAINS(output, "line 1: delivered");
        CHECK_CONTAINS(output,
                       "parley send: line 3: expected a payload that is one JSON object\n");
        CHECK(strstr(output, "line 4") == NULL);
        EXPECT_EXIT(parley_run(output, "send --url %s --type t --lines --file %s --json",
                               node.url, path),
                    2, output);
        CHECK_CONTAINS(output, "{\"message\":1,\"line\":1,\"outcome\":\"delivered\"");
        snprintf(expected, sizeof(expected), "parley send: %s: line 3: expected", path);
        CHECK_CONTAINS(output, expected);
        CHECK_U64(node_stop(&node, SIGTERM), 0);
    }
    unlink(path);
}

static void a_line_beyond_the_limit_is_refused_unread(void)
{
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, any_port))
        return;
    /* without end: it must not wait for one */
    EXPECT_EXIT(parley_run(output,
                           "send --url %s --type t --lines "
                           "--set limits.message_bytes_max=1024 "
                           "--set limits.transfer_bytes_max=1024 </dev/zero",
                           node.url),
                2, output);
    CHECK_CONTAINS(output, "line 1: longer than limits.transfer_bytes_max (1024 bytes)\n");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void a_full_mailbox_holds_back_the_reading(void)
{
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, any_port))
        return;
    EXPECT_EXIT(parley_run(output,
                           "send --url %s --type t --lines "
                           "--set runtime.mailbox_messages_max=4 >/tmp/parley_test_cli.$$ "
                           "<<END; code=$?; wc -l </tmp/parley_test_cli.$$; "
                           "grep -c delivered /tmp/parley_test_cli.$$; "
                           "rm /tmp/parley_test_cli.$$; exit $code\n"
                           "$(seq 1 3000 | sed 's/.*/{\"n\":&}/')\nEND\n",
                           node.url),
                0, output);
    CHECK_TEXT(output, "3000\n3000\n");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

/* ---- Output and ends ---- */

static void quiet_tells_only_what_was_not_delivered(void)
{
    static const char *const arguments[] = {"--listen", "127.0.0.1:0", "--type", "bad",
                                            "--reject", "not today",   NULL};
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start_as(&node, "listen", arguments))
        return;
    EXPECT_EXIT(parley_run(output, "send -q --url %s --type good '{}' '{}'", node.url), 0,
                output);
    CHECK_TEXT(output, "");
    EXPECT_EXIT(parley_run(output, "send -q --url %s --type bad '{}'", node.url), 4, output);
    CHECK_CONTAINS(output, "message 1: rejected, ");
    CHECK_CONTAINS(output, ", not today\n");
    CHECK_U64(node_stop(&node, SIGINT), 0);
}

/* Listens, so that a dial succeeds, and never says a word. */
static int silent_listener(char *url, size_t len)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_len = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(listener, 8) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address, &address_len) == 0);
    snprintf(url, len, "http://127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    return listener;
}

static void a_signal_cancels_what_is_under_way(void)
{
    char url[64];
    int listener = silent_listener(url, sizeof(url));
    const char *const arguments[] = {"send",    "--url",       url,  "--type", "t",
                                     "--lines", "--transport", "ws", NULL};
    struct pollfd dialled = {.fd = listener, .events = POLLIN};
    struct command send;

    if (command_start(&send, arguments, PIPE_INPUT, -1)) {
        feed(&send, "{}\n{}\n");
        CHECK(poll(&dialled, 1, WAIT_MS) == 1); /* both were posted, in one go */
        kill(send.pid, SIGINT);
        expect_line(send.output, ": cancelled");
        expect_line(send.output, ": cancelled");
        CHECK_U64(command_wait(&send), 1);
    }
    close(listener);
}

/* ---- Peers ---- */

static void a_peer_is_named_by_the_configuration(void)
{
    char output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";

    write_file(path, "peers: [{id: orders}, {id: \"billing-2\", url: \"http://h\"}]\n");
    EXPECT_EXIT(parley_run(output, "send -c %s oders --type t '{}'", path), 2, output);
    CHECK_TEXT(output,
               "parley send: no peer \"oders\" in the configuration; did you mean orders?\n");
    EXPECT_EXIT(parley_run(output, "send -c %s orders --type t '{}'", path), 3, output);
    CHECK_CONTAINS(output, "parley send: orders has no url: ");
    unlink(path);
}

/* Takes one request and answers it as the older service does. */
static void serve_once(int listener, char *request, size_t len)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\n"
                                 "Content-Type: application/json\r\n"
                                 "Content-Length: 21\r\n"
                                 "Connection: close\r\n"
                                 "\r\n"
                                 "{\"status\":\"received\"}";
    struct pollfd wait = {.fd = listener, .events = POLLIN};
    size_t used = 0;
    ssize_t got;
    int file;

    request[0] = '\0';
    if (!CHECK(poll(&wait, 1, WAIT_MS) == 1))
        return;
    file = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    while ((got = read(file, request + used, len - 1 - used)) > 0) {
        used += (size_t)got;
        request[used] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL && request[used - 1] == '}')
            break;
    }
    CHECK(write(file, answer, sizeof(answer) - 1) == sizeof(answer) - 1);
    close(file);
}

static void expect_older_request(const char *const *arguments, int listener)
{
    struct command send;
    char request[8192];

    if (!command_start(&send, arguments, PIPE_OUTPUT, -1))
        return;
    serve_once(listener, request, sizeof(request));
    CHECK_CONTAINS(request, "POST /message HTTP/1.1\r\n");
    CHECK_CONTAINS(request, "\r\nAuthorization: Bearer open.sesame\r\n");
    CHECK_CONTAINS(request, "\"version\":\"0.3\"");
    expect_line(send.output, "message 1: delivered, transport http, 1 attempt, ");
    CHECK_U64(command_wait(&send), 0);
}

static void flags_and_configuration_say_how_to_talk_to_an_older_peer(void)
{
    char url[64], yaml[512], token[] = "/tmp/parley_test_cli_XXXXXX",
                             path[] = "/tmp/parley_test_cli_XXXXXX";
    int listener = silent_listener(url, sizeof(url));
    const char *const by_flags[] = {
        "send", "--url",        url,   "--dialect", "service", "--envelope-version",
        "0.3",  "--token-file", token, "--type",    "t",       "{}",
        NULL};
    const char *const by_file[] = {"send", "-c", path, "old", "--type", "t", "{}", NULL};

    write_file(token, "open.sesame\n");
    snprintf(yaml, sizeof(yaml),
             "peers: [{id: old, url: \"%s\", dialect: service, envelope_version: \"0.3\", "
             "token: open.sesame}]\n",
             url);
    write_file(path, yaml);
    expect_older_request(by_flags, listener);
    expect_older_request(by_file, listener);
    unlink(token);
    unlink(path);
    close(listener);
}

/* An older peer takes ten at once, and then one every four seconds. */
static void no_pace_sends_at_once_what_an_older_peer_would_get_later(void)
{
    char output[OUTPUT_MAX];
    struct node node;

    if (!node_start(&node, any_port))
        return;
    EXPECT_EXIT(parley_run(output,
                           "send --url %s --type t --dialect service --no-pace --lines "
                           "<<END\n$(seq 1 12 | sed 's/.*/{\"n\":&}/')\nEND\n",
                           node.url),
                0, output);
    EXPECT_EXIT(parley_run(output,
                           "send --url %s --type t --dialect service --ttl-ms 1000 --lines "
                           "<<END\n$(seq 1 12 | sed 's/.*/{\"n\":&}/')\nEND\n",
                           node.url),
                5, output);
    CHECK_CONTAINS(output, "line 12: expired");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void what_is_no_token_is_refused(void)
{
    char output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";

    write_file(path, "\n");
    EXPECT_EXIT(parley_run(output, "send --url http://h --token-file %s --type t '{}'", path),
                2, output);
    CHECK_CONTAINS(output, ": expected a token of 1 to 1024 characters\n");
    unlink(path);
    EXPECT_EXIT(parley_run(output, "send --url http://h --token-file %s --type t '{}'", path),
                1, output);
    CHECK_CONTAINS(output, ": No such file or directory\n");
    setenv("PARLEY_TOKEN", "not one", 1);
    EXPECT_EXIT(parley_run(output, "send --url http://h --type t '{}'"), 2, output);
    unsetenv("PARLEY_TOKEN");
    CHECK_TEXT(output, "parley send: PARLEY_TOKEN: expected a token without spaces, on one "
                       "line\n");
}

static const struct check_test tests[] = {
    {"texts, files and standard input keep their order",
     texts_files_and_standard_input_keep_their_order},
    {"a file that is missing or no object is named",
     a_file_that_is_missing_or_no_object_is_named},
    {"--lines: sent as they are read", lines_are_sent_as_they_are_read},
    {"--lines: a bad one is named and ends it", a_bad_line_is_named_and_ends_it},
    {"--lines: one beyond the limit is refused unread",
     a_line_beyond_the_limit_is_refused_unread},
    {"--lines: a full mailbox holds back the reading", a_full_mailbox_holds_back_the_reading},
    {"--quiet tells only what was not delivered", quiet_tells_only_what_was_not_delivered},
    {"a signal cancels what is under way", a_signal_cancels_what_is_under_way},
    {"a peer is named by the configuration", a_peer_is_named_by_the_configuration},
    {"flags and configuration say how to talk to an older peer",
     flags_and_configuration_say_how_to_talk_to_an_older_peer},
    {"--no-pace sends at once what an older peer would get later",
     no_pace_sends_at_once_what_an_older_peer_would_get_later},
    {"what is no token is refused", what_is_no_token_is_refused},
};

CHECK_MAIN("cli: send", tests)
