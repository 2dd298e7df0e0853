/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys and secrets as an operator meets them: `parley keygen`, SIGHUP, and that no secret
 * comes out of the command: not by config show, messages, logs, endpoints, the process list
 * or a core dump.
 */
#include <sys/stat.h>

#include "test/cli/commands.h"
#include "test/peers/key_files.h"

static char output[OUTPUT_MAX];

/* Nobody else's: whoever finds one of these has found a leak. */
#define CANARY_SECRET "canary-jwt-0123456789abcdef0123456789abcdef"
#define CANARY_TOKEN  "canary-token-8d1f00aa"

/* ---- keygen ---- */

static void keygen_prints_what_it_wrote(void)
{
    char expected[512];
    parley_key key = {.public_key = ""};
    struct stat status;

    if (key_dir_make()) {
        EXPECT_EXIT(parley_run(output, "keygen --out %s", key_path("id.pem")), 0, output);
        CHECK_STATUS(parley_key_read(key_path("id.pem"), NULL, 0, &key), OK);
        snprintf(expected, sizeof(expected), "%s: written\npublic key: %s\nfingerprint: %s\n",
                 key_path("id.pem"), key.public_key, key.fingerprint);
        CHECK_TEXT(output, expected);
        CHECK(stat(key_path("id.pem"), &status) == 0 && (status.st_mode & 07777) == 0600);
        EXPECT_EXIT(parley_run(output, "keygen --public %s --json", key_path("id.pem")), 0,
                    output);
        snprintf(expected, sizeof(expected),
                 "{\"ok\":true,\"file\":\"%s\",\"public_key\":\"%s\",\"fingerprint\":\"%s\"}"
                 "\n",
                 key_path("id.pem"), key.public_key, key.fingerprint);
        CHECK_TEXT(output, expected);
    }
    key_dir_remove();
}

static void keygen_overwrites_only_when_forced(void)
{
    parley_key first = {.public_key = ""}, second = {.public_key = ""};

    if (key_dir_make()) {
        EXPECT_EXIT(parley_run(output, "keygen -o %s", key_path("id.pem")), 0, output);
        CHECK_STATUS(parley_key_read(key_path("id.pem"), NULL, 0, &first), OK);
        EXPECT_EXIT(parley_run(output, "keygen -o %s", key_path("id.pem")), 1, output);
        CHECK_CONTAINS(output, "id.pem exists; --force overwrites it\n");
        CHECK_STATUS(parley_key_read(key_path("id.pem"), NULL, 0, &second), OK);
        CHECK_TEXT(second.public_key, first.public_key);
        EXPECT_EXIT(parley_run(output, "keygen --force -o %s", key_path("id.pem")), 0, output);
        CHECK_STATUS(parley_key_read(key_path("id.pem"), NULL, 0, &second), OK);
        CHECK(strcmp(second.public_key, first.public_key) != 0);
        EXPECT_EXIT(parley_run(output, "keygen -o %s/none/id.pem", key_dir), 1, output);
        CHECK_CONTAINS(output, "/none/id.pem: No such file or directory\n");
        EXPECT_EXIT(parley_run(output, "keygen --public x --force"), 2, output);
        EXPECT_EXIT(parley_run(output, "keygen extra"), 2, output);
    }
    key_dir_remove();
}

/* ---- A running node ---- */

