/* gRPC's C core, and the batches of operations we start on it.
 *
 * A batch is an array of unions in which every pointer must stay where it is until the batch is
 * reported: that is written here once, where the language is made for it. */
#pragma once
/* First, because gRPC asks for more of these than Swift's own view of them has. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

/* Brings the library into the process, once; nothing else may be called before. NULL, or why it
 * cannot be used. From any thread. */
const char *cgrpc_load(void);

static inline void cgrpc_log_nothing(gpr_log_func_args *arguments) { (void)arguments; }

/* gRPC would write to standard error in a form of its own; what matters comes as a status. Whoever
 * looks into gRPC itself sets GRPC_VERBOSITY. */
static inline void cgrpc_initialize(void) {
    if (!getenv("GRPC_VERBOSITY")) gpr_set_log_function(cgrpc_log_nothing);
    grpc_init();
}

static inline const void *cgrpc_slice_start(const grpc_slice *slice) {
    return GRPC_SLICE_START_PTR(*slice);
}
static inline size_t cgrpc_slice_count(const grpc_slice *slice) {
    return GRPC_SLICE_LENGTH(*slice);
}

static inline void cgrpc_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

/* Copies a whole message, which gRPC keeps in pieces; 0 when it cannot be read. */
static inline int cgrpc_copy_bytes(grpc_byte_buffer *buffer, void *to) {
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, buffer)) return 0;
    grpc_slice *piece;
    char *end = (char *)to;
    while (grpc_byte_buffer_reader_peek(&reader, &piece)) {
        memcpy(end, GRPC_SLICE_START_PTR(*piece), GRPC_SLICE_LENGTH(*piece));
        end += GRPC_SLICE_LENGTH(*piece);
    }
    grpc_byte_buffer_reader_destroy(&reader);
    return 1;
}

/* nanoseconds < 0: never. */
static inline gpr_timespec cgrpc_deadline(int64_t nanoseconds) {
    if (nanoseconds < 0) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_nanos(nanoseconds, GPR_TIMESPAN));
}
/* Nanoseconds until a deadline; INT64_MAX when there is none. */
static inline int64_t cgrpc_nanoseconds_until(gpr_timespec deadline) {
    gpr_timespec infinite = gpr_inf_future(deadline.clock_type);
    if (gpr_time_cmp(deadline, infinite) == 0) return INT64_MAX;
    gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
    if (left.tv_sec > INT64_MAX / 2000000000) return INT64_MAX;
    return left.tv_sec * 1000000000 + left.tv_nsec;
}
static inline grpc_event cgrpc_next(grpc_completion_queue *queue) {
    return grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
}

typedef struct cgrpc_argument {
    const char *key;
    int value;
} cgrpc_argument;

#define CGRPC_MAX_ARGUMENTS 24

