// The trained head: probabilities from features, and what in the base's last map spoke for a class.

// Each layer's output before its activation, and after it; `layers` are { kernel, bias, activation } in order.
function forward(features, layers) {
  const steps = [];
  let input = features;
  for (const { kernel, bias, activation } of layers) {
    const units = bias.length;
    const sums = Float64Array.from(bias);
    for (let at = 0; at < input.length; at += 1) {
      if (input[at] === 0) continue;
      for (let unit = 0; unit < units; unit += 1) sums[unit] += input[at] * kernel[at * units + unit];
    }
    steps.push(sums);
    input = activation === "relu" ? sums.map((value) => Math.max(value, 0)) : sums;
  }
  return steps;
}

function softmax(logits, temperature) {
  const most = Math.max(...logits);
  const powers = Array.from(logits, (value) => Math.exp((value - most) / temperature));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}

// The gradient of one class' logit with respect to the features: the layers backwards, ReLU where it was open.
function gradient(layers, steps, chosen) {
  let slope = Float64Array.from(steps.at(-1), (_, at) => (at === chosen ? 1 : 0));
  for (let number = layers.length - 1; number >= 0; number -= 1) {
    const { kernel } = layers[number];
    const units = slope.length;
    const before = number ? steps[number - 1] : null;
    const next = new Float64Array(kernel.length / units);
    for (let at = 0; at < next.length; at += 1) {
      if (before && before[at] <= 0) continue;
      for (let unit = 0; unit < units; unit += 1) next[at] += kernel[at * units + unit] * slope[unit];
    }
    slope = next;
  }
  return slope;
}

// Grad-CAM (Selvaraju et al. 2017) at the last map: each channel weighted by its mean gradient, what speaks against left out.
// The pool passes a gradient on to the largest of its fields: the sum over the map is the sum over the pool's outputs.
function gradCam({ values, side, depth }, slopes) {
  const weights = new Float64Array(depth);
  for (let at = 0; at < slopes.length; at += 1) weights[at % depth] += slopes[at] / (side * side);
  const fields = new Float32Array(side * side);
  for (let field = 0; field < fields.length; field += 1) {
    let sum = 0;
    for (let k = 0; k < depth; k += 1) sum += weights[k] * values[field * depth + k];
    fields[field] = Math.max(sum, 0);
  }
  return fields;
}

// Returns { logits, probabilities, maps }: a map of side * side fields for each class.
export function readHead(map, features, layers, temperature) {
  const steps = forward(features, layers);
  const logits = Array.from(steps.at(-1));
  const maps = logits.map((_, chosen) => gradCam(map, gradient(layers, steps, chosen)));
  return { logits, probabilities: softmax(logits, temperature), maps };
}
