// The API as it is, asked with the person's own credential.

import { credential } from "./session.js";
import { reason } from "./words.js";

const PATIENCE_MS = 30_000; // what is slower than this is told, with a way to try again
const TOO_LATE = "The server did not answer in time.";
const AWAY = "The server could not be reached.";

/** A refusal or failure that the server told: a problem document. */
export class Problem extends Error {
  constructor(status, said, retryAfter) {
    super(reason(said) || `The server answered ${status}.`);
    this.status = status;
    this.retryAfterSeconds = Number(retryAfter) || null;
  }
}

/** The server was not reached, or not in time: asking again may help. */
export class Unreachable extends Error {}

/** Whether asking again, later, may get another answer. */
export function passes(error) {
  return error instanceof Unreachable || error.status === 429 || error.status >= 500;
}

/** Ask for something; `life` ends when its answer has no place to go any more. */
export function get(path, life) {
  return ask("GET", path, { life });
}

/** Send a request and return what was answered, null for nothing. */
export async function ask(method, path, { body = null, life = null, patience = PATIENCE_MS } = {}) {
  const late = AbortSignal.timeout(patience);
  const headers = { Authorization: `Bearer ${credential()}`, Accept: "application/json" };
  if (body !== null) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: life ? AbortSignal.any([life, late]) : late,
    });
    const text = await response.text();
    life?.throwIfAborted();
    return understood(response.status, text, response.headers.get("Retry-After"));
  } catch (error) {
    if (error instanceof Problem || life?.aborted) throw error;
    throw new Unreachable(late.aborted ? TOO_LATE : AWAY, { cause: error });
  }
}

/** Send a file as a form; `onProgress` hears which part of it has gone. */
export function send(path, file, { onProgress, life }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much of a body it has sent
    const form = new FormData();
    form.append("file", file);
    request.open("POST", path);
    request.setRequestHeader("Authorization", `Bearer ${credential()}`);
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Unreachable(`${AWAY} Or the file is not there any more.`)));
    request.addEventListener("abort", () => reject(life.reason));
    request.addEventListener("load", () => {
      try {
        life.throwIfAborted();
        resolve(understood(request.status, request.responseText, request.getResponseHeader("Retry-After")));
      } catch (error) {
        reject(error);
      }
    });
    life.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

function understood(status, text, retryAfter) {
  let said = null;
  try {
    said = text ? JSON.parse(text) : null;
  } catch {
    throw new Unreachable(`Something between here and the server answered ${status}.`);
  }
  if (status === 401) document.dispatchEvent(new CustomEvent("credential-refused"));
  if (status >= 400) throw new Problem(status, said ?? {}, retryAfter);
  return said;
}
