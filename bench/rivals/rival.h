/* SPDX-License-Identifier: Apache-2.0
 *
 * What the rivals share, so that they differ only in how they move frames: the options, the
 * server as a process of its own, the complete envelope that the client sends, what the
 * server checks in it after cJSON parsed it, and the figures printed at the end.
 *
 * Program as client: starts itself with "serve" as first argument, reads the port from its
 * stdout, and at the end closes its stdin; the server then prints its CPU seconds and what
 * it handled.
 */
#ifndef PARLEY_BENCH_RIVALS_RIVAL_H
#define PARLEY_BENCH_RIVALS_RIVAL_H

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/payload.h"
#include "bench/usage.h"

#define RIVAL_ENVELOPE_EXTRA 640 /* bytes of an envelope around its payload, at most */
#define RIVAL_PEERS_MAX      10000
#define RIVAL_ACK_MAX        64

struct rival {
    uint32_t peers;
    uint64_t messages;
    uint32_t payload_bytes;
    uint32_t window;
};

/* What the client knows of one connection's session. */
struct rival_session {
    char session_id[37];
    char recipient_id[16];
    uint32_t peer;
    uint64_t quota;      /* messages this connection is to send */
    uint64_t next;       /* number of the next message, from 1 */
    uint64_t acked;      /* acknowledgements received */
    uint64_t acked_last; /* their last number */
};

/* What the server knows of one connection. */
struct rival_inbox {
    uint64_t last;
    uint64_t handled;
    uint64_t wrong;
};

static inline void rival_die(const char *what)
{
    fprintf(stderr, "rival: %s failed\n", what);
    exit(1);
}

static inline void *rival_memory(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    if (!memory)
        rival_die("memory");
    return memory;
}

/* ---- the envelope ---- */

static inline uint64_t rival_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline char *rival_put_hex(char *at, uint64_t value, unsigned digits)
{
    for (unsigned i = 0; i < digits; i++)
        at[i] = "0123456789abcdef"[(value >> (4 * (digits - 1 - i))) & 15];
    return at + digits;
}

static inline char *rival_put_uuid(char *at, uint64_t *random)
{
    uint64_t high = rival_random(random), low = rival_random(random);
    at = rival_put_hex(at, high >> 32, 8);
    *at++ = '-';
    at = rival_put_hex(at, (high >> 16) & 0xffff, 4);
    *at++ = '-';
    at = rival_put_hex(at, (high & 0x0fff) | 0x4000, 4);
    *at++ = '-';
    at = rival_put_hex(at, (low >> 48 & 0x3fff) | 0x8000, 4);
    *at++ = '-';
    return rival_put_hex(at, low & UINT64_C(0xffffffffffff), 12);
}

/* 16 random bytes as base64: 21 digits of 6 bits, one of 2, two of padding. */
static inline char *rival_put_nonce(char *at, uint64_t *random)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint64_t high = rival_random(random), low = rival_random(random);
    for (unsigned i = 0; i < 10; i++)
        *at++ = digits[(high >> (6 * i)) & 63];
    for (unsigned i = 0; i < 10; i++)
        *at++ = digits[(low >> (6 * i)) & 63];
    *at++ = digits[high >> 60 | (low >> 60 & 3) << 4];
    *at++ = digits[(low >> 62) << 4];
    return payload_put_text(at, "==", 2);
}

/* Seconds since the epoch with six decimals. */
static inline char *rival_put_time(char *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at = payload_put_number(at, (uint64_t)now.tv_sec);
    uint64_t micros = (uint64_t)now.tv_nsec / 1000;
    *at++ = '.';
    for (unsigned i = 6; i-- > 0; micros /= 10)
        at[i] = (char)('0' + micros % 10);
    return at + 6;
}

#define RIVAL_PUT(at, literal) payload_put_text((at), (literal), sizeof(literal) - 1)

/** Writes the session's next envelope. @return its length, at most payload_bytes +
 *  RIVAL_ENVELOPE_EXTRA */
