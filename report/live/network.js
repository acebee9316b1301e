"use strict";
// The forward pass of a chain of convolutions with Grad-CAM of every class, and the workers that
// run it. A worker is started from the text of this script.

/** Numbers of a type, given in base64, as a Float32Array. */
function decode(text, type) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return Float32Array.from(new type(bytes.buffer));
}

/** 2 x 2 max-pooling of values that are not negative, [size][size][channels]. */
function maxPool(input, size) {
  const channels = input.length / (size * size), half = size / 2;
  const result = new Float32Array(half * half * channels);
  input.forEach((value, i) => {
    const pixel = Math.floor(i / channels), row = Math.floor(pixel / size), column = pixel % size;
    const to = ((row >> 1) * half + (column >> 1)) * channels + i % channels;
    result[to] = Math.max(result[to], value);
  });
  return result;
}

/**
 * Lists the inputs of a convolution at pixel `p` that are not zero, which are few after a ReLU:
 * their values and where their weights are, see `convolve`. Returns how many there are.
 * Outside the image are zeros for an odd kernel; for an even one the last row and column repeat.
 */
function gather({ kernel, size }, input, p, values, places) {
  const inputs = input.length / (size * size), most = kernel % 2 ? size : size - 1;
  const inside = (i) => i >= 0 && i < size, from = -Math.floor((kernel - 1) / 2);
  let n = 0;
  for (let t = 0; t < kernel * kernel; t++) {
    const y = Math.min(most, Math.floor(p / size) + from + Math.floor(t / kernel));
    const x = Math.min(most, p % size + from + t % kernel);
    if (!inside(y) || !inside(x)) continue;
    for (let c = 0; c < inputs; c++) {
      const value = input[(y * size + x) * inputs + c];
      if (value !== 0) {
        values[n] = value;
        places[n++] = 4 * (t * inputs + c);
      }
    }
  }
  return n;
}

/**
 * A convolution with bias, and ReLU and 2 x 2 max-pooling if the layer has them. The input is
 * [size][size][inputs]; the weights are [outputs / 4][kernel][kernel][inputs][4], because sums for
 * four outputs at a time are fastest.
 */
function convolve(layer, input) {
  const { kernel, size, relu, pool, weights, bias } = layer, outputs = bias.length;
  const inputs = kernel * kernel * input.length / (size * size), least = relu ? 0 : -Infinity;
  const values = new Float64Array(inputs), places = new Int32Array(inputs);
  const result = new Float32Array(size * size * outputs);
  for (let p = 0, to = 0; p < size * size; p++) {
    const n = gather(layer, input, p, values, places);
    for (let k = 0; k < outputs; k += 4, to += 4) {
      let a = bias[k], b = bias[k + 1], c = bias[k + 2], d = bias[k + 3];
      const from = k * inputs;
      for (let i = 0; i < n; i++) {
        const value = values[i], at = from + places[i];
        a += value * weights[at];
        b += value * weights[at + 1];
        c += value * weights[at + 2];
        d += value * weights[at + 3];
      }
      result[to] = Math.max(least, a);
      result[to + 1] = Math.max(least, b);
      result[to + 2] = Math.max(least, c);
      result[to + 3] = Math.max(least, d);
    }
  }
  return pool ? maxPool(result, size) : result;
}

/*
 * In a worker: decodes the networks of build.py once, and answers with the Grad-CAM maps of all
 * classes before the ReLU, [8][8][outputs], of images [32][32][3] with values from 0 to 255.
 * `outputs` is the number of classes, rounded up to a multiple of four. The gradient of a logit
 * behind the last stage is the head's weight / 64, so a map is the weighted sum of the activations,
 * and its sum is the logit.
 */
if (typeof document === "undefined") {
  let networks;
  self.onmessage = ({ data, ports }) => {
    if (data.networks) {
      networks = data.networks.map(({ layers }) => layers.map((layer) => ({
        ...layer,
        weights: decode(layer.weights, layer.kernel === 3 ? Float16Array : Float32Array),
        bias: decode(layer.bias, Float32Array),
      })));
      return;
    }
    const layers = networks[data.network];
    ports[0].postMessage(data.images.map((image) =>
      layers.reduce((input, layer) => convolve(layer, input), image)));
  };
}

/** Runs the networks on several cores. */
class Pool {
  constructor(source, networks, onerror) {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const count = Math.min(8, navigator.hardwareConcurrency || 2);
    this.workers = Array.from({ length: count }, () => {
      const worker = new Worker(url);
      worker.onerror = onerror;
      worker.postMessage({ networks });
      return worker;
    });
  }

  /** Resolves to the maps of each image. */
  async evaluate(network, images) {
    const n = this.workers.length, parts = await Promise.all(this.workers.map((worker, w) => {
      const { port1, port2 } = new MessageChannel();
      worker.postMessage({ network, images: images.filter((_, i) => i % n === w) }, [port2]);
      return new Promise((resolve) => { port1.onmessage = ({ data }) => resolve(data); });
    }));
    return images.map((_, i) => parts[i % n][Math.floor(i / n)]);
  }
}
