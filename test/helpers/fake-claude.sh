# Run by a copy of the shell that is named `claude`, this is the cheapest process of the shape that Agent SDK 0.3.x has:
# a native binary with arguments, a name and an exe of its own, 1 MB resident. Each line on stdin is a command.
session_file="$FAKE_CLAUDE_FOLDER/sessions/$$.json"
if [ -n "$FAKE_CLAUDE_IGNORE_SIGTERM" ]; then trap '' TERM; else trap 'rm -f "$session_file"; exit 143' TERM; fi
while read -r command; do eval "$command"; done
rm -f "$session_file"
