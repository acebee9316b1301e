"use strict";
const entries = [...document.querySelectorAll(".entry")];
const form = document.querySelector(".filters");
const filters = [...form.querySelectorAll("select")];
const dialog = document.querySelector("dialog");
let shown = entries;
let open = null;

function filter() {
  shown = entries.filter((entry) => filters.every((f) => !f.value || entry.dataset[f.name] === f.value));
  const kept = new Set(shown);
  for (const entry of entries) entry.hidden = !kept.has(entry);
  for (const section of document.querySelectorAll("section")) section.hidden = !section.querySelector(".entry:not([hidden])");
  form.querySelector("[role=status]").textContent =
    shown.length ? `${shown.length} of ${entries.length} explanations` : "None is all of this: choose less";
}

function show(entry) {
  open = entry;
  dialog.querySelector(".large").replaceChildren(entry.querySelector("template").content.cloneNode(true));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function step(by) {
  show(shown.at((shown.indexOf(open) + by) % shown.length));  // behind the last comes the first
}

form.addEventListener("change", filter);
form.addEventListener("reset", (event) => {
  event.preventDefault();  // its own change of the fields would come after the event
  for (const f of filters) f.value = "";
  filter();
});
form.addEventListener("submit", (event) => event.preventDefault());
document.querySelector("main").addEventListener("click", (event) => {
  const button = event.target.closest(".open");
  if (button) show(button.closest(".entry"));
});
dialog.querySelector(".back").addEventListener("click", () => step(-1));
dialog.querySelector(".on").addEventListener("click", () => step(1));
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });  // beside it
dialog.addEventListener("keydown", (event) => {
  if (event.target.closest("pre")) return;  // there the arrows scroll
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
dialog.addEventListener("close", () => open.querySelector(".open").focus());
filter();  // a browser may keep what was chosen before a reload
