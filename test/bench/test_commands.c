/* SPDX-License-Identifier: Apache-2.0
 *
 * parley-bench as its users run it, with small numbers: its verdicts, its JSON, its usage
 * errors. Every fan-out is a real one, between two processes over loopback.
 */
#include <cjson/cJSON.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/check.h"

#define OUTPUT_MAX 16384

/* Enough to be still going when the receiver is killed after 0.2 s, with ThreadSanitizer
 * slowing all of it down twenty times, too. */
#if defined(__SANITIZE_THREAD__)
#define KILLED_MESSAGES 60000
#else
#define KILLED_MESSAGES 600000
#endif
#define TEXT_(number) #number
#define TEXT(number)  TEXT_(number)

struct run {
    int code;
    char output[OUTPUT_MAX]; /* stdout, then stderr where it was asked for */
    cJSON *json;
};

/* The program lies beside test/: this test is BUILD/test/bench/test_commands. */
static bool find_program(char *path, size_t len)
{
    char self[PATH_MAX];
    ssize_t got = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (got <= 0)
        return false;
    self[got] = '\0';
    for (unsigned i = 0; i < 3; i++)
        *strrchr(self, '/') = '\0';
    return snprintf(path, len, "%s/parley-bench", self) < (int)len;
}

static struct run run_bench(const char *arguments)
{
    struct run run = {.code = -1};
    char program[PATH_MAX], command[PATH_MAX + 512];
    if (!CHECK(find_program(program, sizeof(program))))
        return run;
    snprintf(command, sizeof(command), "timeout 120 '%s' %s", program, arguments);
    FILE *output = popen(command, "r"); /* NOLINT(bugprone-command-processor,cert-env33-c) */
    if (!CHECK(output != NULL))
        return run;
    size_t len = fread(run.output, 1, sizeof(run.output) - 1, output);
    run.output[len] = '\0';
    int status = pclose(output);
    run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    run.json = cJSON_Parse(run.output);
    return run;
}

static double figure(const struct run *run, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(run->json, name);
    return CHECK(cJSON_IsNumber(item)) ? item->valuedouble : -1;
}

static void mailboxes_lose_nothing_and_keep_the_order(void)
{
    struct run run = run_bench("mailbox --producers 3 --actors 50 --messages 200000 --json");
    CHECK_U64(run.code, 0);
    CHECK_U64(figure(&run, "handled"), 200000);
    CHECK_U64(figure(&run, "order_violations"), 0);
    CHECK_U64(figure(&run, "sum_match"), 1);
    CHECK(figure(&run, "messages_per_s") > 0);
    CHECK(figure(&run, "cpu_s_per_million") > 0);
    cJSON_Delete(run.json);
}

static void producers_that_outrun_a_mailbox_wait_for_it(void)
{
    struct run run = run_bench("mailbox --producers 4 --actors 1 --messages 400000 --json");
    CHECK_U64(run.code, 0);
    CHECK_U64(figure(&run, "workers"), 1);
    CHECK_U64(figure(&run, "handled"), 400000);
    cJSON_Delete(run.json);
}

static void check_fanout(const char *arguments, uint64_t messages, uint64_t connections)
{
    struct run run = run_bench(arguments);
    CHECK_U64(run.code, 0);
    if (CHECK(run.json != NULL)) {
        CHECK_U64(figure(&run, "accepted"), messages);
        CHECK_U64(figure(&run, "delivered"), messages);
        CHECK_U64(figure(&run, "handled"), messages);
        CHECK_U64(figure(&run, "pending"), 0);
        CHECK_U64(figure(&run, "handled_twice"), 0);
        CHECK_U64(figure(&run, "order_violations"), 0);
        CHECK_U64(figure(&run, "ws_connections_accepted"), connections);
        CHECK(cJSON_IsTrue(cJSON_GetObjectItem(run.json, "payload_hash_match")));
        CHECK(figure(&run, "p50_us") > 0);
        CHECK(figure(&run, "p999_us") >= figure(&run, "p50_us"));
        CHECK(figure(&run, "server_cpu_s_per_million") > 0);
    }
    cJSON_Delete(run.json);
}

static void a_fanout_over_websocket_arrives_whole(void)
{
    check_fanout("fanout --peers 7 --messages 5003 --threads 3 --transport ws --json", 5003,
                 7);
}

static void a_fanout_within_a_window_arrives_whole(void)
{
    check_fanout(
        "fanout --peers 5 --messages 4000 --window 3 --threads 2 --transport ws --json", 4000,
        5);
}

static void a_fanout_over_http_opens_no_websocket(void)
{
    check_fanout("fanout --peers 5 --messages 2000 --transport http --json", 2000, 0);
}

static void check_security(const char *security, uint64_t messages)
{
    char arguments[128];

    snprintf(arguments, sizeof(arguments),
             "fanout --peers 4 --messages %u --transport ws --security %s --json",
             (unsigned)messages, security);
    check_fanout(arguments, messages, 4);
    struct run run = run_bench(arguments);
    const cJSON *told = cJSON_GetObjectItemCaseSensitive(run.json, "security");
    CHECK_TEXT(cJSON_GetStringValue(told), security);
    cJSON_Delete(run.json);
}