/* What is answered to a request with this further header line, or to a POST of `body`. */
static const char *ask(const struct node *node, const char *path, const char *header,
                       const char *body)
{
    static char answer[OUTPUT_MAX];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd wait = {.fd = file, .events = POLLIN};
    char request[2048];
    size_t used = 0;
    ssize_t got = 1;
    int len;

    address.sin_port = htons((uint16_t)strtoul(strrchr(node->url, ':') + 1, NULL, 10));
    len = snprintf(request, sizeof(request),
                   "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s"
                   "Content-Length: %zu\r\n\r\n%s",
                   body[0] != '\0' ? "POST" : "GET", path, header, strlen(body), body);
    CHECK(connect(file, (struct sockaddr *)&address, sizeof(address)) == 0 &&
          write(file, request, (size_t)len) == len);
    while (got > 0 && used + 1 < sizeof(answer) && poll(&wait, 1, WAIT_MS) == 1) {
        got = read(file, answer + used, sizeof(answer) - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    }
    answer[used] = '\0';
    close(file);
    CHECK_CONTAINS(answer, "HTTP/1.1 ");
    return answer;
}

static const char *fetch(const struct node *node, const char *path)
{
    return ask(node, path, "", "");
}

static const char *write_config(const char *more)
{
    char text[4096];

    snprintf(text, sizeof(text),
             "node: {id: keyed}\nsecurity:\n  identity_file: %s\n  trusted_keys_dir: %s\n%s",
             key_path("id.pem"), key_dir, more);
    return key_text("conf.yaml", text, 0600);
}

#define PEER_A "peers:\n  - {id: a, url: 'http://127.0.0.1:9', public_key: %s}\n"

static void a_hangup_has_keys_read_again(void)
{
    char peer[256], first[128], second[128];
    const char *arguments[] = {"-c", NULL, "--listen", "127.0.0.1:0", "-v", NULL};
    struct node node;

    if (key_dir_make()) {
        snprintf(first, sizeof(first), "\"public_key\":\"%s\"", key_hex(1));
        snprintf(second, sizeof(second), "\"public_key\":\"%s\"", key_hex(2));
        key_file("id.pem", 1);
        arguments[1] = write_config("peers:\n  - {id: a, url: 'http://127.0.0.1:9'}\n");
        if (node_start(&node, arguments)) {
            CHECK_CONTAINS(fetch(&node, "/public-key"), first);
            CHECK_CONTAINS(fetch(&node, "/health"), "\"signing_enabled\":true");
            CHECK_CONTAINS(fetch(&node, "/peers"), "\"has_public_key\":false");

            key_file("id.pem", 2);
            snprintf(peer, sizeof(peer), PEER_A, key_hex(3));
            write_config(peer);
            kill(node.command.pid, SIGHUP);
            CHECK(read_line(node.command.output, node.line, sizeof(node.line)));
            CHECK_TEXT(node.line, "reloaded");
            CHECK_CONTAINS(fetch(&node, "/public-key"), second);
            CHECK_CONTAINS(fetch(&node, "/peers"), "\"has_public_key\":true");
            CHECK_CONTAINS(fetch(&node, "/health"), "\"verification_enabled\":true");
            CHECK_U64(node_stop(&node, SIGTERM), 0);
        }
    }
    key_dir_remove();
}

static void a_bad_reload_changes_nothing(void)
{
    const char *arguments[] = {"serve", "-c", NULL, "--listen", "127.0.0.1:0", NULL};
    char expected[128];
    struct node node = {.command = {-1, -1, -1, -1}};

    if (key_dir_make()) {
        snprintf(expected, sizeof(expected), "\"public_key\":\"%s\"", key_hex(1));
        key_file("id.pem", 1);
        arguments[2] = write_config("");
        if (command_start(&node.command, arguments, PIPE_ERRORS, -1) &&
            CHECK(read_line(node.command.output, node.line, sizeof(node.line))) &&
            node_find_url(&node)) {
            key_file("id.pem", 2);
            key_text("bad.pub", "nonsense", 0644);
            kill(node.command.pid, SIGHUP);
            CHECK(read_line(node.command.errors, node.line, sizeof(node.line)));
            CHECK_CONTAINS(node.line, "parley serve: security.trusted_keys_dir: ");
            CHECK_CONTAINS(node.line, "/bad.pub: holds no public key (64 hex digits, or PEM); "
                                      "nothing is reloaded");
            CHECK_CONTAINS(fetch(&node, "/public-key"), expected);
            key_text("conf.yaml", "nonsense: 1\n", 0600);
            kill(node.command.pid, SIGHUP);
            CHECK(read_line(node.command.errors, node.line, sizeof(node.line)));
            CHECK_CONTAINS(node.line, "conf.yaml:1:1: nonsense: expected a known key");
            CHECK(read_line(node.command.errors, node.line, sizeof(node.line)));
            CHECK_TEXT(node.line, "parley serve: nothing is reloaded");
            CHECK_CONTAINS(fetch(&node, "/public-key"), expected);
            CHECK_U64(node_stop(&node, SIGTERM), 0);
        }
    }
    key_dir_remove();
}

/* ---- Secrets ---- */

static const char *const canaries[] = {
    CANARY_SECRET,
    CANARY_TOKEN,
    "MC4CAQAwBQYDK2VwBCIEIAkAAAAA",       /* the identity as its file has it, */
    "0900000000000000000000000000000000", /* in hex, */
    "CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",   /* in base64 */
};

static void check_silent(const char *where, const char *text)
{
    for (size_t i = 0; i < sizeof(canaries) / sizeof(canaries[0]); i++) {
        if (strstr(text, canaries[i]) != NULL)
            check_text_(canaries[i], "(a secret that stays one)", where, __FILE__, __LINE__);
    }
}

#define SECRETS                         \
    "  jwt_secret: " CANARY_SECRET "\n" \
    "peers:\n  - {id: a, url: 'http://127.0.0.1:9', token: " CANARY_TOKEN "}\n"

static void commands_keep_secrets(void)
{
    const char *path;

    if (key_dir_make()) {
        key_file("id.pem", 9);
        path = write_config(SECRETS);
        EXPECT_EXIT(parley_run(output, "config show %s", path), 0, output);
        CHECK_CONTAINS(output, "jwt_secret: \"********\"");
        check_silent("config show", output);
        EXPECT_EXIT(parley_run(output, "config show %s --json", path), 0, output);
        check_silent("config show --json", output);
        EXPECT_EXIT(parley_run(output, "config check %s", path), 0, output);
        check_silent("config check", output);
        path = write_config("  jwt_secret: '" CANARY_SECRET " with a space'\n");
        EXPECT_EXIT(parley_run(output, "config check %s", path), 1, output);
        CHECK_CONTAINS(output, "security.jwt_secret: expected");
        check_silent("a secret that is no secret", output);
        path = write_config(SECRETS);
        EXPECT_EXIT(parley_run(output, "send -c %s a --ttl-ms 300 -vv --type x '{}'", path), 5,
                    output);
        check_silent("send", output);
        EXPECT_EXIT(parley_run(output, "serve --set security.jwt_secret=x"), 2, output);
        CHECK_CONTAINS(output, "ps would show the secret to every user");
    }
    key_dir_remove();
}

static void read_whole(const char *path, char *text, size_t len)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = file >= 0 ? read(file, text, len - 1) : -1;

    CHECK(got > 0);
    for (ssize_t i = 0; i < got; i++) {
        if (text[i] == '\0')
            text[i] = ' ';
    }
    text[got > 0 ? got : 0] = '\0';
    close(file);
}

