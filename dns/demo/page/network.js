// Runs the exported networks in onnxruntime-web: WebAssembly, one thread, everything from the folder of this page.

import * as ort from "./onnxruntime/ort.wasm.bundle.min.mjs";

import { resize } from "./lanczos.js";

ort.env.wasm.numThreads = 1; // more would need headers that python -m http.server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("onnxruntime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

/** Return the bytes of a file beside the page. A browser may keep old ones: it asks whether they are still the same. */
export async function fetched(name) {
  const answer = await fetch(name, { cache: "no-cache" });
  if (!answer.ok) throw new Error(`${name}: the server answers ${answer.status}. Make the folder again: make demo`);
  return answer.arrayBuffer();
}

/** Return the network of a file as a function: image {pixels, height, width} -> embedding, float32. size: [H, W]. */
export async function openNetwork(file, [height, width]) {
  const session = await ort.InferenceSession.create(new Uint8Array(await fetched(file)));
  return async (image) => {
    const pixels = new Uint8Array(resize(image, height, width));
    const images = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
    const { embedding } = await session.run({ images }, ["embedding"]);
    return embedding.data;
  };
}
