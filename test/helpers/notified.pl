# notified.pl PROGRAM...: starts it as systemd does with OpenFile=…:notify, and prints each message that it sends, in one line.
use strict;
use Socket;
use POSIX ();
use File::Temp 'tempdir';

# Descriptors up to this one stay open in what is executed.
$^F = 10;
$| = 1;
my $address = sockaddr_un(my $path = tempdir(CLEANUP => 1) . '/notify');
socket(my $manager, PF_UNIX, SOCK_DGRAM, 0) or die $!;
bind($manager, $address) or die $!;
my $main = fork;
if ($main == 0) {
  socket(my $end, PF_UNIX, SOCK_DGRAM, 0) or die $!;
  connect($end, $address) or die $!;
  # sd_listen_fds(3)
  POSIX::dup2(fileno($end), 3) // die $!;
  %ENV = (%ENV, NOTIFY_SOCKET => $path, LISTEN_PID => $$, LISTEN_FDS => 1, LISTEN_FDNAMES => 'notify');
  exec @ARGV or die $!;
}
$SIG{TERM} = sub { kill 'TERM', $main };
# Once it is gone, no message follows.
$SIG{CHLD} = sub {
  return if waitpid($main, POSIX::WNOHANG()) != $main;
  socket(my $end, PF_UNIX, SOCK_DGRAM, 0) or die $!;
  send($end, 'END', 0, $address);
};
for (;;) {
  defined recv($manager, my $message, 4096, 0) or next;
  last if $message eq 'END';
  print join(' | ', split /\n/, $message), "\n";
}
