// The page that translates while one types.

import { begin, complain, element, make, tell } from "./page.js";
import { languageName, say } from "./strings.js";
import * as output from "./output.js";
import * as server from "./server.js";
import * as store from "./store.js";

const AUTO = "auto";
const PAUSE = 300; // milliseconds without a key before a text is sent

let settings = { charLimit: -1, suggestions: false, filesTranslation: false, supportedFilesFormat: [] };
let languages = [];
let shown = null; // the answer that stands there: {text, source, target, answer}
let running = null; // the request on its way
let timer = 0;

const text = () => element("source").value;
const from = () => element("from").value;
const to = () => element("to").value;
const named = (code) => languageName(code, languages.find((each) => each.code === code)?.name ?? code);

// Languages

function options(codes, chosen) {
  return codes.map((code) => make("option", { value: code, selected: code === chosen }, code === AUTO ? say("auto") : named(code)));
}

function offer(source, target) {
  element("from").replaceChildren(...options([AUTO, ...languages.map((each) => each.code)], source));
  offerTargets(target);
}

/** Only where there is a way to; of an unknown language every target. */
function offerTargets(wanted) {
  const known = languages.find((each) => each.code === from());
  const targets = known?.targets ?? [...new Set(languages.flatMap((each) => each.targets))];
  const others = targets.filter((code) => code !== from());
  const choice = others.includes(wanted) ? wanted : others[0];
  element("to").replaceChildren(...options(others.length ? others : targets, choice));
}

function swap() {
  const source = from() === AUTO ? shown?.source : from();
  if (!source || source === AUTO || !languages.some((each) => each.code === to())) return;
  const translation = shown?.answer.translatedText;
  offer(to(), source);
  if (translation) element("source").value = translation;
  changed(0);
}

// Translating

function changed(pause = settings.frontendTimeout ?? PAUSE) {
  store.direction.set([from(), to()]);
  const length = [...text()].length;
  element("count").textContent = length ? say("characters", length, settings.charLimit) : "";
  element("clear").hidden = !length;
  running?.abort();
  clearTimeout(timer);
  if (text().trim()) timer = setTimeout(run, pause);
  else forget();
}

function forget() {
  shown = null;
  tell("");
  output.wipe();
  element("output").setAttribute("aria-busy", "false");
  for (const id of ["copy", "correct", "others", "memory", "notes", "correcting"]) element(id).hidden = true;
  element("output").hidden = false;
  element("detected").textContent = element("sureness").textContent = "";
}

async function run() {
  const asked = { text: text(), source: from(), target: to() };
  const mine = (running = new AbortController());
  element("output").setAttribute("aria-busy", "true");
  try {
    const answer = await server.translate(asked.text, asked.source, asked.target, glossary(), mine.signal);
    if (mine.signal.aborted) return;
    tell("");
    show({ ...asked, source: answer.detectedLanguage?.language ?? asked.source, answer });
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error.retryAfter && error.status === 503) {
      const seconds = Math.ceil(error.retryAfter);
      tell(say("wait", seconds));
      timer = setTimeout(run, 1000 * seconds);
    } else complain(error);
  } finally {
    if (running === mine) element("output").setAttribute("aria-busy", "false");
  }
}

function show(answered) {
  shown = answered;
  const { answer, source, target } = answered;
  output.show(answer, answered.text, target);
  const { detectedLanguage: found, confidence } = answer;
  const remembered = answer.matches?.some((match) => match.answered);
  element("detected").textContent = found ? say("detected", named(found.language), Math.round(found.confidence)) : "";
  const sure = confidence == null ? "" : say("sure", Math.round(confidence));
  element("sureness").textContent = !remembered ? sure : sure ? say("partly", sure) : say("remembered");
  element("notes").replaceChildren(...(answer.notes ?? []).map((note) => make("li", {}, note)));
  element("notes").hidden = !answer.notes?.length;
  element("copy").hidden = false;
  element("correct").hidden = !settings.suggestions;
  leaveCorrection();
  choices("others", "alternatives", (answer.alternatives ?? []).map((other) => [other, () => take(other)]));
  choices("memory", "matches", (answer.matches ?? []).filter((match) => !match.answered).map((match) => (
    [match.s, () => take(match.s), `${match.q} · ${Math.round(match.score)} % · ${say(match.state)}`])));
  store.history.add({ text: answered.text, translation: answer.translatedText, source, target });
  showHistory();
}

/** Another translation in the place of the best; it has no links, no probabilities, and of corrections no parts. */
function take(translation) {
  const { alternatives, matches, translatedText } = shown.answer;
  const others = [translatedText, ...(alternatives ?? []).filter((each) => each !== translation)];
  show({ ...shown, answer: { ...shown.answer, translatedText: translation, alternatives: others,
    matches: matches?.filter((match) => !match.answered), words: [], alignment: [], confidence: null, notes: [] } });
}

