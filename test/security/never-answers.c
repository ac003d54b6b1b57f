/*
 * Mounts a FUSE file system that stops answering, and becomes a program.
 *
 * never-answers DIRECTORY own|inside|outside|private PROGRAM...
 * own: in a mount namespace of its own, else in the one that it is started in. outside, private: PROGRAM keeps its working
 * directory, else that is DIRECTORY. private: without allow_other, which is what users get by default.
 * It is setuid root, as fusermount3 is, which mounts this for any user where /etc/fuse.conf says user_allow_other. The file
 * system answers until PROGRAM runs, then nothing any more, and is gone when PROGRAM is.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char request[FUSE_MIN_READ_BUFFER + 1024 * 1024];

static void reply(int fuse, uint64_t unique, int error, const void *data, size_t size) {
  struct fuse_out_header header = {.len = sizeof header + size, .error = error, .unique = unique};
  struct iovec parts[] = {{&header, sizeof header}, {(void *)data, size}};
  if (writev(fuse, parts, size ? 2 : 1) == -1) warn("reply");
}

static void answer_one(int fuse) {
  ssize_t got = read(fuse, request, sizeof request);
  if (got < (ssize_t)sizeof(struct fuse_in_header)) return;
  struct fuse_in_header *in = (struct fuse_in_header *)request;
  if (in->opcode == FUSE_INIT) {
    struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096};
    reply(fuse, in->unique, 0, &out, sizeof out);
  } else if (in->opcode == FUSE_GETATTR) {
    struct fuse_attr_out out = {.attr = {.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2, .uid = getuid(), .gid = getgid()}};
    reply(fuse, in->unique, 0, &out, sizeof out);
  } else if (in->opcode != FUSE_FORGET) {
    reply(fuse, in->unique, -ENOSYS, NULL, 0);
  }
}

static void serve(int fuse, int until) {
  struct pollfd ready[] = {{.fd = fuse, .events = POLLIN}, {.fd = until, .events = POLLIN}};
  /* The other end of the pipe is closed when the program is executed. */
  while (poll(ready, 2, -1) > 0 && ready[1].revents == 0)
    if (ready[0].revents) answer_one(fuse);
  /* What was read and is not answered cannot even be interrupted by SIGKILL. */
  while (poll(ready, 1, -1) > 0)
    if (read(fuse, request, sizeof request) == -1) _exit(0);
}

int main(int argc, char *argv[]) {
  if (argc < 4) errx(2, "usage: never-answers DIRECTORY own|inside|outside|private PROGRAM...");
  int own = strcmp(argv[2], "own") == 0;
  int private = strcmp(argv[2], "private") == 0;
  if (own && unshare(CLONE_NEWNS) == -1) err(1, "unshare");
  if (own && mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1) err(1, "private");
  int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fuse == -1) err(1, "/dev/fuse");
  char options[128];
  snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=%u,group_id=%u%s", fuse, getuid(), getgid(),
           private ? "" : ",allow_other");
  if (mount("never-answers", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) == -1) err(1, "mount");
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) == -1) err(1, "pipe");
  pid_t program = getpid();
  pid_t server = fork();
  if (server == -1) err(1, "fork");
  if (server == 0) {
    close(pipes[1]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != program) return 1;
    serve(fuse, pipes[0]);
    return 0;
  }
  if (setresgid(getgid(), getgid(), getgid()) == -1 || setresuid(getuid(), getuid(), getuid()) == -1) err(1, "setresuid");
  if (strcmp(argv[2], "outside") != 0 && !private && chdir(argv[1]) == -1) err(1, "chdir");
  execvp(argv[3], argv + 3);
  err(1, "%s", argv[3]);
}
