import { describe, expect, it } from 'vitest';
import { parseUserNames, readUserNames } from '../../../src/fs/passwd.ts';

describe('parseUserNames', () => {
  it('returns the first name of each uid and skips lines of another form', () => {
    const text =
      'root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n\n+::::::\nada:x:1000:1000::/home/ada:/bin/sh\n';
    expect([...parseUserNames(text)]).toEqual([
      [0, 'root'],
      [1000, 'ada'],
    ]);
  });
});

describe('readUserNames', () => {
  it('returns no names if the file cannot be read', () => {
    expect(readUserNames('/nonexistent').size).toBe(0);
  });
});
