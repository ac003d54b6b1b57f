# Starts a program with a descriptor, named in NOTIFY_FD, on which each write is one message to systemd's notify socket.
# That socket takes datagrams, which Node cannot send by itself; a program started to send them (systemd-notify) would need
# NotifyAccess=all and a new process a message. Handed over this way, the service itself is the sender: NotifyAccess=main.
# Only what every perl has, perl-base on Debian. exec keeps the pid, so the program is still the service's main process.
use strict;
use warnings;
use Socket qw(AF_UNIX SOCK_DGRAM SOL_SOCKET SO_SNDTIMEO pack_sockaddr_un);

$^F = 255;    # descriptors up to here stay open across exec
my $notify;
if (my $path = $ENV{NOTIFY_SOCKET}) {
    $path =~ s/^@/\0/;    # sd_notify(3): an abstract address
    if (   socket($notify, AF_UNIX, SOCK_DGRAM, 0)
        # A second at most: the service has better things to do than to wait for a busy PID 1.
        && setsockopt($notify, SOL_SOCKET, SO_SNDTIMEO, pack('l!l!', 1, 0))
        && connect($notify, pack_sockaddr_un($path)))
    {
        $ENV{NOTIFY_FD} = fileno $notify;
    }
    else {
        print STDERR "<4>no connection to the notify socket: $!\n";
    }
}
exec { $ARGV[0] } @ARGV or print STDERR "<3>cannot start $ARGV[0]: $!\n";
exit 127;
