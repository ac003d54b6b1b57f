import { newUserBudgets, type UserBudget, type UserBudgets } from '../../src/fs/user-budget.ts';

/** Budgets that nothing exhausts, and no file system is refused. */
export const noLimits: UserBudgets = newUserBudgets(
  { ms: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY, items: Number.POSITIVE_INFINITY },
  null,
);

/** The budget of the user who runs the tests. */
export const noLimit: UserBudget = noLimits.of(process.geteuid?.() ?? 0);
