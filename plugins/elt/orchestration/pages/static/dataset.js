// Dataset: freshness, rows, quarantine and audits over its partitions, drift, schema, lineage, rows that did not fit.
import { ask, make, notice, number, page, periods } from "./common.js";
import { chart, part, strip, table } from "./parts.js";

const main = document.getElementById("main");
const query = new URLSearchParams(location.search);
const name = query.get("name") ?? "";
// The worst first: it is what a bar of several partitions shows.
const RESULTS = { S: ["stopped", "F"], W: ["warned", "O"], P: ["passed", "L"], ".": ["not judged", "M"] };
function history(facts, ds, kept) {
  const keys = facts.first ? periods(facts.first, ds.every, facts.states.length) : ["whole"];
  const places = Object.keys(facts.cells).map(Number);
  // What is loaded again can be read meanwhile.
  const loaded = places.filter((place) => facts.states[place] === "L" || (facts.states[place] === "R" && facts.cells[place][0] != null));
  const again = loaded.filter((place) => facts.states[place] === "R").length, begin = Math.min(...places, keys.length - 1);
  const of = (column) => keys.map((_, place) => facts.cells[place]?.[column]);
  const samples = loaded.filter((place) => facts.sources[facts.cells[place][2]]?.sample).length;
  kept.replaceChildren(...(places.length ? [quarantined(facts, ds, keys, places)] : []));
  const troubles = places.flatMap((place) => facts.cells[place][4].map((sentence) => [keys[place], sentence])).slice(-50).reverse();
  return [
    part("Freshness", make("p", {}, !loaded.length ? "Nothing is loaded yet." : !ds.every ? "It is loaded." : `Loaded up to ${keys[loaded.at(-1)]}; ${number(loaded.length)} of ${number(keys.length)} partitions${again ? ` (${number(again)} of them now loaded again)` : ""}, the latest that is due is ${keys.at(-1)}.`),
      facts.loaded_at ? make("p", {}, `The last load was ${ago(facts.loaded_at)}: ${facts.loaded_at.slice(0, 16).replace("T", " ")} UTC.`) : null,
      samples ? notice(`${ds.every ? `${number(samples)} of them are` : "It is"} sample data: generated, not published.`, "warning") : null),
    part("Rows", !ds.every ? make("p", {}, `${number(of(0)[0])} rows, ${number(of(1)[0])} in quarantine.`) : chart("rows in the warehouse", keys.slice(begin), of(0).slice(begin), "rows"), ds.every && chart("rows in quarantine", keys.slice(begin), of(1).slice(begin), "kept")),
    troubles.length ? part("Audits and failures", table(["partition", "what was found"], troubles)) : null,
  ];
}

function ago(moment) {
  const minutes = Math.max(0, Math.round((Date.now() - Date.parse(moment)) / 60000));
  const [n, unit] = minutes < 120 ? [minutes, "minute"] : minutes < 2880 ? [Math.round(minutes / 60), "hour"] : [Math.round(minutes / 1440), "day"];
  return `${number(n)} ${unit}${n === 1 ? "" : "s"} ago`;
}

function audits(ds, past) {
  const keys = past.keys ?? (ds.first ? periods(ds.first, ds.every, Object.values(past.strips)[0]?.length ?? 0) : []);
  const begin = Math.max(0, Math.min(...Object.values(past.strips).map((letters) => letters.search(/[^.]/)).filter((place) => place >= 0), keys.length));
  const shown = keys.slice(begin);
  return part("Audits over time", shown.length ? [
    make("p", { class: "legend" }, Object.values(RESULTS).map(([word, colour]) => make("span", {}, make("i", { class: `dot ${colour}` }), ` ${word}`))),
    make("table", { class: "strips" }, make("tbody", {}, ds.audits.map((audit) => make("tr", {}, make("th", { scope: "row" }, `${audit.name} (${audit.severity})`), make("td", {}, strip(shown, past.strips[audit.name].slice(begin), RESULTS)))))),
    make("div", { class: "ends" }, make("span", {}, shown[0]), make("span", {}, shown.at(-1)))] : make("p", {}, "Nothing was judged yet."),
  past.found.length ? [make("h3", {}, "What they have found, newest first"), table(["judged (UTC)", "partition", "audit", "found"], past.found.map((row) => [row.checked_at, row.month ?? "whole", `${row.audit} (${row.severity})`, row.found]))] : null);
}

const drift = ({ drift: found }) => part("Drift", found.length
  ? table(["column that the catalogue does not know", "first seen in", "last seen in", "partitions"], found.map((row) => [row.column, row.first ?? "whole", row.last ?? "whole", number(row.partitions)]))
  : make("p", {}, "No file in the lake has a column that the catalogue does not know."));

/** From the source to the marts; what there is none of is left out. */
function lineage(ds) {
  const names = (kind, found) => found.map((each) => make("div", {}, kind === "marts" ? make("a", { href: page("marts", { name: each }) }, each) : each));
  return part("Lineage", make("ol", { class: "lineage" }, Object.entries(ds.lineage).filter(([, found]) => found.length).map(([kind, found]) => make("li", {}, make("b", {}, kind), names(kind, found)))));
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
      body.replaceChildren(...(found.total ? [make("p", {}, found.rows.length < found.total ? `The first ${number(found.rows.length)} of ${number(found.total)}.` : `${number(found.total)} in all.`), table(found.columns, found.rows)] : ["Every row fits."]));
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
    const waiting = make("div", {}, make("p", { class: "waiting" }, "Asking the load log …")), past = make("div"), kept = make("div");
    main.replaceChildren(
      make("header", { class: "top" }, make("h1", {}, ds.name), make("span", { class: "title" }, ds.title), make("a", { href: page("coverage", {}) }, "Coverage"), make("a", { href: page("marts", {}) }, "Marts")),
      lineage(ds), waiting, past, kept,
      part("Columns", ds.columns.length ? table(["column", "type", "unit", "required", "description"], ds.columns.map((c) => [c.name, c.type, c.unit, c.required ? "yes" : "no", c.description])) : make("p", {}, "It is no table: files are kept as they are.")));
    const said = new Set();
    const fill = async (into, path, draw) => {
      try {
        into.replaceChildren(...draw(await ask(`${path}/${encodeURIComponent(name)}`)).filter(Boolean));
      } catch (error) {
        into.replaceChildren(...(said.has(error.message) ? [] : [notice(error.message)]));
        said.add(error.message);
      }
    };
    await Promise.all([fill(waiting, "coverage", (facts) => history(facts, ds, kept)), fill(past, "history", (facts) => (ds.columns.length ? [audits(ds, facts), drift(facts)] : []))]);
  } catch (error) {
    main.replaceChildren(notice(error.message));
  }
  main.setAttribute("aria-busy", "false");
}
start();