static inline size_t rival_envelope(const struct rival *rival, struct rival_session *session,
                                    uint64_t *random, char *buffer)
{
    uint64_t number = session->next++;
    char *at = RIVAL_PUT(buffer, "{\"payload\":");
    payload_prepare(at, rival->payload_bytes);
    payload_write(at, rival->payload_bytes, (struct payload_key){session->peer, 0, number});
    at = RIVAL_PUT(at + rival->payload_bytes, ",\"timestamp\":");
    at = RIVAL_PUT(rival_put_time(at), ",\"nonce\":\"");
    at = RIVAL_PUT(rival_put_nonce(at, random),
                   "\",\"signature\":null,\"encrypted_payload\":null,"
                   "\"sender_public_key\":null,\"jwt_token\":null,"
                   "\"sender_id\":\"bench-sender\",\"recipient_id\":\"");
    at = payload_put_text(at, session->recipient_id, strlen(session->recipient_id));
    at = RIVAL_PUT(at, "\",\"session_id\":\"");
    at = payload_put_text(at, session->session_id, 36);
    at = RIVAL_PUT(at, "\",\"sequence_num\":");
    at = RIVAL_PUT(payload_put_number(at, number),
                   ",\"version\":\"1.0\",\"msg_type\":\"bench\",\"message_id\":\"");
    at = RIVAL_PUT(rival_put_uuid(at, random), "\",\"type\":\"peer_message\"}");
    return (size_t)(at - buffer);
}

/** The server's part for one frame: parse all of it, look at what a service must look at,
 *  check the order. @return the number to acknowledge, 0 when the frame was wrong */
static inline uint64_t rival_handle(struct rival_inbox *inbox, const char *text, size_t len)
{
    cJSON *json = cJSON_ParseWithLength(text, len);
    const cJSON *payload = cJSON_GetObjectItemCaseSensitive(json, "payload");
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(json, "sequence_num");
    const cJSON *inner = cJSON_GetObjectItemCaseSensitive(payload, "n");
    bool good = cJSON_IsNumber(number) && cJSON_IsNumber(inner) &&
                cJSON_IsString(cJSON_GetObjectItemCaseSensitive(json, "sender_id")) &&
                cJSON_IsString(cJSON_GetObjectItemCaseSensitive(json, "session_id")) &&
                cJSON_IsString(cJSON_GetObjectItemCaseSensitive(json, "msg_type")) &&
                number->valuedouble == (double)(inbox->last + 1) &&
                inner->valuedouble == number->valuedouble;
    inbox->last++;
    inbox->handled++;
    inbox->wrong += !good;
    cJSON_Delete(json);
    return good ? inbox->last : 0;
}

static inline size_t rival_ack(char *buffer, uint64_t number)
{
    char *at = RIVAL_PUT(buffer, "{\"type\":\"ACK\",\"ack_seq\":");
    at = payload_put_number(at, number);
    *at++ = '}';
    return (size_t)(at - buffer);
}

/** The client's part for one acknowledgement. @return false: not the one expected */
static inline bool rival_take_ack(struct rival_session *session, const char *text, size_t len)
{
    static const char head[] = "{\"type\":\"ACK\",\"ack_seq\":";
    uint64_t number = 0;
    if (len < sizeof(head) || memcmp(text, head, sizeof(head) - 1) != 0)
        return false;
    for (size_t i = sizeof(head) - 1; i < len && text[i] != '}'; i++)
        number = number * 10 + (uint64_t)(text[i] - '0');
    bool expected = number == session->acked_last + 1;
    session->acked_last = number;
    session->acked++;
    return expected;
}

/** Whether the session may send now. */
static inline bool rival_may_send(const struct rival *rival,
                                  const struct rival_session *session)
{
    return session->next <= session->quota &&
           session->next - 1 - session->acked < rival->window;
}

static inline void rival_session_init(const struct rival *rival, struct rival_session *session,
                                      uint32_t peer, uint64_t *random)
{
    memset(session, 0, sizeof(*session));
    rival_put_uuid(session->session_id, random);
    snprintf(session->recipient_id, sizeof(session->recipient_id), "peer-%04u",
             (unsigned)peer);
    session->peer = peer;
    session->next = 1;
    session->quota = rival->messages / rival->peers + (peer < rival->messages % rival->peers);
}

/* ---- processes and options ---- */

static inline uint64_t rival_number(const char *text, uint64_t max)
{
    char *end = NULL;
    uint64_t number = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || number == 0 || number > max) {
        fprintf(stderr, "rival: expected a number from 1 to %" PRIu64 ", not \"%s\"\n", max,
                text);
        exit(2);
    }
    return number;
}

