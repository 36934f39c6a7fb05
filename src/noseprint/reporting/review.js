"use strict";
/* What the keys of a review page do. `rules` knows nothing of the page, so that it can be tested without a browser;
   `showPage` connects it to the page. */

const rules = {
  start(cards, classes = []) {
    return { cards, classes, at: 0, decided: {}, past: [] };
  },

  /* What a key decides about a card, as {decision, to}; null if it decides nothing there. "class NAME" stands for a
     class that was typed or chosen. */
  decision(card, key, classes = []) {
    const plain = { k: "keep", d: "drop", n: "not a member" };
    if (Object.hasOwn(plain, key)) return { decision: plain[key], to: "" };
    const typed = key.startsWith("class ") && classes.includes(key.slice(6)) ? key.slice(6) : "";
    const to = key === "r" ? card.proposal : /^[1-5]$/.test(key) ? card.top[Number(key) - 1] : typed;
    if (!to) return null;
    return to === card.evidence.label ? { decision: "keep", to: "" } : { decision: "relabel", to };
  },

  /* Apply a key at a time (ISO 8601, UTC). Returns whether anything changed. */
  press(state, key, when) {
    const last = state.cards.length - 1;
    const move = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[key];
    if (move) {
      const at = Math.min(last, Math.max(0, state.at + move));
      const moved = at !== state.at;
      state.at = at;
      return moved;
    }
    if (key === "u") {
      const step = state.past.pop();
      if (!step) return false;
      state.at = step.at;
      if (step.before) state.decided[step.at] = step.before;
      else delete state.decided[step.at];
      return true;
    }
    const found = state.cards.length ? rules.decision(state.cards[state.at], key, state.classes) : null;
    if (!found) return false;
    state.past.push({ at: state.at, before: state.decided[state.at] || null });
    state.decided[state.at] = { ...found, when };
    state.at = Math.min(last, state.at + 1);
    return true;
  },

  /* The decisions as JSON lines, in the order in which they were made. */
  lines(state) {
    const made = Object.entries(state.decided).map(([at, { decision, to, when }]) => {
      return { ...state.cards[at].evidence, decision, ...(to ? { to } : {}), when };
    });
    made.sort((a, b) => (a.when < b.when ? -1 : a.when > b.when ? 1 : 0));
    return made.map((line) => JSON.stringify(line) + "\n").join("");
  },

  save(state) {
    return JSON.stringify({ at: state.at, decided: state.decided, past: state.past });
  },

  /* Take up what `save` gave; anything else is ignored. */
  load(state, text) {
    let saved = null;
    try { saved = JSON.parse(text); } catch { return; }
    const known = (at) => Number.isInteger(at) && at >= 0 && at < state.cards.length;
    if (!saved || !known(saved.at) || !Array.isArray(saved.past)) return;
    if (!saved.decided || !Object.keys(saved.decided).every((at) => known(Number(at)))) return;
    Object.assign(state, { at: saved.at, decided: saved.decided, past: saved.past });
  },

  /* The sample so far: how many are looked at, how many are wrong, and the 95 % Wilson score interval. */
  sample(state) {
    const said = state.cards.map((card, at) => (card.sample ? state.decided[at] : null)).filter(Boolean);
    const n = said.length;
    const wrong = said.filter(({ decision }) => decision !== "keep").length;
    const z = 1.959963984540054;
    const share = n ? wrong / n : 0;
    const middle = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
    const half = (z / (1 + (z * z) / n)) * Math.sqrt((share * (1 - share)) / n + (z / (2 * n)) ** 2);
    return { n, wrong, share, low: n ? middle - half : 0, high: n ? middle + half : 1 };
  },

  /* A decision in words. */
  words({ decision, to }) {
    return { keep: "kept", drop: "dropped", "not a member": "no member of any class" }[decision] || `relabelled to ${to}`;
  },
};

