// Keys: "/" on every page, the others on the review page. Everything works without this file, by form.
"use strict";
(() => {
  const list = document.querySelector("[data-reviews]");
  const help = document.querySelector("[data-help-box]");
  let leave = () => {};
  document.querySelectorAll(".needs-js").forEach((each) => { each.hidden = false; });
  const keys = { "/": () => { const find = document.getElementById("go-id"); if (find) find.focus(); } };
  // Keys go into a mail's preview that has the focus, and no selector of CSS tells it.
  const enter = () => document.querySelectorAll("iframe").forEach((each) => each.classList.toggle("entered", each === document.activeElement));
  ["blur", "focus"].forEach((name) => window.addEventListener(name, enter));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, dialog");
    if (typing && event.key === "Escape") { leave(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  if (!list || !help) return;
  const cards = [...list.querySelectorAll("[data-variant]")];
  const current = () => cards.find((card) => card.contains(document.activeElement));
  const go = (card) => { if (card) { card.focus({ preventScroll: true }); card.scrollIntoView({ block: "start" }); } };
  const step = (by) => {
    const at = cards.indexOf(current());
    go(cards[at < 0 ? (by > 0 ? 0 : cards.length - 1) : Math.min(cards.length - 1, Math.max(0, at + by))]);
  };
  const submit = (card) => { const form = card && card.querySelector("[data-approve]"); if (form) form.requestSubmit(); };
  const open = (card) => { const link = card && card.querySelector("[data-edit]"); if (link) link.click(); };
  const reason = (card) => { const input = card && card.querySelector("[data-reject] input[name=reason]"); if (input) input.focus(); };
  const follow = (name) => { const link = document.querySelector(name); if (link) link.click(); };
  Object.assign(keys, {
    j: () => step(1), k: () => step(-1), a: () => submit(current()), e: () => open(current()), r: () => reason(current()),
    u: () => follow("[data-again]"), n: () => follow("[data-next]"), "?": () => help.showModal(),
  });
  leave = () => go(current());
  document.querySelectorAll("[data-help]").forEach((button) => button.addEventListener("click", () => help.showModal()));
  const wanted = location.hash && document.getElementById(location.hash.slice(1));
  if (wanted) go(wanted); else if (cards[0]) cards[0].focus({ preventScroll: true });
})();