/** Reads --peers, --messages, --payload, --window (and ignores --json: it is always JSON). */
static inline struct rival rival_options(int argc, char **argv)
{
    struct rival rival = {100, 500000, 100, 64};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--json") == 0)
            continue;
        if (strcmp(argv[i], "--peers") == 0)
            rival.peers = (uint32_t)rival_number(value, RIVAL_PEERS_MAX);
        else if (strcmp(argv[i], "--messages") == 0)
            rival.messages = rival_number(value, UINT64_C(10000000000));
        else if (strcmp(argv[i], "--payload") == 0)
            rival.payload_bytes = (uint32_t)rival_number(value, 16384);
        else if (strcmp(argv[i], "--window") == 0)
            rival.window = (uint32_t)rival_number(value, 4096);
        else {
            printf("usage: %s [--peers N] [--messages M] [--payload B] [--window W]\n",
                   argv[0]);
            exit(strcmp(argv[i], "--help") == 0 ? 0 : 2);
        }
        i++;
    }
    struct payload_key largest = {rival.peers - 1, 0, rival.messages / rival.peers + 1};
    if (rival.payload_bytes < payload_bytes_min(largest)) {
        fprintf(stderr, "rival: --payload: at least %zu\n", payload_bytes_min(largest));
        exit(2);
    }
    return rival;
}

struct rival_server {
    pid_t process;
    int input;
    FILE *output;
    uint16_t port;
};

/** Starts this program as "serve" and reads its port. */
static inline struct rival_server rival_server_start(void)
{
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0)
        rival_die("pipe");
    struct rival_server server = {.process = fork()};
    if (server.process == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[0]);
        close(in[1]);
        close(out[0]);
        close(out[1]);
        execl("/proc/self/exe", "rival", "serve", (char *)NULL);
        _exit(127);
    }
    if (server.process < 0)
        rival_die("fork");
    close(in[0]);
    close(out[1]);
    server.input = in[1];
    server.output = fdopen(out[0], "r");
    unsigned port = 0;
    if (!server.output || fscanf(server.output, "port %u", &port) != 1)
        rival_die("the server's start");
    server.port = (uint16_t)port;
    return server;
}

/** In the server: ends with its parent, says where it listens. */
static inline void rival_server_ready(uint16_t port)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    printf("port %u\n", (unsigned)port);
    fflush(stdout);
}

/** In the server, at the end. */
static inline void rival_server_report(const struct rival_inbox *all, double cpu_s)
{
    printf("handled %" PRIu64 " wrong %" PRIu64 " cpu_s %.6f rss_kb %" PRIu64 "\n",
           all->handled, all->wrong, cpu_s, usage_rss_kb());
    fflush(stdout);
}

/** Ends the server and prints the figures. @return the process's exit code */
static inline int rival_finish(const struct rival *rival, struct rival_server *server,
                               double seconds, double client_cpu_s, uint64_t bytes_out,
                               uint64_t acked)
{
    uint64_t handled = 0, wrong = 0, rss_kb = 0;
    double server_cpu_s = 0;
    close(server->input);
    int fields = fscanf(server->output,
                        " handled %" SCNu64 " wrong %" SCNu64 " cpu_s %lf rss_kb %" SCNu64,
                        &handled, &wrong, &server_cpu_s, &rss_kb);
    fclose(server->output);
    waitpid(server->process, NULL, 0);
    if (fields != 4 || handled != rival->messages || acked != handled || wrong != 0) {
        fprintf(stderr,
                "rival: %" PRIu64 " messages, %" PRIu64 " handled, %" PRIu64
                " acknowledged, %" PRIu64 " wrong\n",
                rival->messages, handled, acked, wrong);
        return 1;
    }
    double million = (double)handled / 1e6;
    printf("{\"messages\":%" PRIu64 ",\"seconds\":%.6f,\"messages_per_s\":%.0f,"
           "\"bytes_per_message\":%.1f,\"client_cpu_s_per_million\":%.4f,"
           "\"server_cpu_s_per_million\":%.4f,\"client_rss_kb\":%" PRIu64
           ",\"server_rss_kb\":%" PRIu64 "}\n",
           handled, seconds, (double)handled / seconds, (double)bytes_out / (double)handled,
           client_cpu_s / million, server_cpu_s / million, usage_rss_kb(), rss_kb);
    return 0;
}

#endif
