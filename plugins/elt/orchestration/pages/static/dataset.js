// Dataset: freshness, rows and quarantine over its partitions, schema, audits, marts, rows that did not fit.
import { ask, make, notice, number, page, periods } from "./common.js";
import { chart, part, table } from "./parts.js";

const main = document.getElementById("main");
const query = new URLSearchParams(location.search);
const name = query.get("name") ?? "";
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
      make("header", { class: "top" }, make("h1", {}, ds.name), make("span", { class: "title" }, ds.title), make("a", { href: page("coverage", {}) }, "Coverage"), make("a", { href: page("marts", {}) }, "Marts")),
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
