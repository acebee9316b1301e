"use strict";
// The forward pass of `Compact` (common/models.py) with Grad-CAM of every class, and the pool of
// workers that runs it. A worker is started from the text of this script.

const CELLS = 64;  // of a map, 8 x 8
const POWERS = Float64Array.from({ length: 31 }, (_, e) => 2 ** (Math.max(e, 1) - 25));

/** Half-precision numbers, given as all high bytes followed by all low bytes, as a Float32Array. */
function decodeHalf(bytes) {
  const n = bytes.length / 2, values = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const high = bytes[i], exponent = (high >> 2) & 31;
    const mantissa = ((high & 3) << 8 | bytes[n + i]) + (exponent ? 1024 : 0);
    values[i] = (high & 128 ? -1 : 1) * mantissa * POWERS[exponent];
  }
  return values;
}

const decodeBase64 = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function inflate(base64) {
  const packed = new Blob([decodeBase64(base64)]).stream();
  const stream = packed.pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * A 3 x 3 convolution with zero padding, prepared for Winograd's F(2 x 2, 3 x 3) (Lavin & Gray,
 * arXiv:1509.09308): 16 products of matrices instead of 36 multiplications per 2 x 2 outputs.
 * The weights are stored as [16][outputs / 4][inputs][4], the order in which `multiply` reads them.
 */
function prepare(weights, bias, inputs, size, pool) {
  const outputs = bias.length, transformed = new Float32Array(16 * outputs * inputs);
  const rows = new Float64Array(12);
  for (let k = 0; k < outputs; k++) for (let c = 0; c < inputs; c++) {
    const w = (k * inputs + c) * 9;
    for (let x = 0; x < 3; x++) {
      const a = weights[w + x], b = weights[w + 3 + x], d = weights[w + 6 + x];
      rows[x] = a; rows[3 + x] = (a + b + d) / 2; rows[6 + x] = (a - b + d) / 2; rows[9 + x] = d;
    }
    for (let y = 0; y < 4; y++) {
      const a = rows[3 * y], b = rows[3 * y + 1], d = rows[3 * y + 2];
      [a, (a + b + d) / 2, (a - b + d) / 2, d].forEach((value, x) => {
        transformed[((4 * y + x) * outputs + (k & ~3)) * inputs + 4 * c + (k & 3)] = value;
      });
    }
  }
  const tiles = size * size / 4;
  return { weights: transformed, bias, inputs, outputs, size, pool, tiles,
    patches: new Float32Array(16 * inputs * tiles),
    products: new Float32Array(16 * outputs * tiles),
    padded: new Float32Array((size + 2) ** 2),
    result: new Float32Array(outputs * tiles * (pool ? 1 : 4)) };
}

/** The 4 x 4 input patches of all tiles, transformed: [16][tiles / 4][inputs][4]. */
function transformPatches({ inputs, size, tiles, patches, padded }, input) {
  const wide = size + 2, t = new Float64Array(16), plane = inputs * tiles;
  for (let c = 0; c < inputs; c++) {
    for (let y = 0; y < size; y++) for (let x = 0; x < size; x++)
      padded[(y + 1) * wide + x + 1] = input[(c * size + y) * size + x];
    for (let y = 0, tile = 0; y < size; y += 2) for (let x = 0; x < size; x += 2, tile++) {
      for (let j = 0, p = y * wide + x; j < 4; j++, p++) {
        const a = padded[p], b = padded[p + wide], d = padded[p + 2 * wide];
        t[j] = a - d; t[4 + j] = b + d; t[8 + j] = d - b; t[12 + j] = b - padded[p + 3 * wide];
      }
      for (let i = 0, o = (tile & ~3) * inputs + 4 * c + (tile & 3); i < 16; i += 4) {
        patches[o + i * plane] = t[i] - t[i + 2];
        patches[o + (i + 1) * plane] = t[i + 1] + t[i + 2];
        patches[o + (i + 2) * plane] = t[i + 2] - t[i + 1];
        patches[o + (i + 3) * plane] = t[i + 1] - t[i + 3];
      }
    }
  }
}

/** products[16][outputs][tiles]: 4 outputs of 4 tiles at a time, with the sums in registers. */
function multiply({ weights, patches, products, inputs, outputs, tiles }) {
  for (let p = 0; p < 16; p++) for (let k = 0; k < outputs; k += 4)
  for (let t = 0; t < tiles; t += 4) {
    let u = (p * outputs + k) * inputs, v = (p * tiles + t) * inputs;
    let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    let c0 = 0, c1 = 0, c2 = 0, c3 = 0, d0 = 0, d1 = 0, d2 = 0, d3 = 0;
    for (const end = u + 4 * inputs; u < end; u += 4, v += 4) {
      const a = weights[u], b = weights[u + 1], c = weights[u + 2], d = weights[u + 3];
      const x = patches[v], y = patches[v + 1], z = patches[v + 2], w = patches[v + 3];
      a0 += a * x; a1 += a * y; a2 += a * z; a3 += a * w;
      b0 += b * x; b1 += b * y; b2 += b * z; b3 += b * w;
      c0 += c * x; c1 += c * y; c2 += c * z; c3 += c * w;
      d0 += d * x; d1 += d * y; d2 += d * z; d3 += d * w;
    }
    let o = (p * outputs + k) * tiles + t;
    products[o] = a0; products[o + 1] = a1; products[o + 2] = a2; products[o + 3] = a3; o += tiles;
    products[o] = b0; products[o + 1] = b1; products[o + 2] = b2; products[o + 3] = b3; o += tiles;
    products[o] = c0; products[o + 1] = c1; products[o + 2] = c2; products[o + 3] = c3; o += tiles;
    products[o] = d0; products[o + 1] = d1; products[o + 2] = d2; products[o + 3] = d3;
  }
}

