// The frozen base: from pixels to its last map, and from the map to the features that the head reads.

import { ScanError } from "./errors.js";

const MEANS_BGR = [103.939, 116.779, 123.68];
const BLOCKS = [2, 2, 3, 3, 3];
const RUNTIME = new URL("../../vendor/tfjs/", import.meta.url);

// tf is loaded where it is needed alone: a base of plain pixels does without.
async function tensorflow() {
  if (globalThis.tf?.getBackend() === "wasm") return globalThis.tf;
  if (typeof WebAssembly === "undefined") {
    throw new ScanError("browser_old", "This browser does not run WebAssembly, or was told not to. Have the hub read the scan.");
  }
  await import(new URL("tf-core.es2017.min.js", RUNTIME));
  await import(new URL("tf-backend-wasm.es2017.min.js", RUNTIME));
  globalThis.tf.wasm.setWasmPaths(RUNTIME.pathname);
  if (!(await globalThis.tf.setBackend("wasm"))) {
    throw new ScanError("browser_old", "This browser cannot run the program that computes. Have the hub read the scan.");
  }
  return globalThis.tf;
}

// VGG16's convolutions as tensors, and a function from pixels (size * size * 3, RGB) to block5_conv3's map.
async function vgg16(arrays, size) {
  const tf = await tensorflow();
  const layers = BLOCKS.map((count, block) =>
    Array.from({ length: count }, (_, at) => {
      const { [`block${block + 1}_conv${at + 1}/kernel`]: kernel, [`block${block + 1}_conv${at + 1}/bias`]: bias } = arrays;
      return { filter: tf.tensor4d(kernel.values, kernel.shape), bias: tf.tensor1d(bias.values) };
    }),
  );
  function run(pixels) {
    const values = new Float32Array(pixels.length);
    for (let at = 0; at < pixels.length; at += 3) {
      for (let channel = 0; channel < 3; channel += 1) values[at + channel] = pixels[at + 2 - channel] - MEANS_BGR[channel];
    }
    return tf.tidy(() => {
      let x = tf.tensor4d(values, [1, size, size, 3]);
      layers.forEach((block, number) => {
        if (number) x = tf.maxPool(x, 2, 2, "valid");
        for (const { filter, bias } of block) {
          x = tf.fused.conv2d({ x, filter, bias, strides: 1, pad: "same", activation: "relu" });
        }
      });
      return { values: x.dataSync(), side: x.shape[1], depth: x.shape[3] };
    });
  }
  return { run, toFeatures: pool, window: 2 };
}

// The largest of each two by two fields.
function pool({ values, side, depth }) {
  const half = side >> 1;
  const features = new Float32Array(half * half * depth);
  for (let y = 0; y < half; y += 1) {
    for (let x = 0; x < half; x += 1) {
      for (let k = 0; k < depth; k += 1) {
        const at = (2 * y * side + 2 * x) * depth + k;
        const below = at + side * depth;
        features[(y * half + x) * depth + k] = Math.max(values[at], values[at + depth], values[below], values[below + depth]);
      }
    }
  }
  return features;
}

// The base of tests and trials: the grey pixels themselves.
function pixels(size) {
  const run = (grey) => ({ values: Float32Array.from(grey, (value) => value / 64 - 1), side: size, depth: 1 });
  return { run, toFeatures: ({ values }) => values, window: 1 };
}

// run(pixels) -> map { values, side, depth }; toFeatures(map) -> what the head reads.
export async function loadBase(kind, arrays, size) {
  return kind === "pixels" ? pixels(size) : vgg16(arrays, size);
}
