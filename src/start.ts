#!/usr/bin/env node
// V8 parses a whole file before it runs any of it, and most of the program is for other commands: scripts/build.ts.
require(process.argv[2] === 'status' ? './status.js' : './program.js');
