/* OpenSSL's macros as functions, and the BIO through which a connection's bytes go. */
#pragma once
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

/* Encrypted bytes on their way: read by the library from `in`, written by it to `out`. Neither
 * grows; the owner refills and empties them. */
struct chronik_tls_wire {
    const unsigned char *in;
    size_t in_count;
    unsigned char *out;
    size_t out_count;
    size_t out_capacity;
    /* No more will come: what is missing is missing for good. */
    int ended;
};

static int chronik_tls_bio_read(BIO *bio, char *into, size_t wanted, size_t *done)
{
    struct chronik_tls_wire *wire = (struct chronik_tls_wire *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *done = 0;
    if (wire->in_count == 0) {
        if (!wire->ended) BIO_set_retry_read(bio);
        return 0;
    }
    size_t count = wanted < wire->in_count ? wanted : wire->in_count;
    memcpy(into, wire->in, count);
    wire->in += count;
    wire->in_count -= count;
    *done = count;
    return 1;
}

static int chronik_tls_bio_write(BIO *bio, const char *from, size_t given, size_t *done)
{
    struct chronik_tls_wire *wire = (struct chronik_tls_wire *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t room = wire->out_capacity - wire->out_count;
    size_t count = given < room ? given : room;
    *done = count;
    if (count == 0) {
        BIO_set_retry_write(bio);
        return 0;
    }
    memcpy(wire->out + wire->out_count, from, count);
    wire->out_count += count;
    return 1;
}

static long chronik_tls_bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static inline BIO_METHOD *chronik_tls_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "chronik");
    if (method == NULL) return NULL;
    BIO_meth_set_read_ex(method, chronik_tls_bio_read);
    BIO_meth_set_write_ex(method, chronik_tls_bio_write);
    BIO_meth_set_ctrl(method, chronik_tls_bio_control);
    return method;
}

/* A connection over `wire`, or NULL. */
static inline SSL *chronik_tls_connection(
    SSL_CTX *context, const BIO_METHOD *method, struct chronik_tls_wire *wire)
{
    SSL *ssl = SSL_new(context);
    BIO *bio = BIO_new(method);
    if (ssl == NULL || bio == NULL) {
        SSL_free(ssl);
        BIO_free(bio);
        return NULL;
    }
    BIO_set_data(bio, wire);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return ssl;
}

/* Never asks a terminal for the password of an encrypted key. */
static int chronik_tls_no_password(char *into, int size, int writing, void *data)
{
    (void)into;
    (void)size;
    (void)writing;
    (void)data;
    return -1;
}

static inline EVP_PKEY *chronik_tls_read_key(BIO *from)
{
    return PEM_read_bio_PrivateKey(from, NULL, chronik_tls_no_password, NULL);
}

static inline X509 *chronik_tls_read_certificate(BIO *from)
{
    return PEM_read_bio_X509(from, NULL, chronik_tls_no_password, NULL);
}

static inline int chronik_tls_add_chain(SSL_CTX *context, X509 *certificate)
{
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}

/* TLS 1.3 alone, both sides show a certificate, and nothing of a session is kept: each connection
 * verifies anew. */
static inline SSL_CTX *chronik_tls_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (context == NULL) return NULL;
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1
        || SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1
        || SSL_CTX_set_num_tickets(context, 0) != 1
        || SSL_CTX_set_ciphersuites(
               context,
               "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256")
            != 1) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_mode(
        context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

static inline int chronik_tls_is_end_of_pem(unsigned long code)
{
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

static inline int chronik_tls_name_count(const GENERAL_NAMES *names)
{
    return sk_GENERAL_NAME_num(names);
}

static inline const GENERAL_NAME *chronik_tls_name(const GENERAL_NAMES *names, int place)
{
    return sk_GENERAL_NAME_value(names, place);
}

/* The text of a DNS name, or NULL; its length in `count`. */
static inline const unsigned char *chronik_tls_dns_name(const GENERAL_NAME *name, int *count)
{
    if (name->type != GEN_DNS) return NULL;
    *count = ASN1_STRING_length(name->d.dNSName);
    return ASN1_STRING_get0_data(name->d.dNSName);
}

/* The bytes of an address, or NULL; their number in `count`. */
static inline const unsigned char *chronik_tls_address(const GENERAL_NAME *name, int *count)
{
    if (name->type != GEN_IPADD) return NULL;
    *count = ASN1_STRING_length(name->d.iPAddress);
    return ASN1_STRING_get0_data(name->d.iPAddress);
}
