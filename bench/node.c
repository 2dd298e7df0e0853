/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiving node as a child process: see node.h.
 */
#include "bench/node.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/commands.h"
#include "bench/security.h"
#include "bench/usage.h"

#define START_TIMEOUT_MS 20000
#define STATS_BYTES_MAX  (4u * 1024 * 1024)

extern char **environ;

/* ---- the process ---- */

/* Reads "WORD N\n" from the child, and nothing of what follows. @return negative: it said
   nothing of the kind in time */
static long read_number(int output, const char *word)
{
    char line[64] = "";
    size_t len = 0;
    struct pollfd ready = {.fd = output, .events = POLLIN};
    while (len < sizeof(line) - 1 && !memchr(line, '\n', len)) {
        if (poll(&ready, 1, START_TIMEOUT_MS) != 1)
            return -1;
        ssize_t got = read(output, line + len, 1);
        if (got <= 0)
            return -1;
        len += (size_t)got;
    }
    line[len] = '\0';
    size_t word_len = strlen(word);
    return strncmp(line, word, word_len) == 0 ? strtol(line + word_len, NULL, 10) : -1;
}

static bool spawn(struct node_process *node, char *const argv[], int input, int output)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return false;
    bool good =
        posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO) == 0 &&
        (!node->journal || posix_spawn_file_actions_adddup2(&actions, node->journal->fd,
                                                            RECEIVE_JOURNAL_FD) == 0) &&
        posix_spawn(&node->process, "/proc/self/exe", &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return good;
}

/* The ports of all its nodes but the first, where there are more. */
static bool read_ports(struct node_process *node)
{
    if (node->nodes <= 1)
        return true;
    node->ports = calloc(node->nodes, sizeof(*node->ports));
    if (!node->ports)
        return false;
    node->ports[0] = node->port;
    for (uint64_t i = 1; i < node->nodes; i++) {
        long port = read_number(node->output, "port ");
        if (port <= 0)
            return false;
        node->ports[i] = (uint16_t)port;
    }
    return true;
}

static bool start(struct node_process *node, bool midway)
{
    char peers[24], threads[24], workers[24], port[24], nodes[24];
    snprintf(peers, sizeof(peers), "%" PRIu64, node->peers);
    snprintf(threads, sizeof(threads), "%" PRIu64, node->threads);
    snprintf(workers, sizeof(workers), "%" PRIu64, node->workers);
    snprintf(port, sizeof(port), "%u", (unsigned)node->port);
    char *argv[20] = {"parley-bench", "receive", "--peers", peers,       "--threads",
                      threads,        "--port",  port,      "--workers", workers};
    size_t argc = 10;
    if (midway)
        argv[argc++] = "--midway";
    if (node->no_websocket)
        argv[argc++] = "--no-websocket";
    if (node->nodes > 0) {
        snprintf(nodes, sizeof(nodes), "%" PRIu64, node->nodes);
        argv[argc++] = "--nodes";
        argv[argc++] = nodes;
        argv[argc++] = "--security";
        argv[argc++] = (char *)security_name(node->security);
    }
    if (node->journal) {
        argv[argc++] = "--journal";
        journal_new_life(node->journal);
    }
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    unsigned seen = 0;
    if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 &&
        spawn(node, argv, in[0], out[1])) {
        close(out[1]);
        out[1] = -1;
        long port_seen = read_number(out[0], "port ");
        seen = port_seen > 0 ? (unsigned)port_seen : 0;
    }
    close(in[0]);
    if (out[1] >= 0)
        close(out[1]);
    node->input = in[1];
    node->output = out[0];
    node->port = (uint16_t)seen;
    snprintf(node->url, sizeof(node->url), "http://127.0.0.1:%u", seen);
    if (seen != 0 && read_ports(node))
        return true;
    fputs("parley-bench: the receiving node did not start\n", stderr);
    return false;
}

bool node_start(struct node_process *node)
{
    node->port = 0;
    return start(node, false);
}

void node_kill(struct node_process *node)
{
    struct rusage usage;
    kill(node->process, SIGKILL);
    if (wait4(node->process, NULL, 0, &usage) == node->process)
        node->killed_cpu_s += usage_seconds(&usage);
    close(node->input);
    close(node->output);
    node->process = 0;
}

bool node_restart(struct node_process *node)
{
    return start(node, true);
}

bool node_kill_and_restart(struct node_process *node)
{
    node_kill(node);
    return node_restart(node);
}

static long ask(struct node_process *node, char request, const char *word)
{
    long count = write(node->input, &request, 1) == 1 ? read_number(node->output, word) : -1;
    if (count < 0)
        fprintf(stderr, "parley-bench: the receiving node did not answer \"%s\"\n", word);
    return count;
}

