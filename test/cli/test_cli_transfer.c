/* SPDX-License-Identifier: Apache-2.0
 *
 * `parley send --file` of what travels in chunks: what `parley listen` got is what was sent,
 * both say so by its SHA-256, and a terminal sees how far it is.
 */
#include <openssl/evp.h>
#include <sys/ioctl.h>

#include "test/cli/commands.h"

#define BYTES 3000000

static const char *const digest[] = {"--listen", "127.0.0.1:0", "--digest", "--json", NULL};

/* Writes a payload. @return its SHA-256 in hex, in `text` */
static void payload_write(const char *path, char text[65])
{
    char *payload = malloc(BYTES + 1);
    unsigned char sum[32];
    FILE *file = fopen(path, "wb");

    snprintf(payload, BYTES + 1, "{\"text\":\"%0*d\"}", BYTES - 11, 7);
    CHECK_U64(strlen(payload), BYTES);
    CHECK(file != NULL && fwrite(payload, 1, BYTES, file) == BYTES && fclose(file) == 0);
    EVP_Digest(payload, BYTES, sum, NULL, EVP_sha256(), NULL);
    for (size_t i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", sum[i]);
    free(payload);
}

static void both_ends_tell_the_same_digest(void)
{
    char path[] = "/tmp/parley-transfer-XXXXXX", sha256[65], expected[160];
    char output[OUTPUT_MAX], line[1024];
    int file = mkstemp(path);
    struct node node;

    payload_write(path, sha256);
    if (node_start_as(&node, "listen", digest)) {
        snprintf(expected, sizeof(expected), "\"bytes\":%d,\"sha256\":\"%s\"}", BYTES, sha256);
        for (int http = 0; http < 2; http++) {
            EXPECT_EXIT(parley_run(output,
                                   "send --url %s --type t --transport %s --json --file %s",
                                   node.url, http ? "http" : "ws", path),
                        0, output);
            CHECK_CONTAINS(output, expected);
            CHECK(read_line(node.command.output, line, sizeof(line)));
            CHECK_CONTAINS(line, expected);
        }
        EXPECT_EXIT(parley_run(output, "send --url %s --type t -v '{\"a\":1}'", node.url), 0,
                    output);
        CHECK_CONTAINS(output, ", 7 bytes, sha256 015abd7f5cc57a2dd94b7590f04ad808");
        CHECK_U64(node_stop(&node, SIGINT), 0);
    }
    close(file);
    unlink(path);
}

static void the_longest_there_may_be(void)
{
    char path[] = "/tmp/parley-transfer-XXXXXX", sha256[65], output[OUTPUT_MAX];
    int file = mkstemp(path);
    struct node node;

    payload_write(path, sha256);
    if (node_start_as(&node, "listen", digest)) {
        EXPECT_EXIT(parley_run(output,
                               "send --url %s --type t --file %s "
                               "--set limits.transfer_bytes_max=2000000",
                               node.url, path),
                    2, output);
        CHECK_CONTAINS(output, "longer than limits.transfer_bytes_max (2000000 bytes)");
        CHECK_U64(node_stop(&node, SIGINT), 0);
    }
    close(file);
    unlink(path);
}

/* Runs `parley send` with a terminal for its standard error. @return what stood there */
static size_t send_on_terminal(const struct node *node, const char *path, char *text,
                               size_t len)
{
    const char *const arguments[] = {"send",   "--url", node->url, "--type", "t",
                                     "--file", path,    "-q",      NULL};
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), terminal;
    struct command command = {-1, -1, -1, -1};
    char name[64] = "";
    int own = dup(STDERR_FILENO);
    size_t used = 0;
    ssize_t got;

    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 &&
          ptsname_r(master, name, sizeof(name)) == 0);
    terminal = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    dup2(terminal, STDERR_FILENO); /* which the command inherits */
    CHECK(command_start(&command, arguments, PIPE_OUTPUT, -1));
    dup2(own, STDERR_FILENO);
    close(own);
    close(terminal);
    while (used < len - 1 && (got = read(master, text + used, len - 1 - used)) > 0)
        used += (size_t)got; /* until the command has ended, which is an error */
    text[used] = '\0';
    CHECK_U64(command_wait(&command), 0);
    close(master);
    return used;
}

static void a_terminal_sees_how_far_it_is(void)
{
    char path[] = "/tmp/parley-transfer-XXXXXX", sha256[65], text[OUTPUT_MAX];
    int file = mkstemp(path);
    struct node node;
    size_t used;

    payload_write(path, sha256);
    if (node_start_as(&node, "listen", digest)) {
        used = send_on_terminal(&node, path, text, sizeof(text));
        CHECK_CONTAINS(text, "] 100%  2.9 of 2.9 MiB");
        CHECK_CONTAINS(text, "[########################]");
        CHECK(used > 4 && strstr(text, "\r\033[K\r1 of 1 results") != NULL);
        CHECK_U64(node_stop(&node, SIGINT), 0);
    }
    close(file);
    unlink(path);
}

static const struct check_test tests[] = {
    {"both ends tell the same digest", both_ends_tell_the_same_digest},
    {"the longest there may be", the_longest_there_may_be},
    {"a terminal sees how far it is", a_terminal_sees_how_far_it_is},
};

CHECK_MAIN("cli: transfer", tests)
