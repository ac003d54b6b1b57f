# The workaround of the bug report, with no kill at its end: $2 runs at the claude processes of Clay $1, with the pause of the
# other baselines before each. Says how many processes it looked at, and what all that cost.
exec {never}<> <(:)
for ((run = 0; run < $2; run++)); do
  read -r -t "$3" -u "$never"
  seen=0
  # --ppid: only that the same processes are looked at; ps goes through all of the machine with it or without.
  for pid in $(ps --ppid "$1" | grep 'claude$' | awk '{print $1}'); do
    sockets=$(ls -la "/proc/$pid/fd" 2>/dev/null | grep -c socket)
    if [ "$sockets" -le 2 ]; then idle="$pid"; fi
    seen=$((seen + 1))
  done
done
echo "$seen"
times
