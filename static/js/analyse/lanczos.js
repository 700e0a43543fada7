// Pillow's resize for 8 bits a channel with its Lanczos filter, to the last bit: the kernel as whole numbers of 22 bits,
// widened with the reduction, one pass across and one down, each rounded to 8 bits (Pillow 13, libImaging/Resample.c).

const LOBES = 3;
const BITS = 22;
const ONE = 1 << BITS;
const HALF = 1 << (BITS - 1);

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function lanczos(x) {
  return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

// For each place of the output: where its part of the input begins, and the weights of it.
function kernels(from, to) {
  const scale = from / to;
  const widening = Math.max(scale, 1);
  const support = LOBES * widening;
  return Array.from({ length: to }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), from);
    const weights = Array.from({ length: end - first }, (_, at) => lanczos((at + first - centre + 0.5) / widening));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const whole = weights.map((weight) => Math.trunc((weight / sum) * ONE + Math.sign(weight / sum) * 0.5));
    return { first, weights: Int32Array.from(whole) };
  });
}

// Rows of `width` pixels become rows of `size` pixels.
function across(pixels, width, height, channels, size) {
  const result = new Uint8Array(size * height * channels);
  kernels(width, size).forEach(({ first, weights }, place) => {
    for (let row = 0; row < height; row += 1) {
      for (let channel = 0; channel < channels; channel += 1) {
        let sum = HALF;
        let at = (row * width + first) * channels + channel;
        for (let index = 0; index < weights.length; index += 1, at += channels) sum += pixels[at] * weights[index];
        result[(row * size + place) * channels + channel] = clip(sum >> BITS);
      }
    }
  });
  return result;
}

// `height` rows of `row` values become `size` rows.
function down(values, height, row, size) {
  const result = new Uint8Array(size * row);
  kernels(height, size).forEach(({ first, weights }, place) => {
    for (let column = 0; column < row; column += 1) {
      let sum = HALF;
      let at = first * row + column;
      for (let index = 0; index < weights.length; index += 1, at += row) sum += values[at] * weights[index];
      result[place * row + column] = clip(sum >> BITS);
    }
  });
  return result;
}

function clip(value) {
  return Math.min(Math.max(value, 0), 255);
}

// pixels: Uint8Array of width * height * channels, rows from the top. Returns size * size * channels values.
export function resize(pixels, width, height, channels, size) {
  // Pillow begins with what makes a tall picture small soonest; the rounding in between shows which came first.
  if (height > size && height - size > 2 * (width - size)) {
    const short = down(pixels, height, width * channels, size);
    return width === size ? short : across(short, width, size, channels, size);
  }
  const narrow = width === size ? pixels : across(pixels, width, height, channels, size);
  return height === size ? narrow : down(narrow, height, size * channels, size);
}
