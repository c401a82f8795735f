// The server's API, as /docs describes it. Errors come in the interface's language, which may be another than the browser's.

import { interfaceLanguage } from "./strings.js";

/** What the server refused: its words, and the seconds to wait where it says so. */
export class Refused extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function answer(response) {
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const wait = Number(response.headers.get("Retry-After"));
  throw new Refused(body.error ?? response.statusText, response.status, wait > 0 ? wait : null);
}

async function ask(path, { headers, ...options } = {}) {
  return answer(await fetch(path, { headers: { "Accept-Language": interfaceLanguage(), ...headers }, ...options }));
}

const send = (path, method, body, { headers, signal } = {}) => (
  ask(path, { method, headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body), signal }));

export const settings = () => ask("frontend/settings");
export const languages = () => ask("languages");
export const suggest = (correction) => send("suggest", "POST", correction);

/** All that the page shows of one text. */
export function translate(text, source, target, glossary, signal) {
  const shown = { alternatives: 3, confidence: true, alignment: true, words: true, matches: true, notes: true };
  return send("translate", "POST", { q: text, source, target, glossary, ...shown }, { signal });
}

/** Sends a file; `progress` is told the share that has gone, from 0 to 1. Answers with the translation's address. */
export function translateFile(file, source, target, progress) {
  const form = new FormData();
  form.append("file", file);
  form.append("source", source);
  form.append("target", target);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much of a body has gone
    request.open("POST", "translate_file");
    request.setRequestHeader("Accept-Language", interfaceLanguage());
    request.responseType = "json";
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => reject(new TypeError("network"));
    request.onload = () => {
      const body = request.response ?? {};
      if (request.status === 200) resolve(body.translatedFileUrl);
      else reject(new Refused(body.error ?? request.statusText, request.status, null));
    };
    request.send(form);
  });
}

const bearing = (key) => ({ headers: { Authorization: `Bearer ${key}` } });

export async function corrections(key, state, before) {
  const query = new URLSearchParams({ state, ...(before ? { before } : {}) });
  return (await ask(`corrections?${query}`, bearing(key))).corrections;
}

export const decide = (key, id, decision) => send(`corrections/${id}`, "PATCH", decision, bearing(key));
