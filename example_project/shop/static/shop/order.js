/* Edits an order through the API, and merges if somebody else was faster.

   Three values of a field tell who changed it: as it was loaded (`base`), as it is now
   (a 412 brings it), and as it was typed. What only one of the two has changed is merged
   without a question. */
"use strict";

const ATTEMPTS = 5; // if others save again and again while this page merges

const form = document.getElementById("order");
const panel = document.getElementById("conflict");
const recreate = document.getElementById("recreate");
const names = [...form.querySelectorAll(".field [name]")].map((input) => input.name);
const together = JSON.parse(form.dataset.together);
// What is asked about as one: fields that belong together, and each other one alone.
const groups = [...together, ...names.filter((n) => !together.flat().includes(n)).map((n) => [n])];

let base; // the order, as it was loaded or saved last
let etag; // and its version
let unanswered = {}; // sent, but nobody has said whether it was stored
let questions = []; // groups that both have changed
let busy = false;

// Inputs

const input = (name) => form.elements[name];
const label = (name) => form.querySelector(`[for="${input(name).id}"]`).textContent.replace(":", "");
const labels = (some) => some.map(label).join(", ");

function typed() {
  return Object.fromEntries(
    names.map((n) => [n, input(n).type === "checkbox" ? input(n).checked : input(n).value]),
  );
}

function put(name, value) {
  if (input(name).type === "checkbox") input(name).checked = value;
  else input(name).value = value;
}

function same(name, one, other) {
  if (input(name).type === "number") return Number(one) === Number(other);
  const plain = (value) => String(value).replaceAll("\r\n", "\n").trim();
  return plain(one) === plain(other);
}

function readable(name, value) {
  if (input(name).type === "checkbox") return value ? "yes" : "no";
  const option = [...(input(name).options ?? [])].find((each) => each.value === value);
  return option?.text ?? (String(value).replaceAll("\r\n", "\n") || "(empty)");
}

const readableGroup = (group, values) => group.map((n) => readable(n, values[n])).join(" ");

// What the page says

function say(id, text) {
  document.getElementById("alert").textContent = id === "alert" ? text : "";
  document.getElementById("status").textContent = id === "status" ? text : "";
}

function note(name, text, isError = false) {
  const place = document.getElementById(`note_${name}`);
  place.textContent = text;
  place.classList.toggle("wrong", isError);
  input(name).setAttribute("aria-describedby", place.id);
  input(name).setAttribute("aria-invalid", isError);
}

const clearNotes = () => names.forEach((name) => note(name, ""));

function show(order, tag) {
  base = order;
  etag = tag;
  unanswered = {};
  document.getElementById("version").textContent = `v${order.version}`;
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function question({ group, was, theirs, id }) {
  const choice = (side, text, values) => {
    const radio = element("input", { type: "radio", name: id, value: side });
    const value = element("span", { className: "value", id: `${id}_${side}` }, values);
    return element("label", {}, radio, element("b", {}, text), " ", value);
  };
  return element(
    "fieldset",
    {},
    element("legend", {}, labels(group)),
    element("p", { className: "was" }, "Before: ", element("span", { className: "value" }, readableGroup(group, was))),
    choice("theirs", "Theirs:", readableGroup(group, theirs)),
    choice("mine", "Mine:", readableGroup(group, typed())),
  );
}

function ask(merged) {
  const lines = questions.map(question);
  if (merged.length) lines.push(element("p", {}, `Merged, since only they changed it: ${labels(merged)}.`));
  panel.querySelector("div").replaceChildren(...lines);
  panel.hidden = !questions.length;
  if (panel.hidden) return;
  say("alert", `Not saved: both of you changed ${questions.map((q) => labels(q.group)).join("; ")}.`);
  panel.focus();
}

// The API

class NoAnswer extends Error {}

async function send(method, body) {
  const { api, number } = form.dataset;
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  headers["X-CSRFToken"] = document.cookie.match(/csrftoken=([^;]+)/)?.[1] ?? "";
  if (method === "PATCH") headers["If-Match"] = etag;
  const url = method === "POST" ? api : `${api}${number}/`;
  const options = { method, headers, body: body && JSON.stringify(body), cache: "no-store" };
  try {
    const answer = await fetch(url, options);
    const { status } = answer;
    if (status < 500) return { status, tag: answer.headers.get("ETag"), data: await answer.json() };
  } catch {
    // no answer, or half of one
  }
  throw new NoAnswer();
}

async function load() {
  const answer = await send("GET");
  if (answer.status === 404) return deleted();
  if (answer.status !== 200) return refused(answer.data);
  show(answer.data, answer.tag);
  names.forEach((name) => put(name, base[name]));
}

async function save() {
  if (!base) return load();
  const mine = decided();
  if (!mine) return;
  clearNotes();
  let merged = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const changed = names.filter((name) => !same(name, mine[name], base[name]));
    if (!changed.length) return saved(mine, merged);
    const body = Object.fromEntries(changed.map((name) => [name, mine[name]]));
    const before = unanswered;
    unanswered = { ...before, ...body };
    const answer = await send("PATCH", body);
    unanswered = before;
    if (answer.status === 404) return deleted();
    if (answer.status === 200) {
      show(answer.data, answer.tag);
      return saved(mine, merged);
    }
    if (answer.status !== 412 || !answer.data.current) return refused(answer.data);
    merged = merged.concat(merge(mine, answer.data.current, answer.tag));
    if (questions.length) return ask(merged);
  }
  say("alert", "Not saved: others are saving all the time. Press Save again.");
}

