// What lines of a text differ from those of another.

const MOST_LINES = 1500; // the table of comparisons is as large as their product

/** Runs `{sign: ' ' | '-' | '+', lines}` that make `after` of `before`. */
export function changes(before, after) {
  const old = before.split('\n');
  const now = after.split('\n');
  let head = 0;
  while (head < old.length && head < now.length && old[head] === now[head]) head += 1;
  let tail = 0;
  while (tail < old.length - head && tail < now.length - head && old.at(-1 - tail) === now.at(-1 - tail)) tail += 1;
  const middle = compare(old.slice(head, old.length - tail), now.slice(head, now.length - tail));
  const runs = [{ sign: ' ', lines: old.slice(0, head) }, ...middle, { sign: ' ', lines: tail ? old.slice(-tail) : [] }];
  return runs.filter((run) => run.lines.length);
}

function compare(old, now) {
  if (old.length > MOST_LINES || now.length > MOST_LINES) return [{ sign: '-', lines: old }, { sign: '+', lines: now }];
  const width = now.length + 1;
  const lengths = new Uint16Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] =
        old[i] === now[j]
          ? lengths[(i + 1) * width + j + 1] + 1
          : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const runs = [];
  const put = (sign, line) => (runs.at(-1)?.sign === sign ? runs.at(-1).lines.push(line) : runs.push({ sign, lines: [line] }));
  let i = 0;
  let j = 0;
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      put(' ', old[i]);
      i += 1;
      j += 1;
    } else if (j === now.length || (i < old.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) {
      put('-', old[i]);
      i += 1;
    } else {
      put('+', now[j]);
      j += 1;
    }
  }
  return runs;
}
