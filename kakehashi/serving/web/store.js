// What the browser remembers: preferences, glossary, history. Nothing of it is sent anywhere but as part of a translation.

const PREFIX = "kakehashi.";
const MOST = 50; // translations in the history

function read(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise; // storage is forbidden, or holds something else
  }
}

function write(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // full or forbidden: the page works without it
  }
}

const kept = (name, otherwise) => ({ get: () => read(name, otherwise), set: (value) => write(name, value) });

export const interfaceLanguage = kept("interface", null);
export const theme = kept("theme", null);
export const direction = kept("direction", null);
export const shade = kept("shade", true);
export const glossary = kept("glossary", []);
const past = kept("history", []);

export const history = {
  get: past.get,
  clear: () => past.set([]),

  /** The newest first; what was typed on from an older text takes its place. */
  add(entry) {
    const others = past.get().filter(
      (old) => !(old.source === entry.source && old.target === entry.target && entry.text.startsWith(old.text)));
    past.set([entry, ...others].slice(0, MOST));
  },
};
