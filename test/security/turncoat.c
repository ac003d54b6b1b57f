/*
 * A process of a user that becomes a process of root on SIGUSR1, and keeps pid, start time and name: it executes the setuid
 * copy of this program that its first argument names. A second argument makes it ignore SIGTERM until then.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static volatile sig_atomic_t is_time;
static void on_signal(int signal) { (void)signal; is_time = 1; }

int main(int argc, char **argv) {
  if (geteuid() == 0) {
    if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0) abort();
    /* A signal that should not have been sent ends it. */
    signal(SIGTERM, SIG_DFL);
    for (;;) pause();
  }
  if (argc < 2) abort();
  signal(SIGUSR1, on_signal);
  if (argc > 2) signal(SIGTERM, SIG_IGN);
  while (!is_time) pause();
  execl(argv[1], "claude", (char *)0);
  abort();
}
