// A translation as words: how sure the model is of each, and which words of the text it comes from.

import { element, make } from "./page.js";

const UNSURE = [0.35, 0.6]; // probabilities below which a word is very unsure, unsure
const LINKED = 0.4; // of the strongest link of a word: weaker ones are not shown

/** Offsets of the server count code points, those of the browser UTF-16 units. */
function units(text) {
  const offsets = [0];
  for (const point of text) offsets.push(offsets.at(-1) + point.length);
  return (point) => offsets[Math.min(point, offsets.length - 1)];
}

const overlap = ([a, b], [c, d]) => Math.min(b, d) > Math.max(a, c);

function segments(text, language) {
  try {
    return [...new Intl.Segmenter(language, { granularity: "word" }).segment(text)];
  } catch {
    return [...text.matchAll(/\s+|\S+/g)].map((m) => ({ segment: m[0], index: m.index, isWordLike: /\S/.test(m[0]) }));
  }
}

/** Words of the translation: where they stand, the probability of the least likely token, their links; or corrected. */
function wordsOf(answer, text, language) {
  const there = units(answer.translatedText), here = units(text);
  const tokens = (answer.words ?? []).map(({ start, end, confidence }) => ({ span: [there(start), there(end)], confidence }));
  const links = (answer.alignment ?? []).map(({ source, target, weight }) => (
    { source: source.map(here), target: target.map(there), weight }));
  return segments(answer.translatedText, language).map(({ segment, index, isWordLike }) => {
    const span = [index, index + segment.length];
    const under = tokens.filter((token) => overlap(token.span, span));
    const corrected = under.length > 0 && under.every((token) => token.confidence === null);
    if (!isWordLike) return { segment, sources: [], unsure: 0, corrected };
    const sure = Math.min(1, ...under.filter((token) => token.confidence !== null).map((token) => token.confidence / 100));
    const own = links.filter((link) => overlap(link.target, span));
    const strongest = Math.max(0, ...own.map((link) => link.weight));
    const sources = own.filter((link) => link.weight >= LINKED * strongest).map((link) => link.source);
    return { segment, sources, unsure: UNSURE.filter((limit) => sure < limit).length, corrected };
  });
}

/** Shows the source text again behind the field where it is typed, with some spans marked. */
function mark(text, spans) {
  const edges = [...new Set([0, text.length, ...spans.flat()])].sort((a, b) => a - b);
  const pieces = edges.slice(1).map((end, i) => {
    const piece = text.slice(edges[i], end);
    return spans.some((span) => overlap(span, [edges[i], end])) ? make("mark", {}, piece) : piece;
  });
  element("echo").replaceChildren(...pieces, "\n");
  element("echo").scrollTop = element("source").scrollTop;
}

/** Shows an answer; pointing at a word, or moving to it with the arrow keys, marks its source. */
export function show(answer, text, language) {
  const output = element("output");
  const words = wordsOf(answer, text, language);
  const nodes = words.map(({ segment, sources, unsure, corrected }) => {
    if (!sources.length && !unsure && !corrected) return document.createTextNode(segment);
    const node = make("span", { class: `word${unsure ? ` unsure-${unsure}` : ""}${corrected ? " corrected" : ""}` }, segment);
    if (!sources.length && !unsure) return node;
    node.onpointerenter = () => choose(node);
    node.onpointerleave = () => choose(null);
    return Object.assign(node, { sources });
  });
  const stops = nodes.filter((node) => node.sources);
  let chosen = null;

  function choose(node) {
    chosen?.classList.remove("chosen");
    chosen = node;
    node?.classList.add("chosen");
    mark(element("source").value === text ? text : "", node?.sources ?? []);
  }

  output.onkeydown = (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") choose(null);
    else if (move && stops.length) {
      const at = chosen ? stops.indexOf(chosen) + move : move > 0 ? 0 : stops.length - 1;
      choose(stops[(at + stops.length) % stops.length]);
      event.preventDefault();
    }
  };
  output.onblur = () => choose(null);
  output.lang = language;
  output.replaceChildren(...nodes);
  mark("", []);
}

export function wipe() {
  element("output").replaceChildren();
  mark("", []);
}
