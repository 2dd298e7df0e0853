/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley broadcast` as a shell meets it: a line per peer, a summary, the worst exit code.
 */
#include "test/cli/commands.h"

/* Two nodes; `refusing`: the second one refuses. */
static bool start_two(struct node nodes[2], bool refusing)
{
    static const char *const refuses[] = {"--listen", "127.0.0.1:0", "--reject", "no", NULL};

    return node_start(&nodes[0], any_port) &&
           (refusing ? node_start_as(&nodes[1], "listen", refuses)
                     : node_start(&nodes[1], any_port));
}

static void stop_two(struct node nodes[2])
{
    CHECK_U64(node_stop(&nodes[0], SIGTERM), 0);
    CHECK_U64(node_stop(&nodes[1], SIGTERM), 0);
}

static void write_peers(char *path, const struct node nodes[2], const char *more)
{
    char yaml[1024];

    snprintf(yaml, sizeof(yaml),
             "transport: {http: {attempts: 1}}\n"
             "peers: [{id: one, url: \"%s\"}, {id: two, url: \"%s\"}%s]\n",
             nodes[0].url, nodes[1].url, more);
    write_file(path, yaml);
}

static void every_peer_of_the_configuration_gets_it(void)
{
    char output[OUTPUT_MAX], path[] = "/tmp/parley_test_cli_XXXXXX";
    struct node nodes[2];

    if (!start_two(nodes, false))
        return;
    write_peers(path, nodes, "");
    EXPECT_EXIT(parley_run(output, "broadcast -c %s --type t '{}'", path), 0, output);
    CHECK_CONTAINS(output, "one: delivered, transport websocket, 1 attempt, ");
    CHECK_CONTAINS(output, "two: delivered, transport websocket, 1 attempt, ");
    CHECK_CONTAINS(output, "\n2 peers, 2 delivered\n");
    EXPECT_EXIT(parley_run(output, "broadcast -c %s --except two --type t - </dev/null", path),
                2, output);
    EXPECT_EXIT(parley_run(output, "broadcast -c %s --except two --type t --json '{}'", path),
                0, output);
    CHECK_CONTAINS(output, "{\"peer\":\"one\",\"outcome\":\"delivered\",");
    CHECK(strstr(output, "\"two\"") == NULL);
    CHECK_CONTAINS(output, "{\"event\":\"summary\",\"peers\":1,\"delivered\":1,\"sent\":0,"
                           "\"rejected\":0,\"exhausted\":0,\"expired\":0,\"cancelled\":0}\n");
    unlink(path);
    stop_two(nodes);
}

static void the_worst_peer_decides(void)
{
    char output[OUTPUT_MAX], more[128], path[] = "/tmp/parley_test_cli_XXXXXX";
    struct node nodes[2];

    if (!start_two(nodes, true))
        return;
    snprintf(more, sizeof(more),
             ", {id: dead, url: \"http://127.0.0.1:%u\", preference: http_only}, {id: calls}",
             free_port());
    write_peers(path, nodes, more);
    EXPECT_EXIT(parley_run(output, "broadcast -c %s --type t '{}'", path), 4, output);
    CHECK_CONTAINS(output, "one: delivered, ");
    CHECK_CONTAINS(output, "two: rejected, ");
    CHECK_CONTAINS(output, "dead: exhausted, transport http, 1 attempt, ");
    CHECK_CONTAINS(output, "calls: exhausted, ");
    CHECK_CONTAINS(output, "has no url");
    CHECK_CONTAINS(output, "\n4 peers, 1 delivered, 1 rejected, 2 exhausted\n");
    EXPECT_EXIT(parley_run(output, "broadcast -q -c %s --except two --type t '{}'", path), 3,
                output);
    CHECK(strstr(output, "one: ") == NULL);
    CHECK_CONTAINS(output, "\n3 peers, 1 delivered, 2 exhausted\n");
    EXPECT_EXIT(parley_run(output, "broadcast --url http://h --except h --type t '{}'"), 0,
                output);
    CHECK_TEXT(output, "0 peers\n");
    unlink(path);
    stop_two(nodes);
}

static void several_addresses_take_the_place_of_the_configuration(void)
{
    char output[OUTPUT_MAX];
    struct node nodes[2];

    if (!start_two(nodes, false))
        return;
    EXPECT_EXIT(parley_run(output,
                           "broadcast --url %s --url %s --url %s/ --transport http --type t "
                           "--file - <<'END'\n{}\nEND\n",
                           nodes[0].url, nodes[1].url, nodes[0].url),
                0, output);
    CHECK_CONTAINS(output, ": delivered, transport http, ");
    CHECK_CONTAINS(output, "-3: delivered, transport http, "); /* one address, two names */
    CHECK_CONTAINS(output, "\n3 peers, 3 delivered\n");
    stop_two(nodes);
}

static void mistakes_are_told_before_anything_is_sent(void)
{
    static const struct {
        const char *arguments, *says;
    } bad[] = {
        {"--type t '{}'", "expected --url, or a configuration with peers\n"},
        {"--url http://127.0.0.1:1 '{}'", "expected --type\n"},
        {"--url http://127.0.0.1:1 --type t", "expected one payload, found 0\n"},
        {"--url http://127.0.0.1:1 --type t '{}' '{}'", "expected one payload, found 2\n"},
        {"--url http://127.0.0.1:1 --type t 5", "a payload that is one JSON object\n"},
        {"--url http://127.0.0.1:1 --type chunk '{}'", "--type chunk: expected a type of 1"},
        {"--url http://127.0.0.1:1 --type t --except x '{}'", "--except x: no such peer\n"},
        {"--url http://127.0.0.1:1 --type t --peer-id x '{}'", "--peer-id goes with one"},
    };
    char output[OUTPUT_MAX];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        EXPECT_EXIT(parley_run(output, "broadcast %s", bad[i].arguments), 2, output);
        CHECK_CONTAINS(output, bad[i].says);
        CHECK(strstr(output, "delivered") == NULL);
    }
}

static const struct check_test tests[] = {
    {"every peer of the configuration gets it", every_peer_of_the_configuration_gets_it},
    {"the worst peer decides", the_worst_peer_decides},
    {"several addresses take the place of the configuration",
     several_addresses_take_the_place_of_the_configuration},
    {"mistakes are told before anything is sent", mistakes_are_told_before_anything_is_sent},
};

CHECK_MAIN("cli: broadcast", tests)
