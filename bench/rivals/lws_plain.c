/* SPDX-License-Identifier: Apache-2.0
 *
 * Rival: libwebsockets used the way its examples do, client and server: one lws_write() per
 * message, masks by the library, cJSON per message, one acknowledgement frame per message.
 *
 * One thread and one context per process, on the library's own poll() loop. A WRITEABLE
 * callback writes everything it may (the window at the client, what is due at the server)
 * as long as the library has buffered nothing: faster than one message per callback.
 */
#include <arpa/inet.h>
#include <libwebsockets.h>

#include "bench/rivals/rival.h"

#define MESSAGE_MAX (16384 + RIVAL_ENVELOPE_EXTRA)

struct side {
    struct rival rival;
    struct lws_context *context;
    uint64_t random, bytes_out, acked;
    uint32_t open;
    struct rival_inbox all;
    double cpu_start_s;
    bool stop;
    unsigned char buffer[LWS_PRE + MESSAGE_MAX];
};

struct client_connection {
    struct side *side;
    struct lws *wsi;
    struct rival_session session;
};

struct server_connection {
    struct rival_inbox inbox;
    uint64_t answered;      /* acknowledgements written */
    size_t len;             /* of a message that comes in pieces */
    char text[MESSAGE_MAX]; /* its pieces */
};

static void write_text(struct side *side, struct lws *wsi, size_t len)
{
    if (lws_write(wsi, side->buffer + LWS_PRE, len, LWS_WRITE_TEXT) < (int)len)
        rival_die("lws_write");
}

/* ---- client ---- */

static size_t frame_bytes(size_t len)
{
    return len + (len < 126 ? 6 : 8);
}

static void client_write(struct client_connection *connection)
{
    struct side *side = connection->side;
    while (rival_may_send(&side->rival, &connection->session) &&
           !lws_partial_buffered(connection->wsi)) {
        size_t len = rival_envelope(&side->rival, &connection->session, &side->random,
                                    (char *)side->buffer + LWS_PRE);
        write_text(side, connection->wsi, len);
        side->bytes_out += frame_bytes(len);
    }
    if (rival_may_send(&side->rival, &connection->session))
        lws_callback_on_writable(connection->wsi);
}

static int on_client(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                     size_t len)
{
    struct client_connection *connection = user;
    switch ((int)reason) {
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        connection->side->open++;
        break;
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        client_write(connection);
        break;
    case LWS_CALLBACK_CLIENT_RECEIVE:
        if (!rival_take_ack(&connection->session, in, len))
            rival_die("the order of acknowledgements");
        connection->side->acked++;
        lws_callback_on_writable(wsi);
        break;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
        rival_die("connecting");
        break;
    default:
        break;
    }
    return 0;
}

/* ---- server ---- */

static void server_write(struct side *side, struct server_connection *connection,
                         struct lws *wsi)
{
    while (connection->answered < connection->inbox.handled && !lws_partial_buffered(wsi))
        write_text(side, wsi,
                   rival_ack((char *)side->buffer + LWS_PRE, ++connection->answered));
    if (connection->answered < connection->inbox.handled)
        lws_callback_on_writable(wsi);
}

static void server_receive(struct side *side, struct server_connection *connection,
                           struct lws *wsi, const char *in, size_t len)
{
    if (side->cpu_start_s < 0)
        side->cpu_start_s = usage_cpu_s();
    bool last = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0;
    if (connection->len > 0 || !last) {
        if (connection->len + len > sizeof(connection->text))
            rival_die("a message's size");
        memcpy(connection->text + connection->len, in, len);
        connection->len += len;
        in = connection->text;
        len = connection->len;
    }
    if (!last)
        return;
    rival_handle(&connection->inbox, in, len);
    connection->len = 0;
    lws_callback_on_writable(wsi);
}

