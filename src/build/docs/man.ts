import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createProgram } from '../../program.ts';
import { manPage } from './man-page.ts';

// Run in the package's folder, by the build: writes dist/clay-reaper.8.
const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
mkdirSync('dist', { recursive: true });
writeFileSync(
  'dist/clay-reaper.8',
  manPage(
    createProgram(version, () => {}),
    version,
  ),
);
