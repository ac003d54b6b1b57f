import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { createProgram } from '../src/cli.ts';
import { licensesOf } from './licenses.ts';
import { manPage } from './man-page.ts';

// npm run build, in the package's folder: writes dist/.
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
const program = { version, commit: commitOf(process.cwd()) };

/** The short hash of what is built, as `--version` and `doctor` show it; null outside of a repository. */
function commitOf(cwd: string): string | null {
  try {
    const show = ['-C', cwd, 'rev-parse', '--short=7', 'HEAD'];
    return execFileSync('git', show, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return null;
  }
}

/**
 * Packages that only some commands use. Each becomes a file of its own in dist/, which is read when it is
 * required: V8 parses a whole file before it runs any of it.
 */
const LAZY_PACKAGES = ['cli-table3', 'pidusage', 'pino', 'pino-pretty', 'prom-client'];

/** The same for ES modules, by a file of ours that names what is used of it: its output, and how it is imported. */
const LAZY_MODULES = {
  prompt: { source: 'src/commands/prompt.ts', imported: './prompt.ts' },
  completion: { source: 'src/commands/completion.ts', imported: './commands/completion.ts' },
} as const;

/**
 * Packages that `status` seldom calls a function of, in the middle of what is not asynchronous: required at the first call. Not so
 * in the service: an update may have replaced the files by then.
 */
const LAZY_FUNCTIONS: Readonly<Record<string, readonly string[]>> = {
  croner: ['Cron'],
  'smol-toml': ['parse', 'stringify'],
};

/**
 * commander starts programs for subcommands that are files of their own, which there are none of here; node:child_process
 * takes 6 % of the whole start of a command to load (measured). A call of it would fail as one of undefined.
 */
const leaveOutChildProcessOfCommander: Plugin = {
  name: 'leave-out-child-process-of-commander',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ path, importer }) =>
      importer.includes('/node_modules/commander/') ? { path, namespace: 'empty' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: 'module.exports = {};' }));
  },
};

/** Leaves the lazy packages out of a bundle: it requires their files instead. */
const requireLazyPackages: Plugin = {
  name: 'require-lazy-packages',
  setup({ onResolve }) {
    onResolve({ filter: /^[a-z]/ }, ({ path, kind }) =>
      kind !== 'entry-point' && LAZY_PACKAGES.includes(path) ? { path: `./${path}.js`, external: true } : undefined,
    );
    onResolve({ filter: /\.ts$/ }, ({ path, kind }) => {
      const lazy = Object.entries(LAZY_MODULES).find(([, { imported }]) => imported === path);
      return kind !== 'entry-point' && lazy ? { path: `./${lazy[0]}.js`, external: true } : undefined;
    });
  },
};

const requireLazyFunctions: Plugin = {
  name: 'require-lazy-functions',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[a-z]/ }, ({ path, kind }) =>
      kind === 'import-statement' && path in LAZY_FUNCTIONS ? { path, namespace: 'lazy' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'lazy' }, ({ path }) => ({
      contents: (LAZY_FUNCTIONS[path] ?? [])
        .map(
          (name) => `export function ${name}(...values) {
            const { ${name}: real } = require('./${path}.js');
            return new.target ? new real(...values) : real(...values);
          }`,
        )
        .join('\n'),
    }));
  },
};

/** Leaves the other commands out of the bundle of `status`, for which `src/start.ts` does not load it. */
const leaveOutOtherCommands: Plugin = {
  name: 'leave-out-other-commands',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/(commands|install)\// }, ({ path, kind }) =>
      kind === 'dynamic-import' && path !== './commands/status.ts'
        ? { path: './program.js', external: true }
        : undefined,
    );
  },
};

/** Writes bundles to dist/, named by the keys of `entryPoints`. Returns the paths of what is in them. */
async function bundle(entryPoints: Readonly<Record<string, string>>, options: BuildOptions = {}): Promise<string[]> {
  const { metafile } = await build({
    ...options,
    entryPoints,
    outdir: 'dist',
    external: ['program', 'status', ...Object.keys(LAZY_FUNCTIONS)].map((name) => `./${name}.js`),
    bundle: true,
    platform: 'node',
    target: 'node20',
    // CommonJS, because Node starts an ES module later, by a sixth of its whole start.
    format: 'cjs',
    banner: { js: "const __url = require('node:url').pathToFileURL(__filename).href;" },
    define: { CLAY_REAPER_BUILD: JSON.stringify(program), 'import.meta.url': '__url' },
    plugins: [leaveOutChildProcessOfCommander, requireLazyPackages, ...(options.plugins ?? [])],
    // import() of a lazy package becomes require(): import() finds no names in a minified CommonJS file.
    supported: { 'dynamic-import': false },
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
  });
  return Object.keys(metafile.inputs);
}

rmSync('dist', { recursive: true, force: true });
const inputs = await bundle({
  'clay-reaper': 'src/start.ts',
  program: 'src/main.ts',
  ...Object.fromEntries(Object.entries(LAZY_MODULES).map(([name, { source }]) => [name, source])),
  ...Object.fromEntries([...LAZY_PACKAGES, ...Object.keys(LAZY_FUNCTIONS)].map((name) => [name, name])),
});
// Elsewhere, identifiers keep their names for stack traces. V8 starts `status` 3 % earlier without (measured).
await bundle(
  { status: 'src/main.ts' },
  { plugins: [leaveOutOtherCommands, requireLazyFunctions], minifyIdentifiers: true },
);
// Also says what the running service was built from: src/install/service-state.ts.
writeFileSync('dist/package.json', `${JSON.stringify({ type: 'commonjs', ...program })}\n`);
writeFileSync('dist/LICENSES.txt', licensesOf(inputs));
writeFileSync(
  'dist/clay-reaper.8',
  manPage(
    createProgram(program, () => {}),
    version,
  ),
);
