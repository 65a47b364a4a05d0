// What a person can give, and how each is sent: always to be read in the background.

import { ask, send } from "./api.js";
import { size } from "./words.js";

const MOST_BYTES = 25 * 1024 * 1024; // the API's own limit, told before anything is sent
const FETCH_PATIENCE_MS = 60_000; // the server itself gives up on a page after 30 s

/** A file, or what is wrong with it. */
export function ofFile(file) {
  if (file.size > MOST_BYTES) return refused(file.name, `It has ${size(file.size)}; at most 25 MiB can be sent.`);
  const give = (life, onProgress) => send("/v1/documents?wait=false", file, { life, onProgress });
  return { name: file.name, state: "waiting", verb: "Sending", send: give };
}

/** A page of the web by its address. */
export function ofAddress(url) {
  const give = (life, onProgress) => {
    onProgress(1);
    return ask("POST", "/v1/documents/fetch?wait=false", { body: { url }, life, patience: FETCH_PATIENCE_MS });
  };
  return { name: url, state: "waiting", verb: "Fetching", send: give };
}

/** A folder, which a browser gives no bytes of. */
export function ofFolder(folder) {
  return refused(folder?.name ?? "A folder", "It is a folder: drop the files in it, or a ZIP of it.");
}

function refused(name, text) {
  return { name, state: "failed", outcome: { text, good: false } };
}