function showPage() {
  const { key, cards, classes } = JSON.parse(document.getElementById("cards").textContent);
  const state = rules.start(cards, classes);
  const elements = [...document.querySelectorAll(".card")];
  const bar = document.getElementById("bar");
  const choice = document.getElementById("choice");
  const say = (id, text) => { document.getElementById(id).textContent = text; };
  const store = `noseprint review ${key}`;
  let kept = true;
  const keep = () => {
    try { localStorage.setItem(store, rules.save(state)); } catch { kept = false; }
  };
  const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

  function showCard(at) {
    const made = state.decided[at];
    const element = elements[at];
    element.classList.toggle("decided", Boolean(made));
    element.querySelector(".verdict").textContent = made ? rules.words(made) : "";
    if (at === state.at) element.setAttribute("aria-current", "true");
    else element.removeAttribute("aria-current");
  }

  function showBar() {
    const card = cards[state.at];
    for (const button of bar.querySelectorAll("[data-key]")) {
      const name = button.dataset.key;
      if (/^[rkdn1-5]$/.test(name)) button.disabled = !rules.decision(card, name);
      if (/^[1-5]$/.test(name)) button.querySelector("span").textContent = card.top[Number(name) - 1] || "\u2013";
      if (name === "r") button.querySelector("span").textContent = `Relabel to ${card.proposal || "\u2013"}`;
      if (name === "u") button.disabled = !state.past.length;
    }
    const done = Object.keys(state.decided).length;
    const made = state.decided[state.at];
    const storage = kept ? "" : " This browser does not keep progress: download before you close the page.";
    say("status", `Image ${state.at + 1} of ${cards.length}${made ? `: ${rules.words(made)}` : ""}. ${done} decided.${storage}`);
    const { n, wrong, share, low, high } = rules.sample(state);
    const rate = `${wrong} wrong: ${percent(share)} (95\u00a0% interval ${percent(low)} to ${percent(high)})`;
    say("estimate", n ? `Random sample on this page: ${n} looked at, ${rate}.` : "");
  }

  function go() {
    elements[state.at].scrollIntoView({ block: "center" });
    if (!bar.contains(document.activeElement)) elements[state.at].focus({ preventScroll: true });
  }

  function download() {
    const link = document.createElement("a");
    const address = URL.createObjectURL(new Blob([rules.lines(state)], { type: "application/jsonl" }));
    link.href = address;
    link.download = "review-decisions.jsonl";
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  function press(name) {
    if (name === "e") return download();
    if (name === "c") return choice.focus();
    const before = state.at;
    if (!rules.press(state, name, new Date().toISOString())) return undefined;
    keep();
    showCard(before);
    showCard(state.at);
    showBar();
    return go();
  }

  /* A class that was typed or chosen. Escape leaves the field; keys that are typed in it decide nothing. */
  choice.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Escape") choice.value = "";
    else if (event.key !== "Enter") return;
    const name = choice.value.trim();
    if (name && !classes.includes(name)) {
      choice.setCustomValidity(`There is no class ${name}`);
      choice.reportValidity();
      return;
    }
    choice.value = "";
    elements[state.at].focus({ preventScroll: true });
    if (name) press(`class ${name}`);
  });
  choice.addEventListener("input", () => choice.setCustomValidity(""));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.repeat && !event.key.startsWith("Arrow"))) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (/^([kdnruce1-5]|Arrow(Up|Down|Left|Right))$/.test(name)) {
      event.preventDefault();
      press(name);
    }
  });
  bar.addEventListener("click", (event) => {
    const button = event.target.closest("[data-key]");
    if (button) press(button.dataset.key);
  });
  elements.forEach((element, at) => element.addEventListener("click", () => {
    const before = state.at;
    state.at = at;
    keep();
    showCard(before);
    showCard(at);
    showBar();
  }));

  try { rules.load(state, localStorage.getItem(store)); } catch { kept = false; }
  if (cards.length) {
    history.scrollRestoration = "manual";
    bar.hidden = false;
    elements.forEach((_, at) => showCard(at));
    showBar();
    if (state.at) go();
  }
}

if (typeof document === "undefined") module.exports = rules;
else showPage();
