// Keys: "/" on every page, the others on the review page. Everything works without this file, by form.
"use strict";
(() => {
  const list = document.querySelector("[data-reviews]");
  const help = document.querySelector("[data-help-box]");
  let leave = () => {};
  document.querySelectorAll(".needs-js").forEach((each) => { each.hidden = false; });
  const repeated = ["j", "k"];
  const keys = { "/": () => { const find = document.getElementById("go-id"); if (find) find.focus(); } };
  // Keys go into a mail's preview that has the focus, and no selector of CSS tells it.
  const enter = () => document.querySelectorAll("iframe").forEach((each) => each.classList.toggle("entered", each === document.activeElement));
  ["blur", "focus"].forEach((name) => window.addEventListener(name, enter));
  // Who speaks to the computer types letters without meaning them as commands (WCAG 2.1.4).
  const on = document.querySelector("[data-keys-on]"), off = () => localStorage.getItem("keys") === "off";
  if (on) {
    on.checked = !off();
    on.addEventListener("change", () => localStorage.setItem("keys", on.checked ? "on" : "off"));
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, dialog");
    if (typing && event.key === "Escape") { leave(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key) || off()) return;
    event.preventDefault();
    // A key held down would decide about the texts that come next, which nobody has read.
    if (!event.repeat || repeated.includes(event.key)) keys[event.key]();
  });
  // A second click while the first is on its way would meet what the first has changed.
  let sent = false;
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (!navigator.onLine) {
      event.preventDefault();
      alert("There is no network now. Nothing was sent, and nothing is lost: try again later.");
      return;
    }
    if (sent) event.preventDefault();
    else setTimeout(() => { sent = false; }, 10000); // who stopped it may try again
    sent = true;
  });
  window.addEventListener("pageshow", () => { sent = false; });
  // A long text is not to be lost by a click beside it.
  let typed = false;
  document.querySelectorAll("[data-typed]").forEach((form) => form.addEventListener("input", () => { typed = true; }));
  window.addEventListener("beforeunload", (event) => { if (typed && !sent) event.preventDefault(); });
  // What was sent but not saved (the session had ended, the service failed) is there again when the same form is.
  const fields = (form) => [...form.elements].filter((one) => one.name && !["csrf", "back"].includes(one.name));
  const value = (one) => one.type === "checkbox" ? one.checked : one.value;
  const asShown = (form) => `sent ${form.action} ${JSON.stringify(fields(form).map((one) => one.type === "checkbox" ? one.defaultChecked : one.defaultValue))}`;
  if (document.querySelector(".notice")) Object.keys(sessionStorage).filter((name) => name.startsWith("sent ")).forEach((name) => sessionStorage.removeItem(name));
  document.querySelectorAll("form[data-typed]").forEach((form) => {
    form.addEventListener("submit", () => sessionStorage.setItem(asShown(form), JSON.stringify(fields(form).map(value))));
    const kept = JSON.parse(sessionStorage.getItem(asShown(form)) || "null");
    if (!kept) return;
    fields(form).forEach((one, place) => { if (one.type === "checkbox") one.checked = kept[place]; else one.value = kept[place]; });
    typed = true;
    const note = document.createElement("p");
    note.className = "again";
    note.textContent = "What you typed is here again. It was not saved yet.";
    form.prepend(note);
  });
  // Screen readers tell of what changes in a live region, not of what it held from the start.
  const told = document.querySelector(".notice, main > .alert, .again"), live = document.querySelector("[data-live]");
  if (told) setTimeout(() => {
    const words = told.cloneNode(true);
    words.querySelectorAll("[aria-hidden]").forEach((each) => each.remove());
    live.textContent = words.textContent;
  }, 200);
  if (!list || !help) return;
  // The second press of two would approve the text that came after the first one, before anybody has seen it.
  setTimeout(() => { list.dataset.seen = ""; }, 300);
  const cards = [...list.querySelectorAll("[data-variant]")];
  const current = () => cards.find((card) => card.contains(document.activeElement));
  const go = (card) => { if (card) { card.focus({ preventScroll: true }); card.scrollIntoView({ block: "start" }); } };
  const step = (by) => {
    const at = cards.indexOf(current());
    const more = document.querySelector("[data-next]");
    if (more && by > 0 && at === cards.length - 1) more.focus();
    else go(cards[at < 0 ? (by > 0 ? 0 : cards.length - 1) : Math.min(cards.length - 1, Math.max(0, at + by))]);
  };
  const submit = (card) => {
    if (!card || list.dataset.seen === undefined) return;
    const form = card.querySelector("[data-approve]"), why = card.querySelector("[data-why]");
    if (form) form.requestSubmit(); else if (why) why.focus();
  };
  const open = (card) => { const link = card && card.querySelector("[data-edit]"); if (link) link.click(); };
  const reason = (card) => { const input = card && card.querySelector("[data-reject] input[name=reason]"); if (input) input.focus(); };
  const follow = (name) => { const link = document.querySelector(name); if (link) link.click(); };
  Object.assign(keys, {
    j: () => step(1), k: () => step(-1), a: () => submit(current()), e: () => open(current()), r: () => reason(current()),
    u: () => follow("[data-again]"), n: () => follow("[data-next]"), "?": () => help.showModal(),
  });
  leave = () => go(current());
  document.querySelectorAll("[data-help]").forEach((button) => button.addEventListener("click", () => help.showModal()));
  // After a fault the focus is never on another text than the one that it was about.
  const about = list.dataset.about, wanted = document.getElementById(about || location.hash.slice(1));
  if (wanted) go(wanted);
  else { const start = about ? told : cards[0]; if (start) start.focus({ preventScroll: true }); }
})();
