// What the pages say, in English and Japanese. Elements name their words: data-say (text), data-say-label (aria-label),
// data-say-placeholder.

const EN = {
  add: "Add a term",
  alternatives: "Alternatives",
  answered: "used",
  api: "API",
  approve: "Approve",
  approved: "approved",
  auto: "Detect the language",
  better: "A better translation",
  cancel: "Cancel",
  changed: "Done.",
  characters: (n, most) => (most < 0 ? `${n}` : `${n} / ${most}`),
  choose: "Choose a file",
  clear: "Clear",
  copied: "Copied.",
  copy: "Copy",
  correct: "Correct",
  dark: "Dark",
  detected: (name, percent) => `${name}, ${percent} % sure`,
  download: "Download the translation",
  files: "Files",
  forget: "Forget all",
  from: "From",
  glossary: "Glossary",
  glossary_says: "Terms are always translated as you say here. An empty translation keeps the term as it is.",
  history: "History",
  history_says: "It is kept in this browser only.",
  key: "Admin key",
  kinds: (list) => `Kinds: ${list}`,
  light: "Light",
  matches: "Corrections of similar texts",
  more: "More",
  nothing: "Nothing here.",
  partly: (sure) => `Partly corrected · ${sure}`,
  pending: "pending",
  placeholder: "Type or paste a text",
  pointing: "Point at a word, or move with the arrow keys, to see where it comes from.",
  progress: "Progress",
  reject: "Reject",
  rejected: "rejected",
  remembered: "From a correction",
  remove: (term) => `Remove ${term}`,
  review: "Review corrections",
  save: "Save",
  saved: "Saved. Thank you: the next translation of this text will know it.",
  settings: "Settings",
  shade: "Shade words of which the model is unsure",
  show: "Show",
  skip: "Skip to the text",
  state: "State",
  sure: (percent) => `expected quality ${percent} %`,
  swap: "Swap the languages",
  term: "Term",
  text: "Text",
  title: "Translate",
  to: "To",
  translate: "Translate",
  translating: "Translating …",
  translation: "Translation",
  unreachable: "The server does not answer.",
  wait: (seconds) => `The server is busy. Trying again in ${seconds} s.`,
};

const JA = {
  add: "用語を追加",
  alternatives: "ほかの訳",
  answered: "使用中",
  api: "API",
  approve: "承認",
  approved: "承認済み",
  auto: "言語を自動判定",
  better: "より良い訳",
  cancel: "やめる",
  changed: "完了しました。",
  characters: (n, most) => (most < 0 ? `${n}字` : `${n} / ${most}字`),
  choose: "ファイルを選ぶ",
  clear: "消去",
  copied: "コピーしました。",
  copy: "コピー",
  correct: "訂正",
  dark: "ダーク",
  detected: (name, percent) => `${name}（確度${percent}%）`,
  download: "訳文をダウンロード",
  files: "ファイル",
  forget: "すべて消す",
  from: "原文の言語",
  glossary: "用語集",
  glossary_says: "ここにある用語は、必ずこの訳になります。訳を空にすると、用語をそのまま残します。",
  history: "履歴",
  history_says: "このブラウザーの中だけに保存されます。",
  key: "管理者キー",
  kinds: (list) => `対応形式:${list}`,
  light: "ライト",
  matches: "似た文の訂正",
  more: "続き",
  nothing: "ありません。",
  partly: (sure) => `一部訂正・${sure}`,
  pending: "未確認",
  placeholder: "文章を入力するか、貼り付けてください",
  pointing: "単語を指すか矢印キーで移ると、原文のどこから来たかが分かります。",
  progress: "進み具合",
  reject: "却下",
  rejected: "却下済み",
  remembered: "訂正から",
  remove: (term) => `${term}を削除`,
  review: "訂正の確認",
  save: "保存",
  saved: "保存しました。次にこの文を訳すときから使われます。",
  settings: "設定",
  shade: "確かでない単語に色を付ける",
  show: "表示",
  skip: "入力欄へ",
  state: "状態",
  sure: (percent) => `予想品質 ${percent}%`,
  swap: "言語を入れ替える",
  term: "用語",
  text: "原文",
  title: "翻訳",
  to: "訳文の言語",
  translate: "翻訳する",
  translating: "翻訳中…",
  translation: "訳文",
  unreachable: "サーバーが応答しません。",
  wait: (seconds) => `サーバーが混み合っています。${seconds}秒後にもう一度試します。`,
};

export const WORDS = { en: EN, ja: JA };
let language = "en";

export const interfaceLanguage = () => language;

/** A string of the interface's language, made with arguments where it takes some. */
export function say(name, ...values) {
  const words = WORDS[language][name];
  return typeof words === "function" ? words(...values) : words;
}

/** The name of a language, as the reader calls it. */
export function languageName(code, otherwise) {
  try {
    return new Intl.DisplayNames([language], { type: "language" }).of(code) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Puts the whole page into a language. */
export function speak(code) {
  language = code in WORDS ? code : "en";
  document.documentElement.lang = language;
  for (const [attribute, put] of [
    ["say", (node, text) => { node.textContent = text; }],
    ["sayLabel", (node, text) => node.setAttribute("aria-label", text)],
    ["sayPlaceholder", (node, text) => { node.placeholder = text; }],
  ]) {
    const selector = `[data-${attribute.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}]`;
    for (const node of document.querySelectorAll(selector)) put(node, say(node.dataset[attribute]));
  }
}
