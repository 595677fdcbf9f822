// Coverage: datasets × partitions. Levels finer than a month are opened, never all drawn: a page of hours stays light.
import { GRAINS, airflow, ask, cut, link, make, notice, number, page, periods } from "./common.js";

const STATES = {
  L: ["loaded", "✓"], O: ["outdated or incomplete", "○"], F: ["refused or failed", "!"],
  M: ["missing", "·"], A: ["late", "…"], R: ["running", "▸"],
};
// What a group of partitions shows: the state that wants somebody most.
const WORST = ["F", "R", "O", "A", "M", "L"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const numbers = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => String(first + n));
const main = document.getElementById("main");
const panel = make("aside", { id: "panel", "aria-live": "polite" });
const hint = make("div", { id: "hint", role: "tooltip", hidden: true });
document.body.append(hint);
let shown = null; // the partition in the panel

class Grid {
  constructor(entry, facts) {
    Object.assign(this, { name: entry.name, title: entry.title, every: entry.every }, facts);
    this.keys = this.first ? periods(this.first, this.every, this.states.length) : [""];
    this.places = new Map(this.keys.map((key, place) => [key, place]));
  }
  /** Places between two periods (or their beginnings), both included. */
  between(first, last) {
    return this.keys.flatMap((key, place) => (key.slice(0, first.length) >= first && key.slice(0, last.length) <= last ? [place] : []));
  }
  state(places) {
    const found = new Set(places.map((place) => this.states[place]));
    return WORST.find((state) => found.has(state)) ?? "M";
  }
  describe(key, places) {
    const name = `${this.name} ${key}`.trim();
    if (places.length > 1) {
      const counts = WORST.map((state) => [state, places.filter((p) => this.states[p] === state).length]);
      return [name, ...counts.filter(([, n]) => n).map(([state, n]) => `${number(n)} ${STATES[state][0]}`)];
    }
    const [rows, quarantined, source, , sentences] = this.cells[places[0]] ?? [];
    const from = this.sources[source];
    return [`${name}: ${STATES[this.states[places[0]]][0]}`,
      rows != null && `${number(rows)} rows, ${number(quarantined)} in quarantine`,
      from && (from.sample ? `sample data, generated (${from.url})` : `from ${from.url}`),
      ...(sentences ?? [])].filter(Boolean);
  }
}

/** A row of cells for each group of keys; `level` is the grain of a cell. */
function rows(grid, places, level, open) {
  const outer = { hour: "day", day: "month", month: "year", year: "year" }[level];
  const lines = new Map();
  for (const place of places) {
    const line = level === "year" ? "" : cut(grid.keys[place], outer), cell = cut(grid.keys[place], level);
    if (!lines.has(line)) lines.set(line, new Map());
    const cells = lines.get(line);
    cells.has(cell) ? cells.get(cell).push(place) : cells.set(cell, [place]);
  }
  const columns = { month: MONTHS, day: numbers(1, 31), hour: numbers(0, 23) }[level];
  const head = columns && make("div", { class: `row by-${level} columns`, "aria-hidden": "true" }, make("span"), columns.map((text) => make("span", {}, text)));
  return make("div", { class: "grid", role: "group" }, head, [...lines].reverse().map(([line, cells]) => {
    const all = [...cells];
    // A year that begins in its middle: each month below its own kind.
    const skipped = level === "month" ? Number(all[0][0].slice(5)) - 1 : level === "day" ? Number(all[0][0].slice(8)) - 1 : level === "hour" ? Number(all[0][0].slice(11)) : 0;
    const row = make("div", { class: `row by-${level}` }, make("span", { class: "when" }, line), all.map(([key, own]) => cell(grid, key, own, open)));
    if (skipped) row.children[1].style.gridColumnStart = skipped + 2;
    return row;
  }));
}

function cell(grid, key, places, open) {
  const state = grid.state(places), lines = grid.describe(key, places);
  const from = grid.sources[grid.cells[places[0]]?.[2]];
  const [, quarantined] = grid.cells[places[0]] ?? [];
  return make("button", {
    type: "button", class: `cell ${state}${from?.sample ? " sample" : ""}${quarantined ? " kept" : ""}`, "aria-label": lines.join(". "),
    click: () => open(key, places), mouseenter: (e) => show(e.target, lines), focus: (e) => show(e.target, lines), mouseleave: hide, blur: hide,
  }, STATES[state][1]);
}

