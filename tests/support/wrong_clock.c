/* Preloaded into a child process: shifts its wall clock by the number of seconds in a file, which may change while it runs. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = (int)syscall(SYS_clock_gettime, clock, time);
  const char *path = getenv("WRONG_CLOCK");
  if (result != 0 || clock != CLOCK_REALTIME || path == NULL) return result;
  char text[32] = {0};
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    if (read(file, text, sizeof text - 1) > 0) time->tv_sec += atoll(text);
    close(file);
  }
  return result;
}