function choices(place, list, entries) {
  element(place).hidden = !entries.length;
  element(list).replaceChildren(...entries.map(([label, chosen, detail]) => make("li", {},
    make("button", { type: "button", class: "choice", onclick: chosen },
      make("span", { dir: "auto" }, label), ...(detail ? [make("small", { dir: "auto" }, detail)] : [])))));
}

// Correcting

function beginCorrection() {
  element("output").hidden = element("copy").hidden = element("correct").hidden = true;
  element("correcting").hidden = false;
  element("correction").value = shown.answer.translatedText;
  element("correction").focus();
}

function leaveCorrection() {
  element("correcting").hidden = true;
  element("output").hidden = element("copy").hidden = false;
  element("correct").hidden = !settings.suggestions;
}

async function saveCorrection(event) {
  event.preventDefault();
  const correction = { q: shown.text, s: element("correction").value, source: shown.source, target: shown.target };
  try {
    await server.suggest(correction);
    leaveCorrection();
    await run();
    tell("", say("saved"));
  } catch (error) {
    complain(error);
  }
}

// Glossary

function glossary() {
  return Object.fromEntries(store.glossary.get().filter(([term]) => term.trim())
    .map(([term, translation]) => [term.trim(), translation.trim() || term.trim()]));
}

function showGlossary(rows = store.glossary.get()) {
  element("terms").replaceChildren(...rows.map((row, number) => {
    const field = (place, label) => make("td", {}, make("input", {
      value: row[place], "aria-label": say(label), dir: "auto",
      oninput: (event) => {
        rows[number][place] = event.target.value;
        store.glossary.set(rows);
        changed();
      },
    }));
    const remove = make("button", { type: "button", class: "plain", "aria-label": say("remove", row[0]), onclick: () => {
      store.glossary.set(rows.filter((_, each) => each !== number));
      showGlossary();
      changed(0);
    } }, "×");
    return make("tr", {}, field(0, "term"), field(1, "translation"), make("td", {}, remove));
  }));
}

function addTerm() {
  const rows = [...store.glossary.get(), ["", ""]];
  store.glossary.set(rows);
  showGlossary(rows);
  element("terms").lastElementChild.querySelector("input").focus();
}

// History

function showHistory() {
  const entries = store.history.get().map((entry) => [entry.translation, () => recall(entry), entry.text]);
  choices("past", "history", entries);
}

function recall(entry) {
  offer(entry.source, entry.target);
  element("source").value = entry.text;
  element("source").focus();
  changed(0);
}

// Files

async function translateFile(event) {
  event.preventDefault();
  const bar = element("progress"), result = element("result");
  bar.hidden = false;
  result.textContent = say("translating");
  try {
    const address = await server.translateFile(element("file").files[0], from(), to(), (share) => {
      if (share < 1) bar.value = share;
      else bar.removeAttribute("value"); // it has gone, and is being translated
    });
    result.replaceChildren(make("a", { href: address, download: "" }, say("download")));
  } catch (error) {
    result.textContent = "";
    complain(error);
  } finally {
    bar.hidden = true;
  }
}

// The page

function spoken() {
  if (languages.length) offer(from(), to());
  element("upload").title = say("kinds", settings.supportedFilesFormat.join(" "));
  showGlossary();
  showHistory();
  if (shown) show(shown);
}

function listen() {
  element("source").oninput = () => changed();
  element("source").onscroll = () => { element("echo").scrollTop = element("source").scrollTop; };
  element("from").onchange = () => { offerTargets(to()); changed(0); };
  element("to").onchange = () => changed(0);
  element("swap").onclick = swap;
  element("clear").onclick = () => { element("source").value = ""; element("source").focus(); changed(); };
  element("copy").onclick = () => navigator.clipboard.writeText(shown.answer.translatedText)
    .then(() => tell("", say("copied")), complain);
  element("correct").onclick = beginCorrection;
  element("cancel").onclick = leaveCorrection;
  element("correcting").onsubmit = saveCorrection;
  element("correction").onkeydown = (event) => {
    if (event.key === "Escape") leaveCorrection();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element("correcting").requestSubmit();
  };
  element("add").onclick = addTerm;
  element("forget").onclick = () => { store.history.clear(); showHistory(); };
  element("upload").onsubmit = translateFile;
  element("shade").onchange = () => {
    store.shade.set(element("shade").checked);
    document.body.classList.toggle("shaded", element("shade").checked);
  };
}

element("shade").checked = store.shade.get();
document.body.classList.toggle("shaded", store.shade.get());
begin(spoken);
listen();
try {
  [settings, languages] = await Promise.all([server.settings(), server.languages()]);
  const [source, target] = store.direction.get() ?? [settings.language.source.code, settings.language.target.code];
  const query = new URLSearchParams(location.search);
  offer(query.get("source") ?? source, query.get("target") ?? target);
  element("source").value = query.get("q") ?? element("source").value;
  element("files").hidden = !settings.filesTranslation;
  element("file").accept = settings.supportedFilesFormat.join(",");
  if (settings.charLimit >= 0) element("source").maxLength = settings.charLimit;
  spoken();
  changed(0);
} catch (error) {
  complain(error);
}
