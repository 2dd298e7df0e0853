/* SPDX-License-Identifier: Apache-2.0
 *
 * Rival: WebSocket written by hand for this one exchange, as fast as its author could make
 * it while each message stays one frame, parsed by cJSON and acknowledged by one frame.
 *
 * Client and server are one thread around epoll each. Whatever is pending on a connection
 * goes out in one send(); frames are built in place in the output buffer, masked eight bytes
 * at a time, and parsed in place in the input buffer. It has no TLS, no fragments, no limits,
 * no timers and no second transport: less work than any real service does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench/rivals/rival.h"

#define IN_BYTES   (256u * 1024)
#define EVENTS_MAX 256
#define ACK_HEADER 2 /* an acknowledgement is shorter than 126 bytes, and not masked */
#define MSG_HEADER 8 /* an envelope never is, and is masked */

struct connection {
    int fd;
    bool upgraded, writing; /* writing: EPOLLOUT is asked for */
    size_t in_len;
    char *in; /* IN_BYTES, shared unless a frame is incomplete */
    char *out;
    size_t out_start, out_len, out_bytes;
    struct rival_session session; /* client */
    struct rival_inbox inbox;     /* server */
};

struct side {
    struct rival rival;
    bool server;
    int epoll;
    uint64_t random, bytes_out, acked;
    uint32_t upgraded;
    char *scratch; /* input of whichever connection is being read */
    struct rival_inbox all;
    double cpu_start_s;
};

/* ---- frames ---- */

static void mask(char *bytes, size_t len, uint32_t key)
{
    uint64_t wide = (uint64_t)key << 32 | key, word;
    for (; len >= 8; bytes += 8, len -= 8) {
        memcpy(&word, bytes, 8);
        word ^= wide;
        memcpy(bytes, &word, 8);
    }
    for (size_t i = 0; i < len; i++)
        bytes[i] ^= (char)(key >> (8 * i));
}

/* Writes a text frame's header just before `body`. @return where the frame begins */
static char *put_header(char *body, size_t len, const uint32_t *key)
{
    char *at = body;
    if (key)
        memcpy(at -= 4, key, 4);
    uint8_t masked = key ? 0x80 : 0;
    if (len < 126) {
        *--at = (char)(masked | len);
    } else {
        *--at = (char)(len & 0xff);
        *--at = (char)(len >> 8);
        *--at = (char)(masked | 126);
    }
    *--at = (char)0x81;
    return at;
}

/* ---- output ---- */

static void watch(struct side *side, struct connection *connection, int operation)
{
    struct epoll_event event = {.data.ptr = connection};
    event.events = EPOLLIN | (connection->writing ? EPOLLOUT : 0u);
    if (epoll_ctl(side->epoll, operation, connection->fd, &event) != 0)
        rival_die("epoll_ctl");
}

