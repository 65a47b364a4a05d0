// How things are said to people.

const KINDS = {
  "application/pdf": "PDF",
  "text/markdown": "Markdown",
  "text/plain": "Text",
  "text/html": "Web page",
  "text/csv": "CSV",
  "text/tab-separated-values": "TSV",
  "application/json": "JSON",
  "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "Word",
  "application/vnd.openxmlformats-officedocument.presentationml.presentation": "PowerPoint",
  "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "Excel",
};

const STATUSES = {
  queued: "Waiting",
  reading: "Reading",
  embedding: "Indexing",
  ready: "Ready",
  failed: "Failed",
};

const GIVEN = new Set(["file", "url"]); // fields that are the thing itself

const INSTANT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const NUMBER = new Intl.NumberFormat();

/** Why something was refused: a problem document in a sentence or two. */
export function reason({ detail, errors = [] }) {
  const sentence = ({ field, message }) => `${GIVEN.has(field) ? "It" : field} ${message}.`;
  return errors.map(sentence).join(" ") || detail;
}

/** The kind of a file. */
export function kind(mediaType) {
  return KINDS[mediaType] ?? mediaType;
}

/** How far a document has come. */
export function status(word) {
  return STATUSES[word] ?? word;
}

/** Whether somebody is still at work on a document. */
export function underWay(item) {
  return item.progress !== undefined;
}

/** A length in bytes. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${(bytes / 1000).toFixed(bytes < 10_000 ? 1 : 0)} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** So many of something. */
export function count(number, noun) {
  return `${NUMBER.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** A time, in the reader's own zone. */
export function instant(text) {
  return INSTANT.format(new Date(text));
}

/** Where a passage stands: its headings and its page. */
export function place(passage) {
  const page = passage.page === null ? [] : [`page ${passage.page}`];
  return [passage.path.filter(Boolean).join(" › "), ...page].filter(Boolean).join(" · ");
}

/** A passage's own words: the headings that stand before them for searches are its place already. */
export function body(passage) {
  const heading = `${passage.path.filter(Boolean).join(" > ")}\n`;
  return passage.text.startsWith(heading) ? passage.text.slice(heading.length) : passage.text;
}

/** Whether a file is read by its columns: its passages keep them in line. */
export function inColumns(mediaType) {
  return !["PDF", "Markdown", "Text", "Web page", "Word", "PowerPoint"].includes(kind(mediaType));
}