static int on_server(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                     size_t len)
{
    struct server_connection *connection = user;
    struct side *side = lws_context_user(lws_get_context(wsi));
    switch ((int)reason) {
    case LWS_CALLBACK_ESTABLISHED:
        memset(connection, 0, sizeof(*connection));
        break;
    case LWS_CALLBACK_RECEIVE:
        server_receive(side, connection, wsi, in, len);
        break;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        server_write(side, connection, wsi);
        break;
    case LWS_CALLBACK_CLOSED:
        side->all.handled += connection->inbox.handled;
        side->all.wrong += connection->inbox.wrong;
        break;
    case LWS_CALLBACK_RAW_CLOSE_FILE:
        side->stop = true;
        break;
    case LWS_CALLBACK_RAW_RX_FILE: {
        char byte; /* standard input ended: so has the client */
        side->stop = read(STDIN_FILENO, &byte, 1) <= 0;
        break;
    }
    default:
        break;
    }
    return 0;
}

/* ---- processes ---- */

static void side_init(struct side *side, lws_callback_function *callback, size_t session_bytes,
                      int port)
{
    static struct lws_protocols protocols[2];
    protocols[0] = (struct lws_protocols){.name = "bench",
                                          .callback = callback,
                                          .per_session_data_size = session_bytes,
                                          .rx_buffer_size = 65536};
    struct lws_context_creation_info info = {
        .port = port,
        .protocols = protocols,
        .iface = port == CONTEXT_PORT_NO_LISTEN ? NULL : "127.0.0.1",
        .pt_serv_buf_size = 65536,
        .user = side,
    };
    usage_raise_descriptors();
    lws_set_log_level(LLL_ERR, NULL);
    side->random = usage_now_ns();
    side->cpu_start_s = -1;
    side->context = lws_create_context(&info);
    if (!side->context)
        rival_die("lws_create_context");
}

/* A port that was free a moment ago: lws 4.1 cannot say which one it was given. */
static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        rival_die("finding a port");
    close(fd);
    return ntohs(address.sin_port);
}

static int serve(void)
{
    struct side *side = rival_memory(1, sizeof(*side));
    uint16_t port = free_port();
    side_init(side, on_server, sizeof(struct server_connection), port);
    struct lws_vhost *vhost = lws_get_vhost_by_name(side->context, "default");
    lws_sock_file_fd_type input = {.filefd = STDIN_FILENO};
    if (!lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, input, "bench", NULL))
        rival_die("watching standard input");
    rival_server_ready(port);
    while (!side->stop)
        lws_service(side->context, 0);
    double cpu_s = usage_cpu_s() - side->cpu_start_s;
    lws_context_destroy(side->context);
    rival_server_report(&side->all, cpu_s);
    free(side);
    return 0;
}

static void dial(struct side *side, struct client_connection *connection, uint16_t port)
{
    struct lws_client_connect_info info = {
        .context = side->context,
        .address = "127.0.0.1",
        .host = "127.0.0.1",
        .origin = NULL,
        .port = port,
        .path = "/ws/v1/peers",
        .userdata = connection,
        .pwsi = &connection->wsi,
        .local_protocol_name = "bench",
    };
    connection->side = side;
    if (!lws_client_connect_via_info(&info))
        rival_die("connecting");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        return serve();
    struct side *side = rival_memory(1, sizeof(*side));
    side->rival = rival_options(argc, argv);
    struct rival_server server = rival_server_start();
    side_init(side, on_client, 0, CONTEXT_PORT_NO_LISTEN);
    struct client_connection *connections =
        rival_memory(side->rival.peers, sizeof(*connections));
    for (uint32_t i = 0; i < side->rival.peers; i++) {
        dial(side, &connections[i], server.port);
        rival_session_init(&side->rival, &connections[i].session, i, &side->random);
    }
    while (side->open < side->rival.peers)
        lws_service(side->context, 0);

    double cpu_s = usage_cpu_s();
    uint64_t start_ns = usage_now_ns();
    for (uint32_t i = 0; i < side->rival.peers; i++)
        lws_callback_on_writable(connections[i].wsi);
    while (side->acked < side->rival.messages)
        lws_service(side->context, 0);
    double seconds = (double)(usage_now_ns() - start_ns) / 1e9;
    cpu_s = usage_cpu_s() - cpu_s;

    int code =
        rival_finish(&side->rival, &server, seconds, cpu_s, side->bytes_out, side->acked);
    lws_context_destroy(side->context);
    free(connections);
    free(side);
    return code;
}