static void a_running_node_keeps_secrets(void)
{
    static const char *const paths[] = {"/health", "/stats",   "/peers",  "/public-key",
                                        "/",       "/nowhere", "/message"};
    const char *arguments[] = {"serve", "-c", NULL, "--listen", "127.0.0.1:0", "-vv", NULL};
    char file[64], query[128], line[512];
    struct node node = {.command = {-1, -1, -1, -1}};

    if (key_dir_make()) {
        key_file("id.pem", 9);
        arguments[2] = write_config(SECRETS);
        if (command_start(&node.command, arguments, PIPE_ERRORS, -1) &&
            CHECK(read_line(node.command.output, node.line, sizeof(node.line))) &&
            node_find_url(&node)) {
            for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
                check_silent(paths[i], fetch(&node, paths[i]));
                check_silent(paths[i], ask(&node, paths[i],
                                           "Authorization: Bearer " CANARY_TOKEN "\r\n", ""));
                check_silent(paths[i], ask(&node, paths[i], "", CANARY_TOKEN));
                snprintf(query, sizeof(query), "%s?token=" CANARY_TOKEN, paths[i]);
                check_silent(query, fetch(&node, query));
            }
            snprintf(file, sizeof(file), "/proc/%d/cmdline", (int)node.command.pid);
            read_whole(file, output, sizeof(output));
            check_silent("the process list", output);
            kill(node.command.pid, SIGTERM);
            while (read_line(node.command.errors, line, sizeof(line)))
                check_silent("the log", line);
            CHECK_U64(command_wait(&node.command), 0);
        }
    }
    key_dir_remove();
}

/* Kills a node as a fault would. @return whether the kernel wrote a core dump of it */
static bool dumps_core(const char *config)
{
    struct node node = {.command = {-1, -1, -1, -1}};
    char command[2048], line[512];
    const char *url;
    FILE *pipe;
    int status = 0;
    pid_t pid = 0;

    find_tree();
    snprintf(command, sizeof(command),
             "cd %s && ulimit -c unlimited && echo $$ && "
             "exec %.1000s/parley serve --listen 127.0.0.1:0 -c %s 2>&1",
             key_dir, tree.build, config);
    pipe = popen(command, "r"); /* the shell becomes the node */
    if (!CHECK(pipe != NULL))
        return false;
    if (CHECK(fgets(line, sizeof(line), pipe) != NULL))
        pid = (pid_t)strtol(line, NULL, 10);
    url = fgets(node.line, sizeof(node.line), pipe);
    if (CHECK(url != NULL && strstr(url, "listening on") != NULL && pid > 1))
        kill(pid, SIGSEGV);
    status = pclose(pipe);
    return WIFSIGNALED(status) && WCOREDUMP(status);
}

/* Where nodes without secrets leave core dumps behind, one with secrets does not. */
static void no_core_dump_holds_secrets(void)
{
    char plain[400];

    if (key_dir_make()) {
        snprintf(plain, sizeof(plain), "%s", key_text("plain.yaml", "node: {id: x}\n", 0600));
        key_file("id.pem", 9);
        if (dumps_core(plain))
            CHECK(!dumps_core(write_config("")) && !dumps_core(write_config(SECRETS)));
        else
            fprintf(stderr, "    no core dumps are written here at all: nothing to see\n");
    }
    key_dir_remove();
}

static const struct check_test tests[] = {
    {"keygen prints what it wrote", keygen_prints_what_it_wrote},
    {"keygen overwrites only when forced", keygen_overwrites_only_when_forced},
    {"a hangup has keys read again", a_hangup_has_keys_read_again},
    {"a bad reload changes nothing", a_bad_reload_changes_nothing},
    {"commands keep secrets", commands_keep_secrets},
    {"a running node keeps secrets", a_running_node_keeps_secrets},
    {"no core dump holds secrets", no_core_dump_holds_secrets},
};

CHECK_MAIN("keys on the command line", tests)
