/* store/dir.h - inside store/ only: our own directories, mode 0700. */
#pragma once

/* Opens name below the directory at (AT_FDCWD, or name absolute, is fine), makes it first where it is missing; durable. */
int dir_make(int at, const char *name, int *ret_fd);
