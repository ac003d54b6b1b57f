/* watch-opens PATH: prints a line for each time that the file is opened, but for O_PATH (inotify(7), IN_OPEN), the first for itself. */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

int main(int argc, char *argv[]) {
  if (argc < 2) errx(2, "usage: watch-opens PATH");
  int watch = inotify_init1(IN_CLOEXEC);
  if (watch == -1 || inotify_add_watch(watch, argv[1], IN_OPEN) == -1) err(1, "%s", argv[1]);
  /* So that whoever reads this knows that the watch is set, and works. */
  close(open(argv[1], O_RDONLY | O_NONBLOCK));
  static char events[4096];
  for (ssize_t got; (got = read(watch, events, sizeof events)) > 0;)
    for (ssize_t at = 0; at < got; at += sizeof(struct inotify_event) + ((struct inotify_event *)(events + at))->len)
      write(1, "opened\n", 7);
  return 1;
}