static inline grpc_channel_args cgrpc_arguments(const cgrpc_argument *from, size_t count,
                                                grpc_arg *to) {
    if (count > CGRPC_MAX_ARGUMENTS) count = CGRPC_MAX_ARGUMENTS;
    for (size_t i = 0; i < count; i++) {
        to[i].type = GRPC_ARG_INTEGER;
        to[i].key = (char *)from[i].key;
        to[i].value.integer = from[i].value;
    }
    grpc_channel_args args = {count, to};
    return args;
}
static inline grpc_server *cgrpc_server_create(const cgrpc_argument *arguments, size_t count) {
    grpc_arg converted[CGRPC_MAX_ARGUMENTS];
    grpc_channel_args args = cgrpc_arguments(arguments, count, converted);
    return grpc_server_create(&args, NULL);
}
/* The files are looked at every second, and what they hold by then is used for new connections. */
static inline grpc_tls_credentials_options *cgrpc_tls_options(const char *certificate,
                                                              const char *key,
                                                              const char *authority) {
    grpc_tls_certificate_provider *files =
        grpc_tls_certificate_provider_file_watcher_create(key, certificate, authority, 1);
    grpc_tls_credentials_options *options = grpc_tls_credentials_options_create();
    grpc_tls_credentials_options_set_certificate_provider(options, files);
    grpc_tls_credentials_options_watch_root_certs(options);
    grpc_tls_credentials_options_watch_identity_key_cert_pairs(options);
    grpc_tls_certificate_provider_release(files);
    return options;
}
static inline grpc_channel_credentials *cgrpc_tls_for_channels(const char *certificate,
                                                               const char *key,
                                                               const char *authority) {
    return grpc_tls_credentials_create(cgrpc_tls_options(certificate, key, authority));
}
static inline grpc_server_credentials *cgrpc_tls_for_server(const char *certificate,
                                                            const char *key,
                                                            const char *authority) {
    grpc_tls_credentials_options *options = cgrpc_tls_options(certificate, key, authority);
    grpc_tls_credentials_options_set_cert_request_type(
        options, GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    return grpc_tls_server_credentials_create(options);
}
static inline grpc_channel *cgrpc_channel_create(const char *target,
                                                 grpc_channel_credentials *credentials,
                                                 const cgrpc_argument *arguments, size_t count) {
    grpc_arg converted[CGRPC_MAX_ARGUMENTS];
    grpc_channel_args args = cgrpc_arguments(arguments, count, converted);
    return grpc_channel_create(target, credentials, &args);
}
/* The port, 0 when it cannot listen; takes the credentials. */
static inline int cgrpc_server_listen(grpc_server *server, const char *address,
                                      grpc_server_credentials *credentials) {
    int port = grpc_server_add_http2_port(server, address, credentials);
    grpc_server_credentials_release(credentials);
    return port;
}
static inline void cgrpc_server_adopt(grpc_server *server, int descriptor) {
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    grpc_server_add_channel_from_fd(server, descriptor, credentials);
    grpc_server_credentials_release(credentials);
}

/* A call and every place its batches write to. */
typedef struct cgrpc_call {
    grpc_call *call;
    grpc_byte_buffer *message;
    /* server */
    grpc_call_details details;
    grpc_metadata_array metadata;
    int cancelled;
    /* client */
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code status;
    grpc_slice status_text;
} cgrpc_call;

static inline cgrpc_call *cgrpc_call_make(void) {
    cgrpc_call *call = (cgrpc_call *)calloc(1, sizeof(cgrpc_call));
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    grpc_metadata_array_init(&call->initial);
    grpc_metadata_array_init(&call->trailing);
    call->status_text = grpc_empty_slice();
    return call;
}
/* Only when every batch has been reported. */
static inline void cgrpc_call_free(cgrpc_call *call) {
    if (call->message) grpc_byte_buffer_destroy(call->message);
    grpc_call_details_destroy(&call->details);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_metadata_array_destroy(&call->initial);
    grpc_metadata_array_destroy(&call->trailing);
    grpc_slice_unref(call->status_text);
    if (call->call) grpc_call_unref(call->call);
    free(call);
}
/* The certificate the caller has shown, PEM, copied for the caller of this to free; or NULL. */
static inline char *cgrpc_call_certificate(cgrpc_call *call, size_t *count) {
    grpc_auth_context *context = grpc_call_auth_context(call->call);
    if (!context) return NULL;
    grpc_auth_property_iterator found =
        grpc_auth_context_find_properties_by_name(context, GRPC_X509_PEM_CERT_PROPERTY_NAME);
    const grpc_auth_property *property = grpc_auth_property_iterator_next(&found);
    char *copy = property ? (char *)malloc(property->value_length + 1) : NULL;
    if (copy) {
        memcpy(copy, property->value, property->value_length);
        *count = property->value_length;
    }
    grpc_auth_context_release(context);
    return copy;
}
static inline grpc_call_error cgrpc_request_call(grpc_server *server, grpc_completion_queue *queue,
                                                 cgrpc_call *call, void *tag) {
    return grpc_server_request_call(server, &call->call, &call->details, &call->metadata, queue,
                                    queue, tag);
}
static inline grpc_call_error cgrpc_watch_close(cgrpc_call *call, void *tag) {
    grpc_op op = {0};
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->cancelled;
    return grpc_call_start_batch(call->call, &op, 1, tag, NULL);
}
/* Whether the last receive failed for the message and not for the connection. */
static inline int cgrpc_call_had_message(const cgrpc_call *call) {
    return !grpc_call_failed_before_recv_message(call->call);
}
static inline grpc_call_error cgrpc_receive(cgrpc_call *call, void *tag) {
    grpc_op op = {0};
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &call->message;
    return grpc_call_start_batch(call->call, &op, 1, tag, NULL);
}
/* Takes the buffer, whatever happens. */
static inline grpc_call_error cgrpc_send(cgrpc_call *call, grpc_byte_buffer *message, void *tag) {
    grpc_op op = {0};
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = message;
    grpc_call_error error = grpc_call_start_batch(call->call, &op, 1, tag, NULL);
    grpc_byte_buffer_destroy(message);
    return error;
}
/* Ends a call on the server: with a message (taken) or none; detail is a binary trailer. */
static inline grpc_call_error cgrpc_finish(cgrpc_call *call, grpc_byte_buffer *message,
                                           grpc_status_code status, const char *text,
                                           const char *detail_key, const void *detail,
                                           size_t detail_count, void *tag) {
    grpc_op ops[3];
    memset(ops, 0, sizeof ops);
    size_t count = 0;
    ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (message) {
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = message;
    }
    grpc_metadata trailer;
    memset(&trailer, 0, sizeof trailer);
    grpc_slice reason = grpc_slice_from_copied_string(text);
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status = status;
    ops[count].data.send_status_from_server.status_details = &reason;
    if (detail_count > 0) {
        trailer.key = grpc_slice_from_copied_string(detail_key);
        trailer.value = grpc_slice_from_copied_buffer((const char *)detail, detail_count);
        ops[count].data.send_status_from_server.trailing_metadata = &trailer;
        ops[count].data.send_status_from_server.trailing_metadata_count = 1;
    }
    count++;
    grpc_call_error error = grpc_call_start_batch(call->call, ops, count, tag, NULL);
    if (detail_count > 0) {
        grpc_slice_unref(trailer.key);
        grpc_slice_unref(trailer.value);
    }
    grpc_slice_unref(reason);
    if (message) grpc_byte_buffer_destroy(message);
    return error;
}

static inline void cgrpc_open(cgrpc_call *call, grpc_channel *channel,
                              grpc_completion_queue *queue, const char *method,
                              gpr_timespec deadline) {
    grpc_slice path = grpc_slice_from_copied_string(method);
    call->call = grpc_channel_create_call(channel, NULL, 0, queue, path, NULL, deadline, NULL);
    grpc_slice_unref(path);
}
static inline size_t cgrpc_result_ops(cgrpc_call *call, grpc_op *ops) {
    ops[0].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[0].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
    ops[1].op = GRPC_OP_RECV_MESSAGE;
    ops[1].data.recv_message.recv_message = &call->message;
    ops[2].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[2].data.recv_status_on_client.trailing_metadata = &call->trailing;
    ops[2].data.recv_status_on_client.status = &call->status;
    ops[2].data.recv_status_on_client.status_details = &call->status_text;
    return 3;
}
/* One request, one answer, one report. Takes the buffer. */
static inline grpc_call_error cgrpc_call_unary(cgrpc_call *call, grpc_byte_buffer *message,
                                               void *tag) {
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = message;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    size_t count = 3 + cgrpc_result_ops(call, ops + 3);
    grpc_call_error error = grpc_call_start_batch(call->call, ops, count, tag, NULL);
    grpc_byte_buffer_destroy(message);
    return error;
}
/* Opens a stream of requests; `ended` reports its one answer and its status. */
static inline grpc_call_error cgrpc_call_stream(cgrpc_call *call, void *begun, void *ended) {
    grpc_op ops[3];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    grpc_call_error error = grpc_call_start_batch(call->call, ops, 1, begun, NULL);
    if (error != GRPC_CALL_OK) return error;
    memset(ops, 0, sizeof ops);
    size_t count = cgrpc_result_ops(call, ops);
    return grpc_call_start_batch(call->call, ops, count, ended, NULL);
}
static inline grpc_call_error cgrpc_half_close(cgrpc_call *call, void *tag) {
    grpc_op op = {0};
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    return grpc_call_start_batch(call->call, &op, 1, tag, NULL);
}
/* A trailer by its key, NULL when there is none. */
static inline const grpc_slice *cgrpc_trailer(const cgrpc_call *call, const char *key) {
    for (size_t i = 0; i < call->trailing.count; i++)
        if (grpc_slice_str_cmp(call->trailing.metadata[i].key, key) == 0)
            return &call->trailing.metadata[i].value;
    return NULL;
}
