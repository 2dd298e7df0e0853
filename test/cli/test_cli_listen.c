/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley listen` as a shell meets it: what a message looks like, and what ends it.
 */
#include <sys/ioctl.h>

#include "test/cli/commands.h"

static void expect_sent(const struct node *node, const char *arguments, int code)
{
    char output[OUTPUT_MAX];

    EXPECT_EXIT(parley_run(output, "send --url %s %s", node->url, arguments), code, output);
}

static void a_message_is_a_line_for_people(void)
{
    char line[1024];
    struct node node;

    if (!node_start_as(&node, "listen", any_port))
        return;
    CHECK_CONTAINS(node.line, "listening on http://127.0.0.1:");
    expect_sent(&node, "--node-id alice --type greeting --transport ws '{\"text\":\"hello\"}'",
                0);
    if (CHECK(read_line(node.command.output, line, sizeof(line)))) {
        CHECK(line[2] == ':' && line[5] == ':' && line[8] == '.' && line[12] == ' ');
        CHECK_CONTAINS(line, " alice greeting ");
        CHECK_CONTAINS(line, "#1 websocket {\"text\":\"hello\"}");
    }
    expect_sent(&node, "--type t --transport http '{}'", 0);
    CHECK(read_line(node.command.output, line, sizeof(line)));
    CHECK_CONTAINS(line, "#1 http {}");
    CHECK_U64(node_stop(&node, SIGINT), 0);
}

static void json_embeds_the_payload_on_one_line(void)
{
    static const char *const arguments[] = {"--listen", "127.0.0.1:0", "--json", NULL};
    char line[1024];
    struct node node;

    if (!node_start_as(&node, "listen", arguments))
        return;
    CHECK_CONTAINS(node.line, "{\"event\":\"listening\",\"url\":\"http://127.0.0.1:");
    expect_sent(&node, "--node-id alice --type t '{\"a\":\n\t[1,\"\\n\"]}'", 0);
    if (CHECK(read_line(node.command.output, line, sizeof(line)))) {
        CHECK(strncmp(line, "{\"received\":", 12) == 0);
        CHECK_CONTAINS(line, ",\"sender\":\"alice\",\"type\":\"t\",\"session_id\":\"");
        CHECK_CONTAINS(line, ",\"number\":1,\"message_id\":");
        CHECK_CONTAINS(line, "\"redelivered\":false,\"payload\":{\"a\":  [1,\"\\n\"]}}");
    }
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void a_type_filter_accepts_the_others_unseen(void)
{
    static const char *const arguments[] = {"--listen", "127.0.0.1:0", "--type", "b",
                                            "--type",   "c",           NULL};
    char line[1024];
    struct node node;

    if (!node_start_as(&node, "listen", arguments))
        return;
    expect_sent(&node, "--type a '{}'", 0);
    expect_sent(&node, "--type c '{}'", 0);
    CHECK(read_line(node.command.output, line, sizeof(line)));
    CHECK_CONTAINS(line, " c ");
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

/* What was printed was acknowledged; what was not is refused, not lost. */
static void count_ends_it_by_itself(void)
{
    static const char *const arguments[] = {"--listen", "127.0.0.1:0", "--count", "2", NULL};
    char output[OUTPUT_MAX], line[1024];
    struct node node;

    if (!node_start_as(&node, "listen", arguments))
        return;
    EXPECT_EXIT(parley_run(output,
                           "send --url %s --type t --transport ws --ttl-ms 2000 '{\"n\":1}' "
                           "'{\"n\":2}' '{\"n\":3}'",
                           node.url),
                4, output);
    CHECK_CONTAINS(output, "message 1: delivered");
    CHECK_CONTAINS(output, "message 2: delivered");
    CHECK_CONTAINS(output, "message 3: rejected");
    CHECK_CONTAINS(output, "the listener has ended");
    CHECK(read_line(node.command.output, line, sizeof(line)));
    CHECK(read_line(node.command.output, line, sizeof(line)));
    CHECK_CONTAINS(line, "{\"n\":2}");
    CHECK(!read_line(node.command.output, line, sizeof(line)));
    CHECK_U64(command_wait(&node.command), 0);
}

static void reject_tells_the_sender_why(void)
{
    static const char *const arguments[] = {"--listen", "127.0.0.1:0", "--reject",
                                            "closed on Sundays", NULL};
    char output[OUTPUT_MAX], line[1024];
    struct node node;

    if (!node_start_as(&node, "listen", arguments))
        return;
    for (int i = 0; i < 2; i++) {
        EXPECT_EXIT(parley_run(output, "send --url %s --type t --transport %s '{}'", node.url,
                               i == 0 ? "ws" : "http"),
                    4, output);
        CHECK_CONTAINS(output, "message 1: rejected");
        CHECK_CONTAINS(output, "closed on Sundays\n");
        CHECK(read_line(node.command.output, line, sizeof(line)));
    }
    CHECK_U64(node_stop(&node, SIGTERM), 0);
}

static void the_end_of_its_reader_ends_it(void)
{
    struct pollfd gone;
    struct node node;
    char line[64];

    if (!node_start_as(&node, "listen", any_port))
        return;
    close(node.command.output);
    node.command.output = -1;
    gone = (struct pollfd){.fd = node.command.errors, .events = POLLIN};
    CHECK(poll(&gone, 1, WAIT_MS) == 1); /* its end, without a message */
    CHECK(read(node.command.errors, line, sizeof(line)) == 0);
    CHECK_U64(command_wait(&node.command), 0);
}

static void output_that_cannot_be_written_is_not_acknowledged(void)
{
    static const char *const arguments[] = {"listen", "--listen", "127.0.0.1:0", NULL};
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    struct node node = {.command = {-1, -1, -1, -1}};
    char output[OUTPUT_MAX];

    if (!command_start(&node.command, arguments, PIPE_ERRORS, full))
        return;
    CHECK(read_line(node.command.errors, node.line, sizeof(node.line)));
    node_find_url(&node);
    EXPECT_EXIT(parley_run(output, "send --url %s --type t --transport ws '{}'", node.url), 4,
                output);
    CHECK_CONTAINS(output, "the listener has ended");
    CHECK(read_line(node.command.errors, node.line, sizeof(node.line)));
    CHECK_TEXT(node.line, "parley listen: standard output cannot be written");
    CHECK_U64(command_wait(&node.command), 1);
    close(full);
}

/* A terminal of 60 columns, as the command sees it. @return the other side of it */
static int terminal_open(int *ret_terminal)
{
    const struct winsize size = {.ws_row = 24, .ws_col = 60};
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char name[64] = "";

    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 &&
          ptsname_r(master, name, sizeof(name)) == 0);
    *ret_terminal = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(ioctl(*ret_terminal, TIOCSWINSZ, &size) == 0);
    return master;
}

static void expect_on_terminal(const char *flag, bool cut)
{
    const char *const arguments[] = {"listen", "--listen", "127.0.0.1:0", flag, NULL};
    static const char word[] = "0123456789\\u007f\x7f\xc2\x9bv0123456789012345678901234567";
    struct node node = {.command = {-1, -1, -1, -1}};
    char line[1024], sent[256];
    int terminal, master = terminal_open(&terminal);

    if (command_start(&node.command, arguments, PIPE_ERRORS, terminal) &&
        CHECK(read_line(node.command.errors, node.line, sizeof(node.line)))) {
        node_find_url(&node);
        snprintf(sent, sizeof(sent), "--node-id n --type t '{\"w\":\"%s\"}'", word);
        expect_sent(&node, sent, 0);
        CHECK(read_line(master, line, sizeof(line)));
        line[strcspn(line, "\r")] = '\0';
        CHECK(strchr(line, 0x7f) == NULL && strstr(line, "\xc2\x9b") == NULL);
        if (cut) {
            CHECK_U64(strlen(line), 60);
            CHECK_TEXT(line + 57, "...");
        } else {
            CHECK_CONTAINS(line, "0123456789\\u007f  v0123456789012345678901234567\"}");
        }
        kill(node.command.pid, SIGINT);
        CHECK_U64(command_wait(&node.command), 0);
    }
    close(terminal);
    close(master);
}

static void a_terminal_gets_what_fits_and_nothing_that_steers_it(void)
{
    expect_on_terminal(NULL, true);
    expect_on_terminal("--full", false);
}

/* Sends the text of a payload's one key to a terminal of 60 columns, of which 22 are left. */
static void expect_shown(int master, const struct node *node, const char *text,
                         const char *shown)
{
    char line[1024], sent[256];

    snprintf(sent, sizeof(sent), "--node-id n --type t --transport ws '{\"w\":\"%s\"}'", text);
    expect_sent(node, sent, 0);
    CHECK(read_line(master, line, sizeof(line)));
    line[strcspn(line, "\r")] = '\0';
    if (CHECK(strlen(line) > 38))
        CHECK_TEXT(line + 38, shown);
}

static void a_terminal_is_measured_in_columns_not_bytes(void)
{
    static const char *const arguments[] = {"listen", "--listen", "127.0.0.1:0", NULL};
    struct node node = {.command = {-1, -1, -1, -1}};
    int terminal, master = terminal_open(&terminal);

    if (command_start(&node.command, arguments, PIPE_ERRORS, terminal) &&
        CHECK(read_line(node.command.errors, node.line, sizeof(node.line)))) {
        node_find_url(&node);
        expect_shown(master, &node, "éééééééééééééé", "{\"w\":\"éééééééééééééé\"}");
        expect_shown(master, &node, "ééééééééééééééé", "{\"w\":\"ééééééééééééé...");
        expect_shown(master, &node, "日日日日日日日", "{\"w\":\"日日日日日日日\"}");
        expect_shown(master, &node, "日日日日日日日日", "{\"w\":\"日日日日日日...");
        expect_shown(master, &node, "e\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81 12345678901",
                     "{\"w\":\"e\xcc\x81\xcc\x81\xcc\x81\xcc\x81\xcc\x81 12345678901\"}");
        expect_shown(master, &node,
                     "\xe2\x80\xae"
                     "drawkcab",
                     "{\"w\":\" drawkcab\"}");
        kill(node.command.pid, SIGINT);
        CHECK_U64(command_wait(&node.command), 0);
    }
    close(terminal);
    close(master);
}

static const struct check_test tests[] = {
    {"a message is a line for people", a_message_is_a_line_for_people},
    {"--json embeds the payload on one line", json_embeds_the_payload_on_one_line},
    {"--type accepts the others unseen", a_type_filter_accepts_the_others_unseen},
    {"--count ends it by itself", count_ends_it_by_itself},
    {"--reject tells the sender why", reject_tells_the_sender_why},
    {"the end of its reader ends it", the_end_of_its_reader_ends_it},
    {"output that cannot be written is not acknowledged",
     output_that_cannot_be_written_is_not_acknowledged},
    {"a terminal gets what fits and nothing that steers it",
     a_terminal_gets_what_fits_and_nothing_that_steers_it},
    {"a terminal is measured in columns, not bytes",
     a_terminal_is_measured_in_columns_not_bytes},
};

CHECK_MAIN("cli: listen", tests)
