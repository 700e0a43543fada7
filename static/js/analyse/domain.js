// Whether a scan looks like those of the hub's validation set: the same numbers as hospintel_core/domain.py.

const unpack = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

// The mean of each channel over the image, at length 1; of grey pixels each is a channel of its own.
function summarise(features, depth) {
  if (depth === 1) return Float64Array.from(features);
  const means = new Float64Array(depth);
  for (let at = 0; at < features.length; at += 1) means[at % depth] += (features[at] * depth) / features.length;
  const length = Math.hypot(...means);
  return length > 0 ? means.map((value) => value / length) : means;
}

function squareToClass(summary, mean, axes, { variances, rest }) {
  const apart = summary.map((value, at) => value - mean[at]);
  let square = apart.reduce((sum, value) => sum + value * value, 0) / rest;
  variances.forEach((variance, axis) => {
    let along = 0;
    for (let at = 0; at < apart.length; at += 1) along += apart[at] * axes[axis * apart.length + at];
    square += along * along * (1 / variance - 1 / rest);
  });
  return square;
}

// `domain` is what the hub says of its set, null where it has none; returns { distance, unlike }, or null.
export function compare(domain, features, depth) {
  if (!domain) return null;
  const summary = summarise(features, depth);
  const [means, axes] = [unpack(domain.means), unpack(domain.axes)];
  let nearest = Infinity;
  for (let at = 0; at < means.length; at += summary.length) {
    nearest = Math.min(nearest, squareToClass(summary, means.subarray(at, at + summary.length), axes, domain));
  }
  const distance = Math.sqrt(Math.max(nearest, 0) / summary.length);
  return { distance, unlike: distance > domain.threshold };
}