function show(target, lines) {
  hint.replaceChildren(...lines.map((line) => make("div", {}, line)));
  hint.hidden = false;
  const box = target.getBoundingClientRect();
  hint.style.left = `${Math.max(4, Math.min(box.left, innerWidth - hint.offsetWidth - 8))}px`;
  hint.style.top = box.bottom + hint.offsetHeight + 8 > innerHeight ? `${box.top - hint.offsetHeight - 4}px` : `${box.bottom + 4}px`;
}
function hide() { hint.hidden = true; }

function draw(section, grid) {
  section.grid = grid;
  section.replaceChildren(...[...drawn(grid), grid.below = make("div"), range(section, grid)].filter(Boolean));
  if (grid.states.includes("R")) follow(section);
}

/** What changes while runs do; what a user has opened or typed below it stays. */
function update(section, facts) {
  if (!section.grid) return;
  const { grid } = section, { below } = grid, cells = () => [...section.querySelectorAll(".cell")], at = cells().indexOf(document.activeElement);
  const before = grid.states;
  Object.assign(grid, new Grid(grid, facts));
  while (section.firstChild !== below) section.firstChild.remove();
  below.before(...drawn(grid));
  if (below.firstChild) grid.reopen();
  if (at >= 0) cells()[at]?.focus();
  if (shown?.name === grid.name && before[shown.place] !== grid.states[shown.place]) select(grid, shown.place, false);
  if (grid.states.includes("R")) follow(section);
}

function drawn(grid) {
  const counts = WORST.map((state) => [state, [...grid.states].filter((s) => s === state).length]).filter(([, n]) => n);
  const level = grid.every && GRAINS[Math.min(GRAINS.indexOf(grid.every), GRAINS.indexOf("month"))];
  const open = (key, places, into = grid.below) => {
    if (places.length === 1 && (grid.keys[places[0]] === key)) return select(grid, places[0]);
    if (into === grid.below) grid.reopen = () => open(key, places);
    const finer = GRAINS[GRAINS.indexOf(key.length === 7 ? "month" : "day") + 1], inner = make("div");
    into.replaceChildren(make("h3", {}, key), rows(grid, places, finer, (k, p) => open(k, p, inner)), inner);
  };
  const all = grid.keys.map((_, place) => place);
  return [
    make("header", {}, make("h2", {}, make("a", { href: page("dataset", { name: grid.name }) }, grid.name)), make("span", { class: "title" }, grid.title),
      counts.map(([state, n]) => make("span", { class: "count" }, make("i", { class: `dot ${state}` }), ` ${number(n)} ${STATES[state][0]}`))),
    grid.paused.length ? notice(`Paused, so that no schedule starts it: ${grid.paused.join(", ")}. Loading a period here unpauses it.`, "warning") : null,
    grid.every ? rows(grid, all, level, (key, places) => open(key, places)) : make("div", { class: "row" }, make("span", { class: "when" }, "whole"), cell(grid, "", [0], (key, places) => select(grid, places[0]))),
  ].filter(Boolean);
}

/** While something runs, Airflow is asked how many runs there are, and the stores only when that changes. */
async function follow(section) {
  if (section.followed) return;
  section.followed = true;
  const asked = { dag_ids: ["lake", "warehouse", "postgres"].map((store) => `${section.grid.name}_to_${store}`), states: ["queued", "running"], page_limit: 1 };
  try {
    // A run of the lake's ends before those that follow it begin.
    for (let known = -1, quiet = 0, wait = 3000; quiet < 4; wait = Math.min(wait * 1.2, 20000)) {
      await new Promise((done) => setTimeout(done, wait));
      if (document.hidden) continue;
      const { total_entries: now } = await airflow("dags/~/dagRuns/list", asked);
      quiet = now ? 0 : quiet + 1;
      if (now === known) continue;
      update(section, await coverage(section.grid));
      [known, wait] = [now, 3000];
    }
    section.grid?.started?.remove();
  } catch { /* Refresh says what is wrong. */ }
  section.followed = false;
}