static void flush(struct side *side, struct connection *connection)
{
    bool blocked = false;
    while (connection->out_len > 0 && !blocked) {
        ssize_t sent = send(connection->fd, connection->out + connection->out_start,
                            connection->out_len, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            rival_die("send");
        blocked = sent < (ssize_t)connection->out_len;
        if (sent > 0) {
            connection->out_start += (size_t)sent;
            connection->out_len -= (size_t)sent;
            side->bytes_out += (size_t)sent;
        }
    }
    if (connection->out_len == 0)
        connection->out_start = 0;
    if (blocked != connection->writing) {
        connection->writing = blocked;
        watch(side, connection, EPOLL_CTL_MOD);
    }
}

/* Room for `bytes` at the output's end. */
static char *room(struct connection *connection, size_t bytes)
{
    if (connection->out_start > 0 &&
        connection->out_start + connection->out_len + bytes > connection->out_bytes) {
        memmove(connection->out, connection->out + connection->out_start, connection->out_len);
        connection->out_start = 0;
    }
    if (connection->out_len + bytes > connection->out_bytes) {
        connection->out_bytes = (connection->out_len + bytes) * 2;
        char *out = realloc(connection->out, connection->out_bytes);
        if (!out)
            rival_die("memory");
        connection->out = out;
    }
    return connection->out + connection->out_start + connection->out_len;
}

/* The client: everything the window allows, in one buffer. */
static void send_messages(struct side *side, struct connection *connection)
{
    while (rival_may_send(&side->rival, &connection->session)) {
        char *at =
            room(connection, MSG_HEADER + side->rival.payload_bytes + RIVAL_ENVELOPE_EXTRA);
        size_t len =
            rival_envelope(&side->rival, &connection->session, &side->random, at + MSG_HEADER);
        uint32_t key = (uint32_t)rival_random(&side->random);
        mask(at + MSG_HEADER, len, key);
        put_header(at + MSG_HEADER, len, &key);
        connection->out_len += MSG_HEADER + len;
    }
}

/* ---- input ---- */

static void take_message(struct side *side, struct connection *connection, char *body,
                         size_t len)
{
    if (!side->server) {
        if (!rival_take_ack(&connection->session, body, len))
            rival_die("the order of acknowledgements");
        side->acked++;
        return;
    }
    if (side->cpu_start_s < 0)
        side->cpu_start_s = usage_cpu_s();
    char *at = room(connection, ACK_HEADER + RIVAL_ACK_MAX);
    size_t ack_len = rival_ack(at + ACK_HEADER, rival_handle(&connection->inbox, body, len));
    put_header(at + ACK_HEADER, ack_len, NULL);
    connection->out_len += ACK_HEADER + ack_len;
}

/* @return bytes of one whole frame that was handled, 0: incomplete */
static size_t take_frame(struct side *side, struct connection *connection, char *in,
                         size_t in_len)
{
    if (in_len < 2)
        return 0;
    bool masked = in[1] & 0x80;
    size_t len = in[1] & 0x7f, head = 2;
    if (len == 127)
        rival_die("a frame's length");
    if (len == 126) {
        if (in_len < 4)
            return 0;
        len = (size_t)(unsigned char)in[2] << 8 | (unsigned char)in[3];
        head = 4;
    }
    uint32_t key = 0;
    size_t whole = head + (masked ? 4 : 0) + len;
    if (in_len < whole)
        return 0;
    if (masked) {
        memcpy(&key, in + head, 4);
        mask(in + head + 4, len, key);
    }
    if (((unsigned char)in[0] & 0x0f) == 1)
        take_message(side, connection, in + whole - len, len);
    return whole;
}

static void answer_upgrade(struct connection *connection, const char *request)
{
    const char *key = strstr(request, "Sec-WebSocket-Key: ");
    if (!key)
        rival_die("an upgrade");
    char text[24 + 36 + 1];
    snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    unsigned char digest[SHA_DIGEST_LENGTH], accept[32];
    SHA1((const unsigned char *)text, 60, digest);
    EVP_EncodeBlock(accept, digest, sizeof(digest));
    char *at = room(connection, 256);
    int len = snprintf(at, 256,
                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                       (const char *)accept);
    connection->out_len += (size_t)len;
}

/* @return bytes of the HTTP part that was handled, 0: incomplete */
static size_t take_upgrade(struct side *side, struct connection *connection, char *in,
                           size_t in_len)
{
    in[in_len] = '\0';
    char *end = strstr(in, "\r\n\r\n");
    if (!end)
        return 0;
    if (side->server)
        answer_upgrade(connection, in);
    else if (strncmp(in, "HTTP/1.1 101", 12) != 0)
        rival_die("the upgrade");
    connection->upgraded = true;
    side->upgraded++;
    return (size_t)(end + 4 - in);
}

/* Keeps an incomplete frame with its connection until the rest comes. */
static void keep_rest(struct connection *connection, const char *rest, size_t len)
{
    if (len > 0 && !connection->in)
        connection->in = rival_memory(1, IN_BYTES);
    if (len > 0)
        memcpy(connection->in, rest, len);
    connection->in_len = len;
}

/* @return false: the connection has ended */
static bool readable(struct side *side, struct connection *connection)
{
    char *in = side->scratch;
    size_t len = connection->in_len, used = 0, step;
    if (len > 0)
        memcpy(in, connection->in, len);
    ssize_t got = recv(connection->fd, in + len, IN_BYTES - 1 - len, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        return false;
    len += got > 0 ? (size_t)got : 0;
    do {
        step = connection->upgraded ? take_frame(side, connection, in + used, len - used)
                                    : take_upgrade(side, connection, in + used, len - used);
        used += step;
    } while (step > 0);
    keep_rest(connection, in + used, len - used);
    return true;
}

static struct connection *connection_new(struct side *side, int fd)
{
    struct connection *connection = rival_memory(1, sizeof(*connection));
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    connection->fd = fd;
    watch(side, connection, EPOLL_CTL_ADD);
    return connection;
}

static void connection_free(struct connection *connection)
{
    close(connection->fd);
    free(connection->in);
    free(connection->out);
    free(connection);
}

static void side_init(struct side *side)
{
    usage_raise_descriptors();
    side->epoll = epoll_create1(EPOLL_CLOEXEC);
    side->scratch = rival_memory(1, IN_BYTES);
    side->random = usage_now_ns();
    side->cpu_start_s = -1;
}

/* ---- server ---- */

static int listen_somewhere(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, 4096) != 0 || getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        rival_die("listen");
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void server_drop(struct side *side, struct connection *connection)
{
    side->all.handled += connection->inbox.handled;
    side->all.wrong += connection->inbox.wrong;
    connection_free(connection);
}

static void server_event(struct side *side, struct connection *connection)
{
    if (!readable(side, connection)) {
        server_drop(side, connection);
        return;
    }
    flush(side, connection);
}

static int serve(void)
{
    struct side side = {.server = true};
    struct epoll_event events[EVENTS_MAX];
    uint16_t port = 0;
    side_init(&side);
    int listener = listen_somewhere(&port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(side.epoll, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = NULL;
    epoll_ctl(side.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    rival_server_ready(port);
    for (bool ended = false; !ended;) {
        int count = epoll_wait(side.epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            void *source = events[i].data.ptr;
            if (source == &listener)
                connection_new(&side, accept(listener, NULL, NULL));
            else if (source)
                server_event(&side, source);
            else
                ended = count == 1; /* whatever else is there comes first */
        }
    }
    rival_server_report(&side.all, usage_cpu_s() - side.cpu_start_s);
    free(side.scratch);
    return 0;
}

/* ---- client ---- */

static struct connection *dial(struct side *side, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        rival_die("connect");
    struct connection *connection = connection_new(side, fd);
    char *at = room(connection, 256);
    int len = snprintf(at, 256,
                       "GET /ws/v1/peers HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    connection->out_len += (size_t)len;
    flush(side, connection);
    return connection;
}

static void client_turn(struct side *side, bool sending)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(side->epoll, events, EVENTS_MAX, 20000);
    if (count <= 0)
        rival_die("waiting for the server");
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        if ((events[i].events & ~(uint32_t)EPOLLOUT) && !readable(side, connection))
            rival_die("a connection");
        if (sending)
            send_messages(side, connection);
        flush(side, connection);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return serve();
    struct side side = {.rival = rival_options(argc, argv)};
    struct rival_server server = rival_server_start();
    side_init(&side);
    struct connection **connections =
        rival_memory(side.rival.peers, sizeof(struct connection *));
    for (uint32_t i = 0; i < side.rival.peers; i++) {
        connections[i] = dial(&side, server.port);
        rival_session_init(&side.rival, &connections[i]->session, i, &side.random);
    }
    while (side.upgraded < side.rival.peers)
        client_turn(&side, false);

    side.bytes_out = 0;
    double cpu_s = usage_cpu_s();
    uint64_t start_ns = usage_now_ns();
    for (uint32_t i = 0; i < side.rival.peers; i++) {
        send_messages(&side, connections[i]);
        flush(&side, connections[i]);
    }
    while (side.acked < side.rival.messages)
        client_turn(&side, true);
    double seconds = (double)(usage_now_ns() - start_ns) / 1e9;
    cpu_s = usage_cpu_s() - cpu_s;

    for (uint32_t i = 0; i < side.rival.peers; i++)
        connection_free(connections[i]);
    free((void *)connections);
    free(side.scratch);
    return rival_finish(&side.rival, &server, seconds, cpu_s, side.bytes_out, side.acked);
}
