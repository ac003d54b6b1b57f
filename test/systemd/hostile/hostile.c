/*
 * What mallory's processes do; her Clay starts this under the name claude. What stands behind these arguments is ignored, and
 * makes the command line as long as she wants.
 *
 * hostile wait: nothing.
 * hostile forks N: has N children, each with its command line.
 * hostile namespace: lives in a network namespace of its own, with a TCP socket.
 * hostile homes N SCRIPT: has N children with SCRIPT in their command line, each of which names a home with a long path.
 * hostile backtrack: has a child whose command line is one word, in which a pattern with two gaps starts again and again.
 * hostile deaf FILE: survives SIGTERM, and writes to FILE then.
 * hostile sockets: has 16,000 connections to abstract unix sockets with the longest names there are.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/** Of one process; whoever runs the tests may have a limit of 20,000 descriptors, and SOMAXCONN is 4,096. */
#define LISTENERS 4
#define CONNECTIONS 4000

static void forks(int count) {
  for (int n = 0; n < count; n++) {
    pid_t child = fork();
    if (child == -1) err(1, "fork %d", n);
    if (child > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
}

static void homes(int count, char *program, char *script) {
  static char home[4000];
  for (int n = 0; n < count; n++) {
    pid_t child = fork();
    if (child == -1) err(1, "fork %d", n);
    if (child > 0) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    memset(home, 'x', sizeof home - 1);
    memcpy(home, "CLAY_HOME=/", 11);
    home[11 + snprintf(home + 11, 20, "%d", n)] = 'x';
    char *env[] = {home, NULL};
    execle(program, program, "wait", script, NULL, env);
    err(1, "%s", program);
  }
}

static void namespace(void) {
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == -1) err(1, "unshare");
  if (socket(AF_INET, SOCK_STREAM, 0) == -1) err(1, "socket");
}

static void backtrack(char *first, char *end) {
  static const char begin[] = "pwd -P >| ", again[] = "claude-";
  pid_t child = fork();
  if (child == -1) err(1, "fork");
  if (child > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The arguments lie one behind the other; without the NULs between them they are one word.
  for (char *at = first; at < end; at++) *at = again[(at - first) % (sizeof again - 1)];
  memcpy(first, begin, sizeof begin - 1);
  for (;;) pause();
}

static const char *told;

static void tell(int signal) {
  (void)signal;
  int file = open(told, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (file == -1 || write(file, "x", 1) != 1) _exit(1);
  close(file);
}

static int newSocket(void) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd == -1) err(1, "socket");
  return fd;
}

// A connection that nobody accepts has a row with the name that it was made to. Sockets with as many names would take minutes: the
// kernel looks through a share of all for each bind(2).
static void sockets(void) {
  for (int n = 0; n < LISTENERS; n++) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    memset(name.sun_path + 1, 'x', sizeof name.sun_path - 1);
    name.sun_path[1 + sprintf(name.sun_path + 1, "%d-%d", getpid(), n)] = 'x';
    int listener = newSocket();
    if (bind(listener, (struct sockaddr *)&name, sizeof name) == -1) err(1, "bind");
    if (listen(listener, CONNECTIONS) == -1) err(1, "listen");
    for (int m = 0; m < CONNECTIONS; m++)
      if (connect(newSocket(), (struct sockaddr *)&name, sizeof name) == -1) err(1, "connect %d", m);
  }
}

int main(int argc, char *argv[]) {
  if (argc < 2) errx(2, "what?");
  int count = argc > 2 ? atoi(argv[2]) : 0;
  if (strcmp(argv[1], "forks") == 0) forks(count);
  if (strcmp(argv[1], "homes") == 0) homes(count, argv[0], argv[3]);
  if (strcmp(argv[1], "namespace") == 0) namespace();
  if (strcmp(argv[1], "backtrack") == 0) backtrack(argv[1], argv[argc - 1] + strlen(argv[argc - 1]));
  if (strcmp(argv[1], "sockets") == 0) sockets();
  if (strcmp(argv[1], "deaf") == 0) {
    told = argv[2];
    signal(SIGTERM, tell);
  }
  puts("ready");
  fflush(stdout);
  for (;;) pause();
}
