# Becomes the command in its arguments on a terminal of its own, with the same pid, as Clay's terminals are: a child of the
# daemon that leads a session. A process that nobody waits for reads what is written to the terminal, and drops it.
use strict;
use warnings;
use POSIX qw(dup2);
use constant { TIOCSPTLCK => 0x40045431, TIOCGPTN => 0x80045430, TIOCSWINSZ => 0x5414 };

open(my $master, '+<', '/dev/ptmx') or die "ptmx: $!";
my $zero = pack('i', 0);
ioctl($master, TIOCSPTLCK, $zero) or die "unlock: $!";
my $number = pack('I', 0);
ioctl($master, TIOCGPTN, $number) or die "number: $!";
my $size = pack('S4', 24, 80, 0, 0);
ioctl($master, TIOCSWINSZ, $size) or die "size: $!";

my $reader = fork() // die "fork: $!";
if ($reader == 0) {
  POSIX::setsid();
  exit if fork();
  1 while sysread($master, my $dropped, 65536);
  exit;
}
waitpid($reader, 0);
# A session leader that opens a terminal without O_NOCTTY gets it.
open(my $terminal, '+<', '/dev/pts/' . unpack('I', $number)) or die "pts: $!";
dup2(fileno($terminal), $_) for 0 .. 2;
close($master);
close($terminal);
exec(@ARGV) or die "exec: $!";