/* Both ends insist on it: what arrives at all did so under it. */
static void protected_fanouts_arrive_whole(void)
{
    check_security("off", 2000);
    check_security("signed", 40);
    check_security("sealed", 2000);
    check_fanout("fanout --peers 3 --messages 300 --transport http --security sealed --json",
                 300, 0);
}

static void a_killed_receiver_costs_no_message(void)
{
    struct run run = run_bench("fanout --peers 4 --messages " TEXT(
        KILLED_MESSAGES) " --transport ws "
                         "--kill-receiver-after 0.2 --json");
    CHECK_U64(run.code, 0);
    CHECK_U64(figure(&run, "delivered"), KILLED_MESSAGES);
    CHECK(figure(&run, "reconnects") >= 4);
    CHECK_U64(figure(&run, "handled_twice"), 0);
    cJSON_Delete(run.json);
}

static struct run check_chaos(const char *arguments)
{
    struct run run = run_bench(arguments);
    struct run chaos = {.json = cJSON_GetObjectItem(run.json, "chaos")};
    CHECK_U64(run.code, 0);
    CHECK_U64(figure(&run, "accepted"), 66000);
    CHECK_U64(figure(&run, "delivered"), 66000);
    CHECK_U64(figure(&run, "http_attempts"), 100);
    CHECK_U64(figure(&chaos, "faults"), 10);
    CHECK_U64(figure(&chaos, "handled_at_least_once"), 66000);
    CHECK_U64(figure(&chaos, "second_runs_marked"), figure(&chaos, "second_runs"));
    CHECK_U64(figure(&chaos, "second_runs_in_flight"), figure(&chaos, "second_runs"));
    CHECK_U64(figure(&chaos, "run_twice_by_one_receiver"), 0);
    CHECK_U64(figure(&chaos, "runs"), 66000 + figure(&chaos, "second_runs"));
    return run;
}

static void ten_kills_lose_nothing_and_repeat_only_what_was_in_flight(void)
{
    struct run run = check_chaos("fanout --peers 10 --messages 66000 --chaos --json");
    cJSON_Delete(run.json);
}

static void ten_cuts_repeat_nothing(void)
{
    struct run run =
        check_chaos("fanout --peers 10 --messages 66000 --threads 2 --chaos=network --json");
    struct run chaos = {.json = cJSON_GetObjectItem(run.json, "chaos")};
    CHECK_U64(figure(&chaos, "second_runs"), 0);
    CHECK_U64(figure(&run, "handled"), 66000);
    cJSON_Delete(run.json);
}

static void the_main_job_sends_exactly_half_over_http_in_its_second_phase(void)
{
    struct run run = run_bench("run --peers 10 --messages 4000 --json");
    CHECK_U64(run.code, 0);
    struct run first = {.json = cJSON_GetObjectItem(run.json, "websocket")};
    struct run second = {.json = cJSON_GetObjectItem(run.json, "fallback")};
    CHECK_U64(figure(&first, "delivered_ws"), 4000);
    CHECK_U64(figure(&first, "delivered_http"), 0);
    CHECK_U64(figure(&second, "delivered_ws"), 2000);
    CHECK_U64(figure(&second, "delivered_http"), 2000);
    cJSON_Delete(run.json);
}

/* What it costs is for people to read: here nothing may be lost, whatever stalls. */
static void a_stalled_peer_costs_nobody_a_message(void)
{
    static const char *const kinds[] = {"stopped", "slow", "later", "http", "gone"};
    struct run run = run_bench("stall --peers 20 --rate 1000 --pairs 1 --phase-ms 100 "
                               "--filling 4096 --drain-ms 10 --json");
    CHECK_U64(run.code, 0);
    CHECK(figure(&run, "p99_ratio_worst") > 0);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct run kind = {.json = cJSON_GetObjectItem(run.json, kinds[i])};
        CHECK_U64(figure(&kind, "delivered"), figure(&kind, "accepted"));
        CHECK_U64(figure(&kind, "eagain"), 0);
        CHECK(figure(&kind, "stalled_eagain") > 0);
        CHECK_U64(figure(&kind, "stalled_ended"), figure(&kind, "stalled_accepted"));
        CHECK(figure(&kind, "drain_left") > 0);
        CHECK(figure(&kind, "memory_kb_most") > figure(&kind, "memory_kb_without"));
    }
    cJSON_Delete(run.json);
}

static void a_node_that_is_not_there_is_a_failure_without_figures(void)
{
    struct run run = run_bench("fanout --url http://127.0.0.1:1 --json 2>/dev/null");
    CHECK_U64(run.code, 1);
    CHECK_TEXT(run.output, "");
}

/* A receiver that knows one peer only and so refuses what all others send.
 * @return its process; *ret_input keeps it alive */