long node_cut_connections(struct node_process *node)
{
    return ask(node, RECEIVE_CUT, "cut ");
}

long node_owe_answers(struct node_process *node, bool owe)
{
    return ask(node, owe ? RECEIVE_OWE : RECEIVE_ANSWER, "answered ");
}

void node_stop(struct node_process *node)
{
    free(node->ports);
    node->ports = NULL;
    if (node->process <= 0)
        return;
    close(node->input);
    close(node->output);
    const struct timespec pause = {.tv_nsec = 10000000};
    for (unsigned i = 0; i < 1000; i++) {
        if (waitpid(node->process, NULL, WNOHANG) != 0) {
            node->process = 0;
            return;
        }
        nanosleep(&pause, NULL);
    }
    fputs("parley-bench: the receiving node did not end by itself\n", stderr);
    kill(node->process, SIGKILL);
    waitpid(node->process, NULL, 0);
    node->process = 0;
}

void node_url(const struct node_process *node, uint64_t index, char *url, size_t len)
{
    if (node->ports)
        snprintf(url, len, "http://127.0.0.1:%u", (unsigned)node->ports[index]);
    else
        snprintf(url, len, "%s", node->url);
}

/* ---- its figures ---- */

struct reply {
    char *text;
    size_t len;
};

static size_t take_reply(char *data, size_t size, size_t count, void *user)
{
    struct reply *reply = user;
    size_t len = size * count;
    if (reply->len + len > STATS_BYTES_MAX)
        return 0;
    char *text = realloc(reply->text, reply->len + len);
    if (!text)
        return 0;
    memcpy(text + reply->len, data, len);
    reply->text = text;
    reply->len += len;
    return len;
}

/* Looks for a member at any depth: the reply's outer shape is the node's business. */
static const cJSON *find(const cJSON *json, const char *name)
{
    for (const cJSON *child = json ? json->child : NULL; child; child = child->next) {
        const cJSON *found = child->string && strcmp(child->string, name) == 0 ? child : NULL;
        found = found ? found : find(child, name);
        if (found)
            return found;
    }
    return NULL;
}

/* Both look at `item` themselves: cJSON's checks would, too, but the analyser cannot see into
 * them and follows a missing member down every path. */
static uint64_t number(const cJSON *object, const char *name)
{
    const cJSON *item = find(object, name);
    if (!item)
        return 0;
    if (cJSON_IsString(item))
        return strtoull(item->valuestring, NULL, 16);
    return cJSON_IsNumber(item) && item->valuedouble > 0 ? (uint64_t)item->valuedouble : 0;
}

static double seconds(const cJSON *object, const char *name)
{
    const cJSON *item = find(object, name);
    return item && cJSON_IsNumber(item) ? item->valuedouble : 0;
}

bool node_parse_figures(const char *text, size_t len, struct node_figures *ret_figures)
{
    cJSON *json = cJSON_ParseWithLength(text, len);
    if (!json)
        return false;
    const cJSON *application = find(json, "application");
    *ret_figures = (struct node_figures){
        .application = find(application, "payload_hash_sum") != NULL,
        .handled = number(application, "handled"),
        .handled_twice = number(application, "handled_twice"),
        .order_violations = number(application, "order_violations"),
        .payload_hash_sum = number(application, "payload_hash_sum"),
        .strange = number(application, "strange"),
        .rss_kb = number(application, "rss_kb"),
        .cpu_s = seconds(application, "cpu_s"),
        .ws_connections_accepted = number(json, "ws_connections_accepted"),
    };
    cJSON_Delete(json);
    return true;
}

static bool read_one(const char *base, struct node_figures *ret_figures)
{
    char url[sizeof(((struct node_process *)NULL)->url) + 8];
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        len--;
    snprintf(url, sizeof(url), "%.*s/stats", (int)len, base);
    struct reply reply = {0};
    CURL *curl = curl_easy_init();
    if (!curl)
        return false;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_reply);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    bool good = code == CURLE_OK && node_parse_figures(reply.text, reply.len, ret_figures);
    if (!good)
        fprintf(stderr, "parley-bench: %s: %s\n", url,
                code == CURLE_OK ? "not JSON" : curl_easy_strerror(code));
    free(reply.text);
    return good;
}

bool node_read(const struct node_process *node, struct node_figures *ret_figures)
{
    struct node_figures figures, more;
    if (!read_one(node->url, &figures))
        return false;
    for (uint64_t i = 1; node->ports && i < node->nodes; i++) { /* the books are shared */
        char url[64];
        node_url(node, i, url, sizeof(url));
        if (!read_one(url, &more))
            return false;
        figures.ws_connections_accepted += more.ws_connections_accepted;
    }
    *ret_figures = figures;
    return true;
}
