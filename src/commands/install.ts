import { UsageError } from '../config/load.ts';
import { type InstallContext, readInstalled, writableByOthers } from '../install/context.ts';
import { type Effects, execute, preview, runSystemctl } from '../install/execute.ts';
import { type InstallOptions, planInstall, type Step, whyNotInstall } from '../install/plan.ts';
import { EXIT } from '../report/exit-status.ts';
import { printError } from '../report/stderr.ts';
import { printText } from '../report/stdout.ts';

/** `install`: writes the unit, and the configuration if there is none. Returns the exit status. */
export async function install(
  options: InstallOptions,
  context: InstallContext,
  effects = effectsOf(context),
): Promise<number> {
  const refusal = whyNotInstall(options, context);
  if (refusal !== null) throw new UsageError(refusal);
  if (!options.user && !options.dryRun) warnIfReplaceable(context);
  const plan = () => planInstall(options, context, readInstalled(context, options.user === true));
  return carryOut(plan, options, effects, 'not installed');
}

/** Carries out a plan, or describes it in a dry run; prints failures after `prefix`. Returns the exit status. */
export async function carryOut(
  plan: () => Step[],
  { dryRun }: { readonly dryRun?: boolean },
  effects: Effects,
  prefix: string,
): Promise<number> {
  let steps: Step[];
  try {
    steps = plan();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    printError(`${prefix}: ${error.message}`);
    return EXIT.failed;
  }
  if (dryRun) {
    preview(steps, effects);
    return EXIT.ok;
  }
  const failure = await execute(steps, effects);
  if (failure === undefined) return EXIT.ok;
  printError(`${prefix}: ${failure}`);
  return EXIT.failed;
}

/** The real effects: systemctl in the environment of the context, and stdout. */
export const effectsOf = ({ env }: InstallContext): Effects => ({
  systemctl: (args) => runSystemctl(args, env),
  print: printText,
});

/** The service runs with capabilities, so a user who can replace its program gets them. */
function warnIfReplaceable({ node, program }: InstallContext): void {
  for (const path of [node, program]) {
    const replaceable = writableByOthers(path);
    if (replaceable === null) continue;
    printError(
      `warning: a user other than root can change ${replaceable}, and so the program that the service runs with its capabilities`,
    );
  }
}
