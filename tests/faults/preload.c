// Counts the file operations below a folder, and fails one or kills at one.
//
// Loaded with LD_PRELOAD; $FAULTS_CONTROL names a file of `struct control`,
// which all processes and threads share. Each operation is written to
// $FAULTS_CONTROL.log, as 'NUMBER PID NAME PATH'. See operations.py.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct control {
  _Atomic long count;      // operations so far
  _Atomic long here;       // those at `place`
  long at;                 // the number there of the one to act at; 0: none
  long number;             // of the error; 0: SIGKILL instead
  long stays;              // whether later operations fail, too
  long found;              // the number among all of the one acted at
  char folder[PATH_MAX];   // whose operations count
  char place[PATH_MAX];    // in it: paths that begin so; with a $, this one
};

static struct control *control;
static int log_file = -1;

__attribute__((constructor)) static void start(void) {
  const char *name = getenv("FAULTS_CONTROL");
  char log[PATH_MAX];
  if (name == NULL || control != NULL) return;
  int file = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0);
  if (file < 0) return;
  void *found = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED,
                     file, 0);
  syscall(SYS_close, file);
  snprintf(log, sizeof log, "%s.log", name);
  log_file = syscall(SYS_openat, AT_FDCWD, log,
                     O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (found != MAP_FAILED) control = found;
}

// The path of an open file or folder; "" if it has none.
static void path_of(int file, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  long size = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  path[size > 0 ? size : 0] = 0;
}

static void whole_path(int folder, const char *name, char *path) {
  path[0] = 0;
  if (name[0] != '/') {
    if (folder != AT_FDCWD) path_of(folder, path);
    else if (getcwd(path, PATH_MAX) == NULL) path[0] = 0;
    strncat(path, "/", PATH_MAX - strlen(path) - 1);
  }
  strncat(path, name, PATH_MAX - strlen(path) - 1);
}

static int is_place(const char *path) {
  size_t length = strlen(control->place);
  if (length && control->place[length - 1] == '$')
    return strlen(path) == length - 1 &&
           strncmp(path, control->place, length - 1) == 0;
  return strncmp(path, control->place, length) == 0;
}

// Whether an operation is to fail, with errno set; does not return if it kills.
static int fails(const char *name, const char *path, int file, const void *data,
                 size_t size) {
  char line[PATH_MAX + 64];
  size_t length = control ? strlen(control->folder) : 0;
  if (length == 0 || strncmp(path, control->folder, length) != 0) return 0;
  long count = atomic_fetch_add(&control->count, 1) + 1;
  int end = snprintf(line, sizeof line, "%ld %d %s %s\n", count, getpid(), name,
                     path + length);
  syscall(SYS_write, log_file, line, (size_t)end);
  long here = is_place(path + length)
                  ? atomic_fetch_add(&control->here, 1) + 1
                  : atomic_load(&control->here);
  if (control->at == 0 || here < control->at) return 0;
  int first = here == control->at && is_place(path + length);
  if (first) control->found = count;
  if (control->number == 0) {
    if (!first) return 0;  // another thread, while this one dies
    if (size > 1) syscall(SYS_write, file, data, size / 2);  // a torn write
    syscall(SYS_kill, getpid(), SIGKILL);
  }
  if (!first && !control->stays) return 0;
  errno = (int)control->number;
  return 1;
}

static int path_fails(const char *name, int folder, const char *given) {
  char path[PATH_MAX];
  if (control == NULL || control->folder[0] == 0) return 0;
  whole_path(folder, given, path);
  return fails(name, path, -1, NULL, 0);
}

static int file_fails(const char *name, int file, const void *data,
                      size_t size) {
  char path[PATH_MAX];
  int before = errno;
  if (control == NULL || control->folder[0] == 0) return 0;
  path_of(file, path);
  if (fails(name, path, file, data, size)) return 1;
  errno = before;
  return 0;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                    \
  int name(const char *path, int flags, ...) {                        \
    static __typeof__(&open) next;                                    \
    va_list rest;                                                     \
    va_start(rest, flags);                                            \
    mode_t mode = va_arg(rest, mode_t);                               \
    va_end(rest);                                                     \
    if (!next) next = (__typeof__(&open))dlsym(RTLD_NEXT, #name);     \
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) &&                    \
        path_fails("open", AT_FDCWD, path))                           \
      return -1;                                                      \
    return next(path, flags, mode);                                   \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                  \
  int name(int folder, const char *path, int flags, ...) {            \
    static __typeof__(&openat) next;                                  \
    va_list rest;                                                     \
    va_start(rest, flags);                                            \
    mode_t mode = va_arg(rest, mode_t);                               \
    va_end(rest);                                                     \
    if (!next) next = (__typeof__(&openat))dlsym(RTLD_NEXT, #name);   \
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) &&                    \
        path_fails("open", folder, path))                             \
      return -1;                                                      \
    return next(folder, path, flags, mode);                           \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *data, size_t size) {
  if (file_fails("write", file, data, size)) return -1;
  return NEXT(write)(file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int number) {
  if (file_fails("write", file, parts->iov_base, number ? parts->iov_len : 0))
    return -1;
  return NEXT(writev)(file, parts, number);
}

#define PWRITE(name)                                                  \
  ssize_t name(int file, const void *data, size_t size, off_t at) {   \
    if (file_fails("write", file, NULL, 0)) return -1;                \
    return NEXT(name)(file, data, size, at);                          \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

#define ON_FILE(name)                                                 \
  int name(int file) {                                                \
    if (file_fails(#name, file, NULL, 0)) return -1;                  \
    return NEXT(name)(file);                                          \
  }
ON_FILE(fsync)
ON_FILE(fdatasync)

#define TRUNCATE(name)                                                \
  int name(int file, off_t size) {                                    \
    if (file_fails("ftruncate", file, NULL, 0)) return -1;            \
    return NEXT(name)(file, size);                                    \
  }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define ON_TWO(name)                                                  \
  int name(const char *from, const char *to) {                        \
    if (path_fails(#name, AT_FDCWD, from)) return -1;                 \
    return NEXT(name)(from, to);                                      \
  }
ON_TWO(rename)
ON_TWO(link)

int renameat(int a, const char *from, int b, const char *to) {
  if (path_fails("rename", a, from)) return -1;
  return NEXT(renameat)(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
  if (path_fails("rename", a, from)) return -1;
  return NEXT(renameat2)(a, from, b, to, flags);
}

#define ON_PATH(name)                                                 \
  int name(const char *path) {                                        \
    if (path_fails(#name, AT_FDCWD, path)) return -1;                 \
    return NEXT(name)(path);                                          \
  }
ON_PATH(unlink)
ON_PATH(rmdir)

int unlinkat(int folder, const char *path, int flags) {
  const char *name = flags & AT_REMOVEDIR ? "rmdir" : "unlink";
  if (path_fails(name, folder, path)) return -1;
  return NEXT(unlinkat)(folder, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  if (path_fails("mkdir", AT_FDCWD, path)) return -1;
  return NEXT(mkdir)(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
  if (path_fails("mkdir", folder, path)) return -1;
  return NEXT(mkdirat)(folder, path, mode);
}
