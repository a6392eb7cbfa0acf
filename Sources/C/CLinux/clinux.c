#define _GNU_SOURCE
#include "clinux.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

int clinux_accept_nonblocking(int listener) {
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}
int clinux_fallocate_keep_nothing(int fd, off_t offset, off_t length) {
    return fallocate(fd, 0, offset, length);
}
int clinux_fallocate_zero_range(int fd, off_t offset, off_t length) {
    return fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, length);
}
int clinux_open(const char *path, int flags, unsigned mode) {
    return open(path, flags | O_CLOEXEC, mode);
}
int clinux_o_direct(void) { return O_DIRECT; }
int clinux_set_thread_name(const char *name) { return pthread_setname_np(pthread_self(), name); }
int clinux_prefetch(int fd, off_t offset, size_t length) { return (int)readahead(fd, offset, length); }
int clinux_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
int clinux_share_one_heap(size_t step) {
    return mallopt(M_ARENA_MAX, 1) && mallopt(M_TOP_PAD, (int)step);
}
int clinux_keep_freed_memory(size_t kept, size_t mapped) {
    return mallopt(M_TRIM_THRESHOLD, (int)kept) && mallopt(M_MMAP_THRESHOLD, (int)mapped);
}
