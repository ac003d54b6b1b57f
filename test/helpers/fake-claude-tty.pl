# Gives the process a controlling terminal, as Clay 4.x does, and becomes the program in its arguments, with the same pid:
# a session leader that opens a terminal without O_NOCTTY gets it. Node can open one but not unlock it.
use strict;
use warnings;
use constant { TIOCSPTLCK => 0x40045431, TIOCGPTN => 0x80045430 };

$^F = 1023; # keep the master open across exec: without it the terminal hangs up
open(my $master, '+<', '/dev/ptmx') or die "ptmx: $!";
my $zero = pack('i', 0);
ioctl($master, TIOCSPTLCK, $zero) or die "unlock: $!";
my $number = pack('I', 0);
ioctl($master, TIOCGPTN, $number) or die "number: $!";
open(my $terminal, '+<', '/dev/pts/' . unpack('I', $number)) or die "pts: $!";
exec(@ARGV) or die "exec: $!";
