// Reads the daemon's metrics. Pure.

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** Prometheus text as a list of `{ name, labels, value }`. */
export function parse(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    const [, name, labels = '', value] = LINE.exec(line) ?? [];
    if (name) samples.push({ name, labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key, text]) => [key, text])), value: Number(value) });
  }
  return samples;
}

/** The sum of all samples of a name that have these labels. */
export function sum(samples, name, labels = {}) {
  const fits = (sample) => sample.name === `previewd_${name}` && Object.entries(labels).every(([key, value]) => sample.labels[key] === value);
  return samples.filter(fits).reduce((total, sample) => total + sample.value, 0);
}

/** How often each value of a label was counted, in the order given; what is not among them comes last. */
export function shares(samples, name, label, order) {
  const counts = new Map(order.map((value) => [value, 0]));
  for (const sample of samples) {
    if (sample.name === `previewd_${name}`) counts.set(sample.labels[label], (counts.get(sample.labels[label]) ?? 0) + sample.value);
  }
  return [...counts].map(([key, count]) => ({ key, count }));
}

/** A histogram as `{ to, count }`, `to` in seconds; each with what is its own only. */
export function buckets(samples, name) {
  const bounds = samples.filter((sample) => sample.name === `previewd_${name}_bucket`);
  const ordered = bounds.map((sample) => ({ to: Number(sample.labels.le.replace('+Inf', 'Infinity')), upTo: sample.value })).sort((a, b) => a.to - b.to);
  return ordered.map(({ to, upTo }, at) => ({ to, count: upTo - (ordered[at - 1]?.upTo ?? 0) }));
}

/** A quantile of a histogram in seconds, as Prometheus reckons it: even within a bucket. Nothing where nothing was counted. */
export function quantile(histogram, q) {
  const total = histogram.reduce((all, { count }) => all + count, 0);
  let [rank, from] = [q * total, 0];
  if (total === 0) return undefined;
  for (const { to, count } of histogram) {
    if (rank <= count && count > 0) return to === Infinity ? from : from + ((to - from) * rank) / count;
    rank -= count;
    from = to;
  }
  return from;
}
