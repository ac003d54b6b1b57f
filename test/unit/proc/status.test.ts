import { describe, expect, it } from 'vitest';
import { parseEffectiveCapabilities, parseStatus, singleUid } from '../../../src/proc/status.ts';

const STATUS = `Name:	claude
Umask:	0022
State:	S (sleeping)
Tgid:	16246
Pid:	16246
PPid:	16199
TracerPid:	0
Uid:	1000	1000	1000	1000
Gid:	1000	1000	1000	1000
FDSize:	64
NStgid:	16246
NSpid:	16246
VmRSS:	  189880 kB
CapInh:	0000000000000000
CapPrm:	0000000000080022
CapEff:	0000000000080022
CapBnd:	000001ffffffffff
voluntary_ctxt_switches:	227
`;

describe('parseStatus', () => {
  it('parses a captured file', () => {
    expect(parseStatus(STATUS)).toEqual({
      ok: true,
      value: {
        uids: [1000, 1000, 1000, 1000],
        pidNamespaceDepth: 1,
        rssBytes: 189_880 * 1024,
        reclaimableBytes: 189_880 * 1024,
        descriptorTableSize: 64,
      },
    });
  });
  it('does not know how many descriptors there can be where the kernel does not say', () => {
    expect(parseStatus(STATUS.replace(/^FDSize:.*\n/m, ''))).toMatchObject({ value: { descriptorTableSize: null } });
  });
  it('counts unshared memory in RAM and swap as reclaimable, and no file pages', () => {
    const lines = 'VmRSS:\t  189880 kB\nRssAnon:\t  100000 kB\nRssFile:\t   89880 kB\nVmSwap:\t   50000 kB';
    const status = parseStatus(STATUS.replace(/^VmRSS:.*$/m, lines));
    expect(status).toMatchObject({ value: { rssBytes: 189_880 * 1024, reclaimableBytes: 150_000 * 1024 } });
  });
  it('reports no resident memory for a zombie, whose status has no VmRSS line', () => {
    expect(parseStatus(STATUS.replace(/^VmRSS:.*\n/m, ''))).toMatchObject({ ok: true, value: { rssBytes: 0 } });
  });
  it('returns the depth of pid namespaces', () => {
    const inContainer = STATUS.replace('NSpid:\t16246', 'NSpid:\t16246\t17\t1');
    expect(parseStatus(inContainer)).toMatchObject({ value: { pidNamespaceDepth: 3 } });
  });
  it('is not misled by a name, in which the kernel escapes newlines', () => {
    const named = STATUS.replace('Name:\tclaude', 'Name:\tx\\nUid:\t0\t0\t0\t0');
    expect(parseStatus(named)).toMatchObject({ value: { uids: [1000, 1000, 1000, 1000] } });
  });
  it.each([
    ['nothing', ''],
    ['no Uid', STATUS.replace(/^Uid:.*\n/m, '')],
    ['an Uid of three', STATUS.replace('Uid:\t1000\t1000\t1000\t1000', 'Uid:\t1000\t1000\t1000')],
    ['an Uid that is no number', STATUS.replace('Uid:\t1000', 'Uid:\t-1')],
    ['no NSpid, as before Linux 4.1', STATUS.replace(/^NSpid:.*\n/m, '')],
    ['an empty NSpid', STATUS.replace('NSpid:\t16246', 'NSpid:')],
  ])('refuses a file with %s', (_, text) => {
    expect(parseStatus(text)).toMatchObject({ ok: false, failure: { code: 'invalid' } });
  });
});

describe('singleUid', () => {
  const withUids = (...uids: [number, number, number, number]) => ({
    uids,
    pidNamespaceDepth: 1,
    rssBytes: 0,
    reclaimableBytes: 0,
    descriptorTableSize: null,
  });
  it('returns the uid if all four are the same', () => {
    expect(singleUid(withUids(0, 0, 0, 0))).toBe(0);
    expect(singleUid(withUids(1000, 1000, 1000, 1000))).toBe(1000);
  });
  it.each([[[1000, 0, 0, 0]], [[1000, 0, 1000, 1000]], [[1000, 1000, 0, 1000]], [[1000, 1000, 1000, 0]]] as const)(
    'returns null for %j: a setuid program, or sudo',
    (uids) => {
      expect(singleUid(withUids(...(uids as unknown as [number, number, number, number])))).toBeNull();
    },
  );
});

describe('parseEffectiveCapabilities', () => {
  it('parses the bit set', () => {
    expect(parseEffectiveCapabilities(STATUS)).toBe((1n << 1n) | (1n << 5n) | (1n << 19n));
    expect(parseEffectiveCapabilities('CapEff:\t000001ffffffffff\n')).toBe((1n << 41n) - 1n);
  });
  it('returns 0 without a CapEff line', () => expect(parseEffectiveCapabilities('Name:\tx\n')).toBe(0n));
});
