import { UsageError } from '../config/load.ts';
import { type InstallContext, readInstalled } from '../install/context.ts';
import { planUninstall, type Step, type UninstallOptions, whyNotUninstall } from '../install/plan.ts';
import { carryOut, effectsOf } from './install.ts';

/** `uninstall`: removes what `install` wrote. Returns the exit status. */
export async function uninstall(
  options: UninstallOptions,
  context: InstallContext,
  effects = effectsOf(context),
): Promise<number> {
  const refusal = whyNotUninstall(options, context);
  if (refusal !== null) throw new UsageError(refusal);
  const plan = (): Step[] => {
    const steps = planUninstall(options, context, readInstalled(context, options.user === true));
    return steps.length > 0 ? steps : [{ action: 'note', text: 'nothing is installed' }];
  };
  return carryOut(plan, options, effects, 'not everything was removed');
}