/** Convolution, 2 x 2 max-pool if `layer.pool`, bias and ReLU. Returns [outputs][height][width]. */
function convolve(layer, input) {
  transformPatches(layer, input);
  multiply(layer);
  const { bias, outputs, size, tiles, products, result, pool } = layer;
  const plane = outputs * tiles, r = new Float64Array(8), across = size / 2;
  for (let k = 0; k < outputs; k++) for (let t = 0; t < tiles; t++) {
    for (let x = 0, o = k * tiles + t; x < 4; x++, o += plane) {
      const b = products[o + 4 * plane], c = products[o + 8 * plane];
      r[x] = products[o] + b + c;
      r[4 + x] = b - c - products[o + 12 * plane];
    }
    const a = r[0] + r[1] + r[2], b = r[1] - r[2] - r[3];
    const c = r[4] + r[5] + r[6], d = r[5] - r[6] - r[7];
    if (pool) {  // the four outputs of a tile are pooled
      result[k * tiles + t] = Math.max(0, Math.max(a, b, c, d) + bias[k]);
    } else {
      const o = ((k * across + Math.floor(t / across)) * size + t % across) * 2;
      result[o] = Math.max(0, a + bias[k]);
      result[o + 1] = Math.max(0, b + bias[k]);
      result[o + size] = Math.max(0, c + bias[k]);
      result[o + size + 1] = Math.max(0, d + bias[k]);
    }
  }
  return result;
}

/** 24 filters of 2 x 2 and ReLU; the last row and column are repeated below and to the right. */
function whiten(filters, bias, image) {
  const result = new Float32Array(24 * 1024);
  for (let k = 0; k < 24; k++) for (let y = 0; y < 32; y++) for (let x = 0; x < 32; x++) {
    const down = y < 31 ? 32 : 0, right = x < 31 ? 1 : 0;
    let sum = bias[k];
    for (let c = 0, w = 12 * k, p = 32 * y + x; c < 3; c++, w += 4, p += 1024)
      sum += filters[w] * image[p] + filters[w + 1] * image[p + right]
        + filters[w + 2] * image[p + down] + filters[w + 3] * image[p + down + right];
    result[(k * 32 + y) * 32 + x] = Math.max(0, sum);
  }
  return result;
}

/**
 * A function from an image (planes of red, green and blue, 32 x 32, 0 to 255) to the Grad-CAM maps
 * of all classes, [classes][64], before the ReLU.
 * The gradient of a logit behind the last stage is the head's weight / 64, so a map is the weighted
 * sum of the activations, and its sum is the logit.
 */
function createNetwork({ widths, classes, small, large }) {
  let read = 0, used = 0;
  const take = (n) => small.subarray(read, read += n);
  const filters = take(288), whiteningBias = take(24), layers = [];
  for (const [s, inputs] of [24, ...widths.slice(0, 2)].entries())
    for (const [from, size, pool] of
      [[inputs, 32 >> s, s < 2], [widths[s], [16, 8, 8][s], false]]) {
      const n = widths[s] * from * 9;
      layers.push(prepare(large.subarray(used, used += n), take(widths[s]), from, size, pool));
    }
  const head = take(classes * widths[2]);
  return (image) => {
    const whitened = whiten(filters, whiteningBias, image);
    const features = layers.reduce((input, layer) => convolve(layer, input), whitened);
    const maps = new Float32Array(classes * CELLS);
    for (let k = 0; k < classes; k++) for (let p = 0; p < CELLS; p++) {
      let sum = 0;
      for (let c = 0; c < widths[2]; c++) sum += head[k * widths[2] + c] * features[c * CELLS + p];
      maps[k * CELLS + p] = sum;
    }
    return maps;
  };
}

/** Runs networks on several cores. `evaluate` resolves to the maps of each image. */
class Pool {
  constructor(source, networks, onerror) {
    this.queue = [];
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const count = Math.min(8, Math.max(1, (navigator.hardwareConcurrency || 2) - 1));
    this.idle = Array.from({ length: count }, () => {
      const worker = new Worker(url);
      worker.onerror = onerror;
      worker.postMessage({ networks });
      return worker;
    });
  }

  evaluate(network, images, first = false) {
    const size = Math.max(1, Math.min(8, Math.ceil(images.length / (2 * this.idle.length || 1))));
    const parts = [];
    for (let i = 0; i < images.length; i += size) parts.push(images.slice(i, i + size));
    const jobs = parts.map((part) => new Promise((resolve) => {
      this.queue[first ? "unshift" : "push"]({ message: { network, images: part }, resolve });
    }));
    this.next();
    return Promise.all(jobs).then((maps) => maps.flat());
  }

  next() {
    while (this.idle.length && this.queue.length) {
      const worker = this.idle.pop(), { message, resolve } = this.queue.shift();
      worker.onmessage = ({ data }) => {
        this.idle.push(worker);
        resolve(data);
        this.next();
      };
      worker.postMessage(message);
    }
  }
}

if (typeof document === "undefined") {  // in a worker
  const ready = [];
  let networks;
  self.onmessage = ({ data }) => {
    if (data.networks) return void ({ networks } = data);
    const run = ready[data.network] ??= createNetwork(networks[data.network]);
    self.postMessage(data.images.map((image) => run(image)));
  };
}
