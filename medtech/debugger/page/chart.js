// A SampledData as a line over time.

import { drawing } from './dom.js';

const WIDTH = 320;
const HEIGHT = 110;
const LEFT = 44;
const MOST_POINTS = 2000;

/** A chart of a valueSampledData: one line for each dimension, with gaps where there is no sample. */
export function chart(sampled) {
  const dimensions = sampled.dimensions ?? 1;
  const origin = Number(sampled.origin?.value ?? 0);
  const samples = String(sampled.data ?? '')
    .split(/\s+/)
    .filter(Boolean)
    .map((text) => (Number.isFinite(Number(text)) ? origin + Number(text) * (sampled.factor ?? 1) : null));
  const known = samples.filter((each) => each !== null);
  if (!known.length) return null;
  let low = Infinity;
  let high = -Infinity;
  for (const each of known) {
    low = Math.min(low, each);
    high = Math.max(high, each);
  }
  const unit = sampled.origin?.unit ?? sampled.origin?.code ?? '';
  const label = `${known.length} ${known.length === 1 ? 'sample' : 'samples'} of ${samples.length}, from ${low} to ${high} ${unit}`;
  const range = high - low || 1;
  const slots = Math.max(1, Math.ceil(samples.length / dimensions) - 1);
  const x = (slot) => LEFT + (slot / slots) * (WIDTH - LEFT - 8);
  const y = (value) => (high === low ? HEIGHT / 2 : HEIGHT - 20 - ((value - low) / range) * (HEIGHT - 34));
  const lines = Array.from({ length: dimensions }, (_, dimension) =>
    line(samples.filter((_, at) => at % dimensions === dimension), x, y),
  );
  return drawing(
    'svg',
    { class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label },
    drawing('line', { x1: LEFT, x2: WIDTH - 8, y1: y(low), y2: y(low) }),
    drawing('line', { x1: LEFT, x2: WIDTH - 8, y1: y(high), y2: y(high) }),
    drawing('text', { x: 2, y: y(high) + 4 }, String(high)),
    high === low ? null : drawing('text', { x: 2, y: y(low) + 4 }, String(low)),
    drawing('text', { x: LEFT, y: HEIGHT - 2 }, `${unit}, every ${sampled.period} ms`),
    lines,
  );
}

function line(samples, x, y) {
  const step = Math.max(1, Math.ceil(samples.length / MOST_POINTS));
  let path = '';
  const alone = [];
  for (let slot = 0; slot < samples.length; slot += step) {
    const value = samples[slot];
    if (value === null) continue;
    const before = samples[slot - step] ?? null;
    if (before === null && (samples[slot + step] ?? null) === null) alone.push(drawing('circle', { cx: x(slot), cy: y(value), r: 2.5 }));
    else path += `${before === null ? 'M' : 'L'}${x(slot).toFixed(1)} ${y(value).toFixed(1)}`;
  }
  return [path ? drawing('path', { d: path }) : null, ...alone];
}