/* Compare the order as it is now with what was typed; return what was merged. */
function merge(mine, now, tag) {
  const merged = [];
  questions = [];
  for (const group of groups) {
    const differ = (one, other) => group.some((name) => !same(name, one[name], other[name]));
    // What I sent without getting an answer is no change of theirs.
    const isTheirs = differ(now, base) && differ(now, { ...base, ...unanswered });
    if (!isTheirs || !differ(now, mine)) continue;
    if (differ(mine, base)) {
      questions.push({ group, was: base, theirs: now, id: `keep_${group[0]}` });
      continue;
    }
    for (const name of group.filter((each) => !same(each, now[each], base[each]))) {
      put(name, now[name]);
      mine[name] = now[name];
      note(name, "Merged: somebody else has changed this.");
      merged.push(name);
    }
  }
  show(now, tag);
  return merged;
}

/* Return what is to be saved, or nothing while a question is open. */
function decided() {
  for (const { group, theirs, id } of questions) {
    const side = form.elements[id].value;
    if (!side) {
      say("alert", `Choose what to keep: ${labels(group)}.`);
      form.elements[id][0].focus();
      return null;
    }
    if (side === "theirs") group.forEach((name) => put(name, theirs[name]));
  }
  questions = [];
  ask([]);
  return typed();
}

function saved(mine, merged) {
  unanswered = {};
  // What was typed while the answer was under way stays.
  names.filter((n) => typed()[n] === mine[n]).forEach((n) => put(n, base[n]));
  const others = merged.length ? ` Merged: somebody else had changed ${labels(merged)}.` : "";
  say("status", `Saved as version ${base.version}.${others}`);
}

function deleted() {
  say("alert", "This order isn't there: somebody has deleted it. What you typed is still here.");
  recreate.hidden = false;
  recreate.focus();
}

/* Show the API's own words: of each field beside it, of the rest below. */
function refused(data) {
  const wrong = names.filter((name) => name in data);
  wrong.forEach((name) => note(name, data[name].join(" "), true));
  say("alert", data.detail ?? (wrong.length ? "Not saved. See the fields that are marked." : "Not saved."));
  if (wrong.length) input(wrong[0]).focus();
}

async function createAgain() {
  clearNotes();
  const answer = await send("POST", { ...typed(), number: form.dataset.number });
  if (answer.status !== 201) return refused(answer.data);
  show(answer.data, answer.tag);
  recreate.hidden = true;
  document.getElementById("save").focus();
  say("status", "Created again.");
}

async function run(action) {
  if (busy) return;
  busy = true;
  say("status", "");
  try {
    await action();
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    say("alert", "No answer. It may have been saved all the same: press the button again to find out.");
  } finally {
    busy = false;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run(save);
});
recreate.addEventListener("click", () => run(createAgain));
form.addEventListener("input", () => {
  for (const { group, id } of questions) {
    document.getElementById(`${id}_mine`).textContent = readableGroup(group, typed());
  }
});
run(load);
