// Small charts as SVG. Each is a picture with a text that says the same.

import { duration, el, svg } from './dom.js';
import { quantile } from './figures.js';

const WIDTH = 280;
const HEIGHT = 64;
const PHASES = ['sync', 'queued', 'install', 'build', 'publish'];

const figure = (title, text, picture, ...below) =>
  el('figure', { class: 'card' }, el('figcaption', {}, el('span', {}, title), el('strong', {}, text)), picture, ...below);

const picture = (label, height, ...children) =>
  svg('svg', { viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': label, preserveAspectRatio: 'none', class: 'picture' }, ...children);

/** Edit to live: one bar for each bucket, with the median and the 95th percentile. */
export function latencies(histogram) {
  const [p50, p95] = [quantile(histogram, 0.5), quantile(histogram, 0.95)];
  const text = p50 === undefined ? 'nothing yet' : `p50 ${duration(p50 * 1000)} · p95 ${duration(p95 * 1000)}`;
  const most = Math.max(1, ...histogram.map(({ count }) => count));
  const step = WIDTH / Math.max(1, histogram.length);
  const bars = histogram.map(({ to, count }, at) => {
    const height = count === 0 ? 1 : Math.max(3, (count / most) * (HEIGHT - 4));
    const bar = { x: at * step + 1, y: HEIGHT - height, width: step - 2, height, class: count ? 'bar' : 'bar none' };
    return svg('rect', bar, svg('title', {}, `up to ${to === Infinity ? 'more' : duration(to * 1000)}: ${count}`));
  });
  const ends = histogram.length ? [histogram[0].to, histogram.at(-2)?.to ?? 0].map((to) => el('span', {}, duration(to * 1000))) : [];
  return figure('Edit → live', text, picture(`Edit to live: ${text}`, HEIGHT, ...bars), el('p', { class: 'axis' }, ...ends));
}

/** Parts of a whole in one bar; `good` is the part whose share is told. */
export function proportions(title, parts, good, classes) {
  const total = parts.reduce((all, { count }) => all + count, 0);
  const shown = parts.filter(({ count }) => count > 0);
  const share = total ? `${Math.round(((parts.find(({ key }) => key === good)?.count ?? 0) / total) * 1000) / 10} %` : 'nothing yet';
  let x = 0;
  const bars = shown.map(({ key, count }) => {
    const width = (count / total) * WIDTH;
    const bar = svg('rect', { x, y: 0, width: Math.max(1, width - 1), height: 20, class: classes[key] ?? 'other' }, svg('title', {}, `${key}: ${count}`));
    x += width;
    return bar;
  });
  if (!total) bars.push(svg('rect', { x: 0, y: 0, width: WIDTH, height: 20, class: 'bar none' }));
  const legend = shown.map(({ key, count }) => el('li', {}, el('i', { class: `dot ${classes[key] ?? 'other'}` }), `${key.replaceAll('_', ' ')} ${count}`));
  const words = shown.map(({ key, count }) => `${key} ${count}`).join(', ') || 'nothing yet';
  return figure(title, share, picture(`${title}: ${words}`, 20, ...bars), el('ul', { class: 'legend' }, ...legend));
}

/** Where a build's time went, on the scale of the longest one shown. */
export function timings(timings, longest) {
  const scale = WIDTH / Math.max(1, longest);
  let x = 0;
  const bars = PHASES.map((phase) => {
    const width = (timings[phase] ?? 0) * scale;
    const bar = svg('rect', { x, y: 0, width, height: 10, class: `phase ${phase}` });
    x += width;
    return bar;
  });
  const words = PHASES.filter((phase) => timings[phase]).map((phase) => `${phase} ${duration(timings[phase])}`).join(', ');
  const bar = picture(words || 'no time', 10, ...bars);
  bar.prepend(svg('title', {}, words || 'no time'));
  bar.classList.add('timings');
  return bar;
}

export const phases = () => el('ul', { class: 'legend' }, ...PHASES.map((phase) => el('li', {}, el('i', { class: `dot phase ${phase}` }), phase)));
