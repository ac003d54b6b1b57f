import { BUDGET_EXHAUSTED, type UserBudgets } from '../fs/user-budget.ts';
import type { Connection } from '../judge/evidence.ts';
import { readSocketFd } from '../proc/fd.ts';
import { readTcpTable, type TcpSocket } from '../proc/net-tcp.ts';
import { readUnixInodes } from '../proc/net-unix.ts';
import { readProcLink } from '../proc/read-file.ts';
import { fail, ok, type Result } from '../result.ts';

/** Finds the connections among the sockets of processes; one for all candidates of a sweep, so that tables are read once. */
export type ConnectionLookup = {
  /**
   * The connections among a process's sockets (inodes by descriptor). Call it only when the descriptors of all candidates are
   * read: a table that is older than the descriptors cannot explain all of them. `knownUnix`: the inodes that earlier unix
   * tables had; it is updated, because no socket ever becomes one of another kind.
   */
  readonly connectionsOf: (
    pid: number,
    sockets: ReadonlyMap<string, number>,
    uid: number,
    knownUnix?: Set<number>,
  ) => Result<Connection[]>;
};

/** include/net/tcp_states.h: ESTABLISHED, SYN_SENT, SYN_RECV, NEW_SYN_RECV. */
const CONNECTED = new Set([1, 2, 3, 12]);

type TcpTable = Result<Map<number, TcpSocket>>;
type Tables = {
  /** The process whose tables are read. */
  readonly through: number | 'self';
  /** The user on whose budget they are read; null: nobody. */
  readonly payer: number | null;
  readonly unix: Result<Set<number>>;
  tcp: TcpTable | null;
  tcp6: TcpTable | null;
};

/**
 * Makes a lookup for one sweep, with one set of tables per user and network namespace: a process can change its namespace
 * while a table is read through it, so the tables read through one user's process say nothing about another's.
 * The namespaces that every process lives in unless somebody made another, PID 1's and this program's own, are read once,
 * through these two, and on no user's budget: any user can fill their tables with sockets.
 * `wantedSockets`: all inodes that will be looked up; called only when a new socket is found.
 * `trustUnixTable`: the TCP tables take 70 times as long as the unix table, and are read only for sockets that it does not
 * have. The name of a unix socket can contain a line break and a forged row, so before a kill the TCP tables are always read.
 */
export function createConnectionLookup(
  procRoot: string,
  wantedSockets: () => ReadonlySet<number>,
  budgets: UserBudgets,
  trustUnixTable = true,
): ConnectionLookup {
  const byNamespace = new Map<string, Tables>();
  let inodes: ReadonlySet<number> | null = null;
  const wanted = (): ReadonlySet<number> => {
    inodes ??= wantedSockets();
    return inodes;
  };

  /** Reads a table on the budget of a user, or without one (null). */
  const onBudget = <T>(uid: number | null, read: (isExhausted: () => boolean) => Result<T>): Result<T> => {
    if (uid === null) return read(() => false);
    const budget = budgets.of(uid);
    return budget.exhausted() ? fail('invalid', BUDGET_EXHAUSTED) : budget.run(() => read(budget.exhausted));
  };

  let shared: Map<string, number | 'self'> | null = null;
  const sharedNamespaces = (): Map<string, number | 'self'> => {
    if (shared) return shared;
    shared = new Map();
    for (const pid of ['self', 1] as const) {
      const namespace = readProcLink(`${procRoot}/${pid}/ns/net`);
      if (namespace.ok && !shared.has(namespace.value)) shared.set(namespace.value, pid);
    }
    return shared;
  };

  const tablesOf = (pid: number, uid: number): Result<Tables> => {
    const namespace = readProcLink(`${procRoot}/${pid}/ns/net`);
    if (!namespace.ok) return namespace;
    const through = sharedNamespaces().get(namespace.value) ?? pid;
    const payer = through === pid ? uid : null;
    const key = `${payer} ${namespace.value}`;
    const tables = byNamespace.get(key) ?? {
      through,
      payer,
      unix: onBudget(payer, (isExhausted) => readUnixInodes(procRoot, through, wanted(), isExhausted)),
      tcp: null,
      tcp6: null,
    };
    byNamespace.set(key, tables);
    return ok(tables);
  };

  const tcpTableOf = ({ through, payer }: Tables, table: 'tcp' | 'tcp6'): TcpTable =>
    onBudget(payer, (isExhausted) => readTcpTable(procRoot, through, table, wanted(), isExhausted));

  const connectionsOf: ConnectionLookup['connectionsOf'] = (pid, sockets, uid, knownUnix = new Set()) => {
    const unknown: [fd: string, inode: number][] = [];
    sockets.forEach((inode, fd) => {
      if (!trustUnixTable || !knownUnix.has(inode)) unknown.push([fd, inode]);
    });
    if (unknown.length === 0) return ok([]);
    const tables = tablesOf(pid, uid);
    if (!tables.ok) return tables;
    const { unix } = tables.value;
    if (!unix.ok) return unix;
    for (const [, inode] of unknown) if (unix.value.has(inode)) knownUnix.add(inode);
    const unresolved = trustUnixTable ? unknown.filter(([, inode]) => !unix.value.has(inode)) : unknown;
    if (unresolved.length === 0) return ok([]);

    tables.value.tcp ??= tcpTableOf(tables.value, 'tcp');
    const { tcp } = tables.value;
    if (!tcp.ok) return tcp;
    if (unresolved.some(([, inode]) => !tcp.value.has(inode))) tables.value.tcp6 ??= tcpTableOf(tables.value, 'tcp6');
    const { tcp6 } = tables.value;
    if (tcp6 && !tcp6.ok) return tcp6;
    const connections = new Map<number, Connection>();
    for (const [fd, inode] of unresolved) {
      const row = tcp.value.get(inode) ?? tcp6?.value.get(inode);
      if (row && CONNECTED.has(row.state)) connections.set(inode, { inode, local: row.local, remote: row.remote });
      if (row || unix.value.has(inode) || !isSameSocket(procRoot, pid, fd, inode)) continue;
      return fail(
        'invalid',
        `descriptor ${fd} is a socket (inode ${inode}) that is neither unix nor TCP, or is just being opened`,
      );
    }
    return ok([...connections.values()]);
  };

  return { connectionsOf };
}

/** Whether a descriptor is still the same socket. One that was closed meanwhile is in no table. */
function isSameSocket(procRoot: string, pid: number, fd: string, inode: number): boolean {
  const now = readSocketFd(procRoot, pid, fd);
  return now.ok ? now.value === inode : now.failure.code !== 'not-found';
}