function range(section, grid) {
  if (!grid.every) return null;
  const ends = { first: grid.keys[0], last: grid.keys.at(-1) };
  const inputs = Object.keys(ends).map((name) => make("input", { value: ends[name], size: 13, "aria-label": `${name} period`, pattern: "[-0-9T]+" }));
  const said = make("span", { role: "status" });
  const button = (text, states, force) => make("button", {
    type: "button", disabled: !grid.may_run, title: grid.may_run ? null : "You may not trigger these DAGs.",
    click: () => {
      const [first, last] = inputs.map((input) => input.value.trim());
      const wrong = [first, last].find((value) => !value || !grid.keys.some((key) => key.startsWith(value)));
      if (wrong != null) return said.replaceChildren(`${wrong || "An empty field"} is no period of ${grid.name}: it has ${ends.first} to ${ends.last}.`);
      if (first > last && !first.startsWith(last)) return said.replaceChildren(`${first} is after ${last}.`);
      const places = grid.between(first, last).filter((place) => states.includes(grid.states[place]));
      load(section, grid, places, said, text.split(" ")[0], force);
    },
  }, text);
  return make("div", { class: "range" }, "From ", inputs[0], " to ", inputs[1], button("Load missing", "MAO"), button("Retry failed", "F"), button("Reload", "L", true), said);
}

/** What Airflow is asked to run for a partition. */
function wanted(grid, place, force) {
  // Who asks here sees that a period is not published: nobody need be told, and nothing waits for weeks.
  const lake = { publication_timeout: 60, late_alert: false };
  const key = grid.keys[place] || null;
  const families = force ? ["to_lake"] : grid.cells[place]?.[3] ?? ["to_lake"];
  return (families.length ? families : ["to_lake"]).map((family) => ({
    dag: `${grid.name}_${family}`,
    // Called by its period, as the commands call theirs.
    body: { logical_date: null, partition_key: key, dag_run_id: key && `${key}__${new Date().toISOString()}`, conf: { ...(family === "to_lake" ? lake : {}), ...(force ? { force: true } : {}) } },
  }));
}

async function load(section, grid, places, said, verb, force = false) {
  if (!places.length) return said.replaceChildren("Nothing of that kind is in this range.");
  const stop = new AbortController();
  const go = make("button", { type: "button", class: "go", click: run }, `Yes, start ${number(places.length)}`);
  const no = make("button", { type: "button", click: () => { stop.abort(); said.replaceChildren("Not started."); } }, "No");
  const ends = [...new Set([grid.keys[places[0]], grid.keys[places.at(-1)]])].filter(Boolean).join(" to ");
  said.replaceChildren(`${verb} ${number(places.length)} of ${grid.name}${ends && `, ${ends}`}? `, go, no);
  go.focus();
  async function run() {
    let done = 0;
    no.textContent = "Stop";
    no.addEventListener("click", () => stop.abort());
    const progress = make("span", {});
    said.replaceChildren(progress, no);
    try {
      for (const dag of grid.paused) await airflow(`dags/${encodeURIComponent(dag)}`, { is_paused: false }, "PATCH");
    } catch (error) {
      return said.replaceChildren(notice(`${grid.name} is paused, and stays so: ${error.message}`));
    }
    for (const place of places) {
      if (stop.signal.aborted) break;
      progress.textContent = `${number(done)} of ${number(places.length)} started `;
      try {
        for (const { dag, body } of wanted(grid, place, force)) await airflow(`dags/${encodeURIComponent(dag)}/dagRuns`, body);
      } catch (error) {
        return said.replaceChildren(notice(`${number(done)} started. ${grid.name} ${grid.keys[place]}: ${error.message}`));
      }
      done++;
    }
    // Whatever is said here next replaces it; until then it stands as long as something runs.
    said.replaceChildren(grid.started = make("span", {}, `${number(done)} started.`));
    update(section, await coverage(grid));
  }
}

function shut() {
  shown = null;
  panel.replaceChildren();
  document.body.classList.remove("open");
}
addEventListener("keydown", (event) => event.key === "Escape" && shut());

async function select(grid, place, focus = true) {
  shown = { name: grid.name, place };
  const key = grid.keys[place], name = `${grid.name} ${key}`.trim(), said = make("span", { role: "status" });
  const close = make("button", { type: "button", class: "close", "aria-label": "Close", click: shut }, "×");
  const body = make("div", {}, "Asking the stores …");
  const state = grid.states[place], verb = { L: "Reload", F: "Retry", R: "Running" }[state] ?? "Load", section = document.getElementById(`of-${grid.name}`);
  document.body.classList.add("open");
  panel.replaceChildren(close, make("h2", {}, name), make("p", {}, make("i", { class: `dot ${state}` }), ` ${STATES[state][0]}`),
    make("p", {}, make("button", { type: "button", disabled: !grid.may_run || state === "R", click: () => load(section, grid, [place], said, verb, state === "L") }, verb), " ", said),
    body, make("p", {}, make("a", { href: page("dataset", { name: grid.name, period: key }) }, "Dataset, schema and quarantine")));
  if (focus) close.focus({ preventScroll: true });
  try {
    const row = await ask(`partitions/${encodeURIComponent(grid.name)}`, { period: key });
    body.replaceChildren(...details(row));
    for (const run of row.runs.filter((each) => each.state === "failed")) {
      const why = notice(`Reading why ${run.dag_id} failed …`);
      body.append(why);
      why.textContent = await reason(run);
    }
  } catch (error) {
    body.replaceChildren(notice(error.message));
  }
}

