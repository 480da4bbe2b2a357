// Resizes 8-bit RGB images by Lanczos as conversion does (ffcv_convert/lanczos.py): the same fixed-point sums of the same
// weights, so the same bytes. Along rows first, rounded to 8 bits, then along columns.

const LOBES = 3; // of the Lanczos window
const BITS = 22; // fractional bits of a fixed-point weight

/** Return uint8 RGB of height x width pixels. image: {pixels: uint8 RGB, height, width}. */
export function resize(image, height, width) {
  let { pixels } = image;
  if (image.width !== width) pixels = alongRows(pixels, image.height, image.width, width);
  if (image.height !== height) pixels = alongColumns(pixels, image.height, height, 3 * width);
  return pixels;
}

/** Return for each output pixel where its inputs begin, and their int32 weights. Shrinking widens the window. */
function taps(size, target) {
  const scale = size / target;
  const widened = Math.max(scale, 1);
  const reach = LOBES * widened;
  return Array.from({ length: target }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), size);
    const values = [];
    for (let at = first; at < end; at++) values.push(lanczos((at - centre + 0.5) * (1 / widened)));
    const total = values.reduce((sum, value) => sum + value, 0);
    const weights = values.map((value) => {
      const exact = (value / total) * 2 ** BITS;
      return Math.trunc(exact < 0 ? exact - 0.5 : exact + 0.5);
    });
    return { first, weights: Int32Array.from(weights) };
  });
}

function lanczos(x) {
  return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

function alongRows(pixels, height, wide, width) {
  const out = new Uint8ClampedArray(height * width * 3);
  taps(wide, width).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      for (let channel = 0; channel < 3; channel++) {
        let total = 1 << (BITS - 1);
        let at = 3 * (y * wide + first) + channel;
        for (const weight of weights) {
          total = (total + Math.imul(pixels[at], weight)) | 0;
          at += 3;
        }
        out[3 * (y * width + x) + channel] = total >> BITS; // clamped to 0..255
      }
    }
  });
  return out;
}

function alongColumns(pixels, high, height, row) {
  const out = new Uint8ClampedArray(height * row);
  const total = new Int32Array(row);
  taps(high, height).forEach(({ first, weights }, y) => {
    total.fill(1 << (BITS - 1));
    weights.forEach((weight, tap) => {
      const begin = (first + tap) * row;
      for (let x = 0; x < row; x++) total[x] += Math.imul(pixels[begin + x], weight);
    });
    for (let x = 0; x < row; x++) out[y * row + x] = total[x] >> BITS; // clamped to 0..255
  });
  return out;
}
