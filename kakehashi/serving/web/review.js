// The page on which corrections are approved, rejected and edited, by who has the admin key.

import { begin, complain, element, make, tell } from "./page.js";
import { languageName, say } from "./strings.js";
import * as server from "./server.js";

const KEY = "kakehashi.key"; // until the browser's tab is closed
const PAGE = 50; // corrections that the server sends at once

let key = "";
let last = null; // number of the last correction on the page

function card(correction) {
  const text = make("textarea", { "aria-label": say("better"), dir: "auto", rows: 2, lang: correction.target });
  text.value = correction.s;
  const state = make("span", { class: "quiet" }, say(correction.state));
  const set = async (decision) => {
    try {
      const decided = await server.decide(key, correction.id, { s: text.value, ...decision });
      state.textContent = say(decided.state);
      tell("", say("changed"));
    } catch (error) {
      complain(error);
    }
  };
  const button = (name, decision, kind) => make("button", { type: "button", class: kind, onclick: () => set(decision) }, say(name));
  const names = [correction.source, correction.target].map((code) => languageName(code, code));
  const when = new Date(1000 * correction.created).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  return make("li", { class: "sheet card" },
    make("p", { class: "quiet" }, `${names.join(" → ")} · ${when} · `, state),
    make("p", { dir: "auto", lang: correction.source }, correction.q),
    text,
    make("div", { class: "row" }, button("approve", { state: "approved" }, "strong"),
      button("reject", { state: "rejected" }, "plain"), button("save", {}, "plain")));
}

async function show(before) {
  try {
    const found = await server.corrections(key, element("state").value, before);
    sessionStorage.setItem(KEY, key);
    const cards = found.map(card);
    if (before) element("corrections").append(...cards);
    else element("corrections").replaceChildren(...cards);
    last = found.at(-1)?.id ?? null;
    element("more").hidden = found.length < PAGE;
    tell("", found.length || before ? "" : say("nothing"));
  } catch (error) {
    complain(error);
  }
}

begin(() => { if (key) show(null); });
element("ask").onsubmit = (event) => {
  event.preventDefault();
  key = element("key").value;
  show(null);
};
element("state").onchange = () => { if (key) show(null); };
element("more").onclick = () => show(last);
key = element("key").value = sessionStorage.getItem(KEY) ?? "";
if (key) show(null);
