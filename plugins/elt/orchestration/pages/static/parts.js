// What pages are made of: sections, tables, bars over time, bars by category.
import { make, number } from "./common.js";

export const table = (head, rows) => make("div", { class: "wide" }, make("table", {}, make("thead", {}, make("tr", {}, head.map((text) => make("th", {}, text)))),
  make("tbody", {}, rows.map((row) => make("tr", {}, row.map((value) => make("td", { class: value == null ? "none" : null }, value == null ? "NULL" : value)))))));
export const part = (title, ...children) => make("section", {}, make("h2", {}, title), ...children);

/** Bars over partitions, oldest first; many partitions share a bar, so that none is thinner than two pixels. */
export function chart(title, keys, values, kind) {
  const width = 900, height = 120, share = Math.ceil(keys.length / 400), bars = Math.ceil(keys.length / share);
  const sums = Array.from({ length: bars }, (_, bar) => values.slice(bar * share, (bar + 1) * share).reduce((sum, value) => sum + (value ?? 0), 0));
  const most = Math.max(1, ...sums), step = width / bars;
  const drawn = sums.map((sum, bar) => {
    const size = (sum / most) * height, last = Math.min((bar + 1) * share, keys.length) - 1;
    const when = share > 1 ? `${keys[bar * share]} to ${keys[last]}` : keys[last];
    return make("rect", { class: kind, x: bar * step, y: height - size, width: Math.max(1, step - 1), height: size }, make("title", {}, `${when}: ${number(sum)}`));
  });
  return make("figure", {}, make("figcaption", {}, `${title} (most: ${number(Math.max(0, ...sums))})`),
    make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, preserveAspectRatio: "none" }, drawn, make("line", { x1: 0, x2: width, y1: height, y2: height })),
    make("div", { class: "ends" }, make("span", {}, keys[0] ?? ""), make("span", {}, keys.at(-1) ?? "")));
}

/** One line of results over partitions: places that share two pixels show the worst, neighbours that agree share a bar. */
export function strip(keys, letters, words) {
  const width = 900, share = Math.ceil(keys.length / 400) || 1, order = Object.keys(words), runs = [];
  for (let begin = 0; begin < keys.length; begin += share) {
    const part = letters.slice(begin, begin + share), letter = order.find((each) => part.includes(each));
    if (runs.at(-1)?.letter === letter) runs.at(-1).end = begin + part.length;
    else runs.push({ letter, begin, end: begin + part.length });
  }
  const at = (place) => (place / keys.length) * width;
  const told = ({ letter, begin, end }) => `${keys[begin]}${end - begin > 1 ? ` to ${keys[end - 1]}` : ""}: ${words[letter][0]}`;
  return make("svg", { class: "strip", viewBox: `0 0 ${width} 14`, role: "img", "aria-label": runs.map(told).slice(-50).join(", "), preserveAspectRatio: "none" },
    runs.map((run) => make("rect", { class: words[run.letter][1], x: at(run.begin), y: 0, width: at(run.end) - at(run.begin), height: 14 }, make("title", {}, told(run)))));
}

/** Bars of categories, each with its name and its sum: all with cents where one has some. */
export function ranked(title, keys, values) {
  const digits = { minimumFractionDigits: values.some((value) => value % 1) ? 2 : 0 };
  const most = Math.max(1, ...values.map((value) => value ?? 0));
  return make("figure", {}, make("figcaption", {}, title), make("table", { class: "ranked" }, make("tbody", {}, keys.map((key, place) => make("tr", {}, make("th", { scope: "row" }, key),
    make("td", {}, make("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, make("rect", { class: "rows", width: (100 * Math.max(0, values[place] ?? 0)) / most, height: 10 }))),
    make("td", {}, number(values[place], digits)))))));
}