static pid_t start_refusing_receiver(int *ret_input, unsigned *ret_port)
{
    char program[PATH_MAX];
    int in[2], out[2];
    if (!CHECK(find_program(program, sizeof(program))) || !CHECK(pipe(in) == 0) ||
        !CHECK(pipe(out) == 0))
        return -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        execl(program, program, "receive", "--peers", "1", (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    FILE *output = fdopen(out[0], "r");
    char line[64] = "";
    CHECK(output && fgets(line, sizeof(line), output));
    CHECK(strncmp(line, "port ", 5) == 0);
    *ret_port = (unsigned)strtoul(line + 5, NULL, 10);
    *ret_input = in[1];
    if (output)
        fclose(output);
    return child;
}

static void refused_messages_fail_the_verdict_by_name(void)
{
    int input = -1;
    unsigned port = 0;
    pid_t receiver = start_refusing_receiver(&input, &port);
    if (receiver < 0)
        return;
    char arguments[160];
    snprintf(arguments, sizeof(arguments),
             "fanout --url http://127.0.0.1:%u --peers 4 --messages 400 2>&1", port);
    struct run run = run_bench(arguments);
    CHECK_U64(run.code, 1);
    CHECK_CONTAINS(run.output, "fanout: delivered: expected 400, seen 100");
    CHECK_CONTAINS(run.output, "fanout: rejected: expected 0, seen 300");
    cJSON_Delete(run.json);
    close(input);
    int status = -1;
    CHECK(waitpid(receiver, &status, 0) == receiver);
    CHECK_U64(status, 0);
}

static void wrong_use_exits_with_two_and_says_why(void)
{
    static const struct {
        const char *arguments, *told;
    } wrong[] = {
        {"frobnicate 2>&1", "unknown command"},
        {"fanout --peer 3 2>&1", "unknown option \"--peer\""},
        {"fanout --peers 0 2>&1", "--peers: expected a number from 1"},
        {"fanout --peers=3x 2>&1", "--peers: expected a number"},
        {"fanout --peers 2>&1", "--peers needs a value"},
        {"fanout --payload 20 2>&1", "--payload: with these numbers at least 32 bytes"},
        {"fanout --transport udp 2>&1", "--transport: expected ws, http or auto"},
        {"fanout --security seal 2>&1", "--security: expected off, signed or sealed"},
        {"fanout --security off --chaos 2>&1", "--security goes with neither"},
        {"run --peers 3 2>&1", "--peers must be even"},
        {"mailbox --actors 10 --messages 5 2>&1", "--messages: at least"},
        {"stall --kinds gone,gane 2>&1", "--kinds: expected all, or"},
        {"stall --rate 10 --phase-ms 100 2>&1", "less than one message a peer"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct run run = run_bench(wrong[i].arguments);
        CHECK_U64(run.code, 2);
        CHECK_CONTAINS(run.output, wrong[i].told);
        cJSON_Delete(run.json);
    }
}

static void help_lists_every_command_and_option(void)
{
    struct run run = run_bench("--help");
    CHECK_U64(run.code, 0);
    CHECK_CONTAINS(run.output, "mailbox");
    run = run_bench("fanout --help");
    CHECK_U64(run.code, 0);
    CHECK_CONTAINS(run.output, "--kill-receiver-after S");
    CHECK_CONTAINS(run.output, "--chaos[=network]");
    CHECK_CONTAINS(run.output, "with --chaos 100");
    CHECK_CONTAINS(run.output, "--security off|signed|sealed");
    run = run_bench("mailbox --help");
    CHECK_U64(run.code, 0);
    CHECK_CONTAINS(run.output, "--producers P");
    run = run_bench("stall --help");
    CHECK_U64(run.code, 0);
    CHECK_CONTAINS(run.output, "stopped  its process is stopped");
    run = run_bench("run --help");
    CHECK_U64(run.code, 0);
}

static const struct check_test tests[] = {
    {"mailboxes lose nothing and keep the order", mailboxes_lose_nothing_and_keep_the_order},
    {"producers that outrun a mailbox wait for it",
     producers_that_outrun_a_mailbox_wait_for_it},
    {"a fanout over WebSocket arrives whole", a_fanout_over_websocket_arrives_whole},
    {"a fanout within a window arrives whole", a_fanout_within_a_window_arrives_whole},
    {"a fanout over HTTP opens no WebSocket", a_fanout_over_http_opens_no_websocket},
    {"protected fan-outs arrive whole", protected_fanouts_arrive_whole},
    {"a killed receiver costs no message", a_killed_receiver_costs_no_message},
    {"ten kills lose nothing, and repeat only what was in flight",
     ten_kills_lose_nothing_and_repeat_only_what_was_in_flight},
    {"ten cuts repeat nothing", ten_cuts_repeat_nothing},
    {"the main job sends exactly half over HTTP in its second phase",
     the_main_job_sends_exactly_half_over_http_in_its_second_phase},
    {"a stalled peer costs nobody a message", a_stalled_peer_costs_nobody_a_message},
    {"a node that is not there is a failure without figures",
     a_node_that_is_not_there_is_a_failure_without_figures},
    {"refused messages fail the verdict by name", refused_messages_fail_the_verdict_by_name},
    {"wrong use exits with 2 and says why", wrong_use_exits_with_two_and_says_why},
    {"help lists every command and option", help_lists_every_command_and_option},
};

CHECK_MAIN("parley-bench", tests)
