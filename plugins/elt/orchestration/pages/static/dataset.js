// Dataset: freshness, rows and quarantine over its partitions, schema, audits, marts, rows that did not fit.
import { ask, make, notice, number, page, periods } from "./common.js";

const main = document.getElementById("main");
const query = new URLSearchParams(location.search);
const name = query.get("name") ?? "";
const table = (head, rows) => make("div", { class: "wide" }, make("table", {}, make("thead", {}, make("tr", {}, head.map((text) => make("th", {}, text)))),
  make("tbody", {}, rows.map((row) => make("tr", {}, row.map((value) => make("td", { class: value == null ? "none" : null }, value == null ? "NULL" : value)))))));
const part = (title, ...children) => make("section", {}, make("h2", {}, title), ...children);

/** Bars over partitions, oldest first; many partitions share a bar, so that none is thinner than two pixels. */
function chart(title, keys, values, kind) {
  const width = 900, height = 120, share = Math.ceil(keys.length / 400), bars = Math.ceil(keys.length / share);
  const sums = Array.from({ length: bars }, (_, bar) => values.slice(bar * share, (bar + 1) * share).reduce((sum, value) => sum + (value ?? 0), 0));
  const most = Math.max(1, ...sums), step = width / bars;
  const drawn = sums.map((sum, bar) => {
    const size = (sum / most) * height, last = Math.min((bar + 1) * share, keys.length) - 1;
    const when = share > 1 ? `${keys[bar * share]} to ${keys[last]}` : keys[last];
    return make("rect", { class: kind, x: bar * step, y: height - size, width: Math.max(1, step - 1), height: size }, make("title", {}, `${when}: ${number(sum)}`));
  });
  return make("figure", {}, make("figcaption", {}, `${title} (most: ${number(most)})`),
    make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, preserveAspectRatio: "none" }, drawn, make("line", { x1: 0, x2: width, y1: height, y2: height })),
    make("div", { class: "ends" }, make("span", {}, keys[0] ?? ""), make("span", {}, keys.at(-1) ?? "")));
}

function history(facts, ds) {
  const keys = facts.first ? periods(facts.first, ds.every, facts.states.length) : ["whole"];
  const places = Object.keys(facts.cells).map(Number);
  const loaded = places.filter((place) => facts.states[place] === "L"), begin = Math.min(...places, keys.length - 1);
  const of = (column) => keys.map((_, place) => facts.cells[place]?.[column]);
  const samples = places.filter((place) => facts.sources[facts.cells[place][2]]?.sample).length;
  const troubles = places.flatMap((place) => facts.cells[place][4].map((sentence) => [keys[place], sentence])).slice(-50).reverse();
  return [
    part("Freshness", make("p", {}, loaded.length ? `Loaded up to ${keys[loaded.at(-1)]}; ${number(loaded.length)} of ${number(keys.length)} partitions, the latest that is due is ${keys.at(-1)}.` : "Nothing is loaded yet."),
      samples ? notice(`${number(samples)} of them are sample data: generated, not published.`, "warning") : null),
    part("Rows", chart("rows in the warehouse", keys.slice(begin), of(0).slice(begin), "rows"), chart("rows in quarantine", keys.slice(begin), of(1).slice(begin), "kept")),
    troubles.length ? part("Audits and failures", table(["partition", "what was found"], troubles)) : null,
    places.length ? quarantined(facts, ds, keys, places) : null,
  ];
}

function quarantined(facts, ds, keys, places) {
  const kept = places.filter((place) => facts.cells[place][1]);
  const asked = query.get("period"), chosen = asked && keys.includes(asked) ? asked : keys[kept.at(-1)];
  const body = make("div");
  const choice = make("select", { "aria-label": "partition", change: (event) => fill(event.target.value) },
    [...new Set([...(asked && keys.includes(asked) ? [asked] : []), ...kept.map((place) => keys[place])])].sort().reverse().slice(0, 1000).map((key) => make("option", { value: key, selected: key === chosen }, key)));
  async function fill(key) {
    body.replaceChildren("…");
    try {
      const found = await ask(`quarantine/${encodeURIComponent(ds.name)}`, { period: ds.every ? key : "" });
      body.replaceChildren(...(found.total ? [make("p", {}, `The first ${number(found.rows.length)} of ${number(found.total)}.`), table(found.columns, found.rows)] : ["Every row fits."]));
    } catch (error) {
      body.replaceChildren(notice(error.message));
    }
  }
  if (chosen) fill(chosen);
  return part("Rows that did not fit", chosen ? choice : make("p", {}, "There are none."), body);
}

async function start() {
  try {
    const ds = await ask(`datasets/${encodeURIComponent(name)}`);
    document.title = ds.name;
    const waiting = make("div", {}, make("p", { class: "waiting" }, "Asking the load log …"));
    main.replaceChildren(
      make("header", { class: "top" }, make("h1", {}, ds.name), make("span", { class: "title" }, ds.title), make("a", { href: page("coverage", {}) }, "Coverage")),
      waiting,
      part("Columns", ds.columns.length ? table(["column", "type", "unit", "required", "description"], ds.columns.map((c) => [c.name, c.type, c.unit, c.required ? "yes" : "no", c.description])) : make("p", {}, "It is no table: files are kept as they are.")),
      part("Where it goes", table(["what", "which"], [["source", `${ds.publisher}${ds.address}`], ["table", ds.table || "none"], ["marts", ds.marts.join(", ") || "none"], ["audits", ds.audits.map((audit) => `${audit.name} (${audit.severity})`).join(", ") || "none"]])));
    try {
      waiting.replaceChildren(...history(await ask(`coverage/${encodeURIComponent(name)}`), ds).filter(Boolean));
    } catch (error) {
      waiting.replaceChildren(notice(error.message));
    }
  } catch (error) {
    main.replaceChildren(notice(error.message));
  }
  main.setAttribute("aria-busy", "false");
}
start();
