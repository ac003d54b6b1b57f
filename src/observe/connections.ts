import { fail, ok, type Result } from '../files.ts';
import type { Connection } from '../judge/evidence.ts';
import { readProcLink } from '../proc/read.ts';
import { readSocketFd, readTcpTable, readUnixInodes, type TcpSocket } from '../proc/sockets.ts';
import type { Host } from './host.ts';

/** Tells which sockets of a process are connections; one for all candidates of a look, as tables are read only once. */
export type ConnectionTables = {
  /**
   * The connections among a process's sockets. To be called only when the descriptors of all candidates are read: a
   * table that is older than the descriptors cannot explain them all. `knownUnix`: those of its sockets that were in
   * unix's table before; it is brought up to date, as no socket ever becomes one of another kind.
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
type Tables = { readonly unix: Result<Set<number>>; tcp: TcpTable | null; tcp6: TcpTable | null };

/**
 * Makes the tables for one look, one set for each user in each network namespace met; `wantedSockets`: all that will be asked for,
 * which nobody wants to know while none of them is new.
 * A process can change its namespace while its table is read: so what is read through one user's says nothing of another's.
 * `cheaply`: TCP's tables are read only for a socket that is not in unix's, as they take 70 times as long. But a unix socket's
 * name can hold a line break and what looks like another row, so that before a process is ended TCP's have the last word.
 */
export function openConnectionTables(
  host: Host,
  wantedSockets: () => ReadonlySet<number>,
  cheaply = true,
): ConnectionTables {
  const byNamespace = new Map<string, Tables>();
  let asked: ReadonlySet<number> | null = null;
  const wanted = (): ReadonlySet<number> => {
    asked ??= wantedSockets();
    return asked;
  };

  const tablesOf = (pid: number, uid: number): Result<Tables> => {
    const namespace = readProcLink(`${host.procRoot}/${pid}/ns/net`);
    if (!namespace.ok) return namespace;
    const key = `${uid} ${namespace.value}`;
    const tables = byNamespace.get(key) ?? {
      unix: readUnixInodes(host.procRoot, pid, wanted()),
      tcp: null,
      tcp6: null,
    };
    byNamespace.set(key, tables);
    return ok(tables);
  };

  const connectionsOf: ConnectionTables['connectionsOf'] = (pid, sockets, uid, knownUnix = new Set()) => {
    const unknown: [fd: string, inode: number][] = [];
    sockets.forEach((inode, fd) => {
      if (!cheaply || !knownUnix.has(inode)) unknown.push([fd, inode]);
    });
    if (unknown.length === 0) return ok([]);
    const tables = tablesOf(pid, uid);
    if (!tables.ok) return tables;
    const { unix } = tables.value;
    if (!unix.ok) return unix;
    for (const [, inode] of unknown) if (unix.value.has(inode)) knownUnix.add(inode);
    const doubtful = cheaply ? unknown.filter(([, inode]) => !unix.value.has(inode)) : unknown;
    if (doubtful.length === 0) return ok([]);

    tables.value.tcp ??= readTcpTable(host.procRoot, pid, 'tcp', wanted());
    const { tcp } = tables.value;
    if (!tcp.ok) return tcp;
    if (doubtful.some(([, inode]) => !tcp.value.has(inode)))
      tables.value.tcp6 ??= readTcpTable(host.procRoot, pid, 'tcp6', wanted());
    const { tcp6 } = tables.value;
    if (tcp6 && !tcp6.ok) return tcp6;
    const connections = new Map<number, Connection>();
    for (const [fd, inode] of doubtful) {
      const row = tcp.value.get(inode) ?? tcp6?.value.get(inode);
      if (row && CONNECTED.has(row.state)) connections.set(inode, { inode, local: row.local, remote: row.remote });
      if (row || unix.value.has(inode) || !isStill(host, pid, fd, inode)) continue;
      return fail(
        'odd',
        `descriptor ${fd} is a socket (inode ${inode}) that is neither unix nor TCP, or is just being opened`,
      );
    }
    return ok([...connections.values()]);
  };

  return { connectionsOf };
}

/** Whether a descriptor still is that socket; one that was closed meanwhile is rightly in no table. */
function isStill(host: Host, pid: number, fd: string, inode: number): boolean {
  const now = readSocketFd(host.procRoot, pid, fd);
  return now.ok ? now.value === inode : now.failure.why !== 'gone';
}
