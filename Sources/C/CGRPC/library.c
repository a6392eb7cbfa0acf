/* gRPC's C core, found when it is first wanted and not when the process starts.
 *
 * The library brings sixty others along: milliseconds and megabytes that a node without a caller
 * has no use for. Its functions are defined here under their own names, visible to this program
 * alone; each goes on to the library's own. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#pragma GCC visibility push(hidden)
#include "shim.h"
#pragma GCC visibility pop

#define ENTRIES(ENTRY)                                                                             \
    ENTRY(gpr_timespec, gpr_inf_future, (gpr_clock_type type), (type))                             \
    ENTRY(gpr_timespec, gpr_now, (gpr_clock_type clock), (clock))                                  \
    ENTRY(void, gpr_set_log_function, (gpr_log_func func), (func))                                 \
    ENTRY(gpr_timespec, gpr_time_add, (gpr_timespec a, gpr_timespec b), (a, b))                    \
    ENTRY(int, gpr_time_cmp, (gpr_timespec a, gpr_timespec b), (a, b))                             \
    ENTRY(gpr_timespec, gpr_time_from_nanos, (int64_t ns, gpr_clock_type clock_type), (ns,         \
          clock_type))                                                                             \
    ENTRY(gpr_timespec, gpr_time_sub, (gpr_timespec a, gpr_timespec b), (a, b))                    \
    ENTRY(grpc_auth_property_iterator, grpc_auth_context_find_properties_by_name, (const           \
          grpc_auth_context *ctx, const char *name), (ctx, name))                                  \
    ENTRY(void, grpc_auth_context_release, (grpc_auth_context *context), (context))                \
    ENTRY(const grpc_auth_property*, grpc_auth_property_iterator_next,                             \
          (grpc_auth_property_iterator *it), (it))                                                 \
    ENTRY(void, grpc_byte_buffer_destroy, (grpc_byte_buffer *bb), (bb))                            \
    ENTRY(size_t, grpc_byte_buffer_length, (grpc_byte_buffer *bb), (bb))                           \
    ENTRY(void, grpc_byte_buffer_reader_destroy, (grpc_byte_buffer_reader *reader),                \
          (reader))                                                                                \
    ENTRY(int, grpc_byte_buffer_reader_init, (grpc_byte_buffer_reader *reader,                     \
          grpc_byte_buffer *buffer), (reader, buffer))                                             \
    ENTRY(int, grpc_byte_buffer_reader_peek, (grpc_byte_buffer_reader *reader, grpc_slice          \
          **slice), (reader, slice))                                                               \
    ENTRY(grpc_auth_context*, grpc_call_auth_context, (grpc_call *call), (call))                   \
    ENTRY(grpc_call_error, grpc_call_cancel, (grpc_call *call, void *reserved), (call,             \
          reserved))                                                                               \
    ENTRY(void, grpc_call_details_destroy, (grpc_call_details *details), (details))                \
    ENTRY(void, grpc_call_details_init, (grpc_call_details *details), (details))                   \
    ENTRY(int, grpc_call_failed_before_recv_message, (const grpc_call *c), (c))                    \
    ENTRY(grpc_call_error, grpc_call_start_batch, (grpc_call *call, const grpc_op *ops,            \
          size_t nops, void *tag, void *reserved), (call, ops, nops, tag, reserved))               \
    ENTRY(void, grpc_call_unref, (grpc_call *call), (call))                                        \
    ENTRY(grpc_channel*, grpc_channel_create, (const char *target, grpc_channel_credentials        \
          *creds, const grpc_channel_args *args), (target, creds, args))                           \
    ENTRY(grpc_call*, grpc_channel_create_call, (grpc_channel *channel, grpc_call                  \
          *parent_call, uint32_t propagation_mask, grpc_completion_queue *completion_queue,        \
          grpc_slice method, const grpc_slice *host, gpr_timespec deadline, void *reserved),       \
          (channel, parent_call, propagation_mask, completion_queue, method, host, deadline,       \
          reserved))                                                                               \
    ENTRY(void, grpc_channel_credentials_release, (grpc_channel_credentials *creds),               \
          (creds))                                                                                 \
    ENTRY(void, grpc_channel_destroy, (grpc_channel *channel), (channel))                          \
    ENTRY(grpc_completion_queue*, grpc_completion_queue_create_for_next, (void *reserved),         \
          (reserved))                                                                              \
    ENTRY(void, grpc_completion_queue_destroy, (grpc_completion_queue *cq), (cq))                  \
    ENTRY(grpc_event, grpc_completion_queue_next, (grpc_completion_queue *cq, gpr_timespec         \
          deadline, void *reserved), (cq, deadline, reserved))                                     \
    ENTRY(void, grpc_completion_queue_shutdown, (grpc_completion_queue *cq), (cq))                 \
    ENTRY(grpc_slice, grpc_empty_slice, (void), ())                                                \
    ENTRY(void, grpc_init, (void), ())                                                             \
    ENTRY(grpc_channel_credentials*, grpc_insecure_credentials_create, (void), ())                 \
    ENTRY(grpc_server_credentials*, grpc_insecure_server_credentials_create, (void), ())           \
    ENTRY(void, grpc_metadata_array_destroy, (grpc_metadata_array *array), (array))                \
    ENTRY(void, grpc_metadata_array_init, (grpc_metadata_array *array), (array))                   \
    ENTRY(grpc_byte_buffer*, grpc_raw_byte_buffer_create, (grpc_slice *slices, size_t              \
          nslices), (slices, nslices))                                                             \
    ENTRY(void, grpc_server_add_channel_from_fd, (grpc_server *server, int fd,                     \
          grpc_server_credentials *creds), (server, fd, creds))                                    \
    ENTRY(int, grpc_server_add_http2_port, (grpc_server *server, const char *addr,                 \
          grpc_server_credentials *creds), (server, addr, creds))                                  \
    ENTRY(void, grpc_server_cancel_all_calls, (grpc_server *server), (server))                     \
    ENTRY(grpc_server*, grpc_server_create, (const grpc_channel_args *args, void *reserved),       \
          (args, reserved))                                                                        \
    ENTRY(void, grpc_server_credentials_release, (grpc_server_credentials *creds), (creds))        \
    ENTRY(void, grpc_server_destroy, (grpc_server *server), (server))                              \
    ENTRY(void, grpc_server_register_completion_queue, (grpc_server *server,                       \
          grpc_completion_queue *cq, void *reserved), (server, cq, reserved))                      \
    ENTRY(grpc_call_error, grpc_server_request_call, (grpc_server *server, grpc_call **call,       \
          grpc_call_details *details, grpc_metadata_array *request_metadata,                       \
          grpc_completion_queue *cq_bound_to_call, grpc_completion_queue                           \
          *cq_for_notification, void *tag_new), (server, call, details, request_metadata,          \
          cq_bound_to_call, cq_for_notification, tag_new))                                         \
    ENTRY(void, grpc_server_shutdown_and_notify, (grpc_server *server, grpc_completion_queue       \
          *cq, void *tag), (server, cq, tag))                                                      \
    ENTRY(void, grpc_server_start, (grpc_server *server), (server))                                \
    ENTRY(grpc_slice, grpc_slice_from_copied_buffer, (const char *source, size_t len),             \
          (source, len))                                                                           \
    ENTRY(grpc_slice, grpc_slice_from_copied_string, (const char *source), (source))               \
    ENTRY(grpc_slice, grpc_slice_new_with_user_data, (void *p, size_t len, void                    \
          (*destroy)(void*), void *user_data), (p, len, destroy, user_data))                       \
    ENTRY(int, grpc_slice_str_cmp, (grpc_slice a, const char *b), (a, b))                          \
    ENTRY(void, grpc_slice_unref, (grpc_slice s), (s))                                             \
    ENTRY(grpc_tls_certificate_provider*, grpc_tls_certificate_provider_file_watcher_create,       \
          (const char *key, const char *certificate, const char *root, unsigned int seconds),      \
          (key, certificate, root, seconds))                                                       \
    ENTRY(void, grpc_tls_certificate_provider_release, (grpc_tls_certificate_provider *provider),  \
          (provider))                                                                              \
    ENTRY(grpc_channel_credentials*, grpc_tls_credentials_create, (grpc_tls_credentials_options    \
          *options), (options))                                                                    \
    ENTRY(grpc_tls_credentials_options*, grpc_tls_credentials_options_create, (void), ())          \
    ENTRY(void, grpc_tls_credentials_options_set_cert_request_type, (grpc_tls_credentials_options  \
          *options, grpc_ssl_client_certificate_request_type type), (options, type))               \
    ENTRY(void, grpc_tls_credentials_options_set_certificate_provider,                             \
          (grpc_tls_credentials_options *options, grpc_tls_certificate_provider *provider),        \
          (options, provider))                                                                     \
    ENTRY(void, grpc_tls_credentials_options_watch_identity_key_cert_pairs,                        \
          (grpc_tls_credentials_options *options), (options))                                      \
    ENTRY(void, grpc_tls_credentials_options_watch_root_certs, (grpc_tls_credentials_options       \
          *options), (options))                                                                    \
    ENTRY(grpc_server_credentials*, grpc_tls_server_credentials_create,                            \
          (grpc_tls_credentials_options *options), (options))

#define DEFINE(result, name, parameters, arguments) \
    static result(*name##_entry) parameters;        \
    result name parameters { return name##_entry arguments; }
ENTRIES(DEFINE)

/* The ABI this was written against first; then whichever the system builds against. */
static const char *const names[] = {"libgrpc.so.29", "libgrpc.so"};
static char problem[256];
static int is_loaded;

static int find(void *library, const char *name, void **entry) {
    *entry = dlsym(library, name);
    if (!*entry) snprintf(problem, sizeof problem, "libgrpc has no %s", name);
    return *entry != NULL;
}

static void load(void) {
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !library; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(problem, sizeof problem, "%s", dlerror());
        return;
    }
#define FIND(result, name, parameters, arguments) \
    if (!find(library, #name, (void **)&name##_entry)) return;
    ENTRIES(FIND)
    is_loaded = 1;
}

const char *cgrpc_load(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    return is_loaded ? NULL : problem;
}
