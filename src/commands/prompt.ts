// In the build a file of its own, read only when somebody is asked: see scripts/build.ts.
export { default as confirm } from '@inquirer/confirm';
