/* SPDX-License-Identifier: Apache-2.0
 *
 * Dialling wss://: the server's certificate must come from an authority of the system and
 * name the host. The server here answers 403, so a dial that got through TLS knows that
 * status and one that did not knows none.
 */
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#include "test/transport/host.h"

static struct host host;

struct tls_server {
    SSL_CTX *context;
    int fd;
    uint16_t port;
    pthread_t thread;
    char cert_path[64];
};

static void *serve_one(void *argument)
{
    static const char answer[] = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
    struct tls_server *server = argument;
    int fd = accept(server->fd, NULL, NULL);
    SSL *tls = SSL_new(server->context);
    char request[4096];

    SSL_set_fd(tls, fd);
    if (SSL_accept(tls) == 1 && SSL_read(tls, request, sizeof(request)) > 0)
        SSL_write(tls, answer, (int)strlen(answer));
    SSL_free(tls);
    close(fd);
    return NULL;
}

/* A certificate for "localhost" that signs itself. */
static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_EXTENSION *san =
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");

    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost",
                               -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    X509_add_ext(certificate, san, -1);
    X509_EXTENSION_free(san);
    CHECK(X509_sign(certificate, key, EVP_sha256()) > 0);
    return certificate;
}

static void write_certificate(struct tls_server *server, X509 *certificate)
{
    BIO *file;
    int fd;

    snprintf(server->cert_path, sizeof(server->cert_path), "/tmp/parley-test-XXXXXX");
    fd = mkstemp(server->cert_path);
    file = BIO_new_fd(fd, BIO_CLOSE);
    CHECK(PEM_write_bio_X509(file, certificate) == 1);
    BIO_free(file);
}

static void tls_server_start(struct tls_server *server)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key);

    server->context = SSL_CTX_new(TLS_server_method());
    CHECK(SSL_CTX_use_certificate(server->context, certificate) == 1);
    CHECK(SSL_CTX_use_PrivateKey(server->context, key) == 1);
    write_certificate(server, certificate);
    X509_free(certificate);
    EVP_PKEY_free(key);
    server->fd = raw_listen(&server->port);
    pthread_create(&server->thread, NULL, serve_one, server);
}

static void tls_server_stop(struct tls_server *server)
{
    pthread_join(server->thread, NULL);
    close(server->fd);
    SSL_CTX_free(server->context);
    unlink(server->cert_path);
}

/* @return the status the server's answer to the upgrade had, 0 when there was none */
static unsigned dial_tls(bool trusted, const char *name)
{
    struct tls_server server = {.fd = -1};
    struct end end = {0};
    struct ws_target target;

    tls_server_start(&server);
    setenv("SSL_CERT_FILE", trusted ? server.cert_path : "/dev/null", 1);
    host_start(&host, 1);
    target = target_of(server.port);
    target.tls = true;
    target.host = name;
    CHECK_STATUS(end_dial(&host, &end, &target), OK);
    CHECK(check_wait(&end.closed, 1));
    CHECK(!end.why.was_open);
    host_stop(&host);
    tls_server_stop(&server);
    return end.why.http_status;
}

static void a_trusted_certificate_with_the_hosts_name_is_taken(void)
{
    CHECK_U64(dial_tls(true, "localhost"), 403);
}

static void an_unknown_authority_is_refused(void)
{
    CHECK_U64(dial_tls(false, "localhost"), 0);
}

static void another_hosts_certificate_is_refused(void)
{
    CHECK_U64(dial_tls(true, "example.org"), 0);
}

static const struct check_test tests[] = {
    {"a trusted certificate with the host's name is taken",
     a_trusted_certificate_with_the_hosts_name_is_taken},
    {"an unknown authority is refused", an_unknown_authority_is_refused},
    {"another host's certificate is refused", another_hosts_certificate_is_refused},
};

CHECK_MAIN("ws_tls", tests)
