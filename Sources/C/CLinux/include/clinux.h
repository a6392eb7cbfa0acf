/* What Swift's importer cannot see of Linux: macros, variadic calls and feature-gated calls. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

int clinux_accept_nonblocking(int listener);
int clinux_fallocate_keep_nothing(int fd, off_t offset, off_t length);
int clinux_fallocate_zero_range(int fd, off_t offset, off_t length);
/* open(2) is variadic; the flags the project uses are named here. */
int clinux_open(const char *path, int flags, unsigned mode);
int clinux_o_direct(void);
int clinux_set_thread_name(const char *name);
int clinux_prefetch(int fd, off_t offset, size_t length);
int clinux_eventfd(void);
/* Bytes of freed memory at the end of each heap that malloc keeps, and of the least block that it
   maps by itself. 0 on failure. */
int clinux_keep_freed_memory(size_t kept, size_t mapped);
/* All threads allocate from the first heap, which grows by at least so many bytes. 0 on failure. */
int clinux_share_one_heap(size_t step);
