/* The options of libmicrohttpd's daemon are variadic, which Swift cannot call. */
#pragma once
#include <microhttpd.h>

static inline struct MHD_Daemon *chronik_mhd_start(
    int listener,
    unsigned int connections,
    size_t connection_bytes,
    unsigned int idle_seconds,
    MHD_AccessHandlerCallback handler,
    MHD_RequestCompletedCallback completed,
    void *context)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handler, context,
        MHD_OPTION_LISTEN_SOCKET, (MHD_socket)listener,
        MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, connection_bytes,
        MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds,
        MHD_OPTION_NOTIFY_COMPLETED, completed, context,
        MHD_OPTION_END);
}
