// Prints figures side by side.

export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Medians side by side; their ratio is the median of the ratios within each round. */
export function row(what, ours, reference, unit, against) {
  const figure = (values) => median(values).toFixed(2).padStart(9);
  const ratio = median(ours.map((value, round) => value / reference[round]));
  console.log(`${what.padEnd(46)} ${figure(ours)} ${unit.padEnd(5)} against ${figure(reference)} ${unit.padEnd(5)} ${against.padEnd(34)} ratio ${ratio.toFixed(2)}`);
}