function details(row) {
  const facts = {
    "state in the stores": row.state, "lake": row.typed_rows, "quarantine": row.quarantined_rows, "warehouse": row.warehouse_rows,
    "Postgres": row.postgres_rows, "raw bytes": row.raw_bytes, "stages to do": row.missing.join(", ") || "none",
    "source": row.source && (row.sample ? `sample data, generated (${row.source})` : row.source), [row.state === "loaded" ? "loaded" : "last change"]: row.loaded_at && `${row.loaded_at.slice(0, 19).replace("T", " ")} UTC`, "unknown columns": row.drift.join(", "),
  };
  const list = Object.entries(facts).filter(([, value]) => value !== "" && value != null).map(([name, value]) => [make("dt", {}, name), make("dd", {}, typeof value === "number" ? number(value) : value)]);
  return [make("dl", {}, list), row.audits.map((audit) => notice(audit, "warning")),
    make("ul", {}, row.runs.toSorted((a, b) => a.dag_id.localeCompare(b.dag_id)).map((run) => make("li", {}, link(`dags/${encodeURIComponent(run.dag_id)}/runs/${encodeURIComponent(run.run_id)}`, run.dag_id), ` ${run.state}`)))].flat();
}

/** The sentence that a failed run ended with, from the log of its failed task: if this user may read it. */
async function reason({ dag_id: dag, run_id: run }) {
  const path = `dags/${encodeURIComponent(dag)}/dagRuns/${encodeURIComponent(run)}/taskInstances`;
  try {
    const failed = (await airflow(path)).task_instances.find((task) => task.state === "failed");
    if (!failed) return `${dag} failed.`;
    const { content } = await airflow(`${path}/${encodeURIComponent(failed.task_id)}/logs/${failed.try_number}?full_content=true`);
    const said = Array.isArray(content) ? content.flatMap((line) => line?.error_detail?.length ? [line.error_detail[0].exc_value] : []).at(-1) : null;
    return `${dag} ${failed.task_id}: ${said ?? "failed"}`;
  } catch (error) {
    return `${dag} failed. ${error.message}`;
  }
}

const coverage = ({ name }) => ask(`coverage/${encodeURIComponent(name)}`);

async function refresh(section, entry) {
  try {
    draw(section, new Grid(entry, await coverage(entry)));
  } catch (error) {
    section.grid = null;
    section.replaceChildren(make("h2", {}, entry.name), notice(error.message));
  }
}

async function start() {
  try {
    const { datasets, problems } = await ask("datasets");
    const sections = datasets.map((entry) => make("section", { id: `of-${entry.name}` }, make("h2", {}, entry.name), make("p", { class: "waiting" }, "…")));
    const legend = make("p", { class: "legend" }, WORST.map((state) => make("span", {}, make("i", { class: `cell ${state}` }, STATES[state][1]), ` ${STATES[state][0]}`)),
      make("span", {}, make("i", { class: "cell L sample" }, "✓"), " sample data"), make("span", {}, make("i", { class: "cell L kept" }, "✓"), " with quarantine"));
    const again = make("button", { type: "button", click: () => all() }, "Refresh");
    main.replaceChildren(make("header", { class: "top" }, make("h1", {}, "Coverage"), make("a", { href: page("marts", {}) }, "Marts"), again, legend), ...problems.map((problem) => notice(`Left out: ${problem}`, "warning")), ...sections);
    document.body.append(panel);
    const all = () => Promise.all(datasets.map((entry, n) => refresh(sections[n], entry)));
    if (!datasets.length) main.append(notice("There is no dataset yet, or none that you may see. Add one: scripts/new NAME ADDRESS", "warning"));
    await all();
  } catch (error) {
    main.replaceChildren(notice(error.message));
  }
  main.setAttribute("aria-busy", "false");
}
start();
