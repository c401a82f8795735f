// What both pages share: elements, messages, the interface's language, the colours.

import { interfaceLanguage, say, speak } from "./strings.js";
import * as store from "./store.js";

export const element = (id) => document.getElementById(id);

/** A new element; attributes, then text or children. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** A problem (stays until the next message), or that something is done (for some seconds). "" hides both. */
export function tell(problem, done = "") {
  for (const [id, text] of [["message", problem], ["done", done]]) {
    element(id).textContent = text;
    element(id).hidden = !text;
  }
  clearTimeout(tell.timer);
  if (done) tell.timer = setTimeout(() => tell(""), 6000);
}

export function complain(error) {
  tell(error instanceof TypeError ? say("unreachable") : error.message);
}

/** The two buttons of the header. `changed` is called after the page has changed its language. */
export function begin(changed) {
  const wanted = store.interfaceLanguage.get() ?? (navigator.language.startsWith("ja") ? "ja" : "en");
  const dress = (name) => {
    document.documentElement.dataset.theme = name;
    element("theme").setAttribute("aria-pressed", String(name === "dark"));
    element("theme").textContent = say(name === "dark" ? "light" : "dark");
    element("theme").dataset.say = name === "dark" ? "light" : "dark";
  };
  const talk = (code) => {
    speak(code);
    element("interface").textContent = interfaceLanguage() === "ja" ? "English" : "日本語";
    element("interface").lang = interfaceLanguage() === "ja" ? "en" : "ja";
    document.title = `Kakehashi – ${say(element("corrections") ? "review" : "title")}`;
    changed();
  };
  const current = () => document.documentElement.dataset.theme;
  dress(store.theme.get() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  talk(wanted);
  element("interface").onclick = () => {
    talk(interfaceLanguage() === "ja" ? "en" : "ja");
    store.interfaceLanguage.set(interfaceLanguage());
  };
  element("theme").onclick = () => {
    dress(current() === "dark" ? "light" : "dark");
    store.theme.set(current());
  };
}
