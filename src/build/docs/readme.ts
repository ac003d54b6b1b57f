import { readFileSync, writeFileSync } from 'node:fs';
import { withSettings } from './settings.ts';

// Run in the package's folder, by `npm run docs`: puts the reference of settings into the README.
writeFileSync('README.md', withSettings(readFileSync('README.md', 'utf8')));
