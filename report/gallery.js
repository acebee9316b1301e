"use strict";
const articles = [...document.querySelectorAll("article")];
const form = document.querySelector("form"), dialog = document.querySelector("dialog");
let matching = articles, current;

function filter() {
  const { search, ...choices } = Object.fromEntries(new FormData(form));
  matching = articles.filter(({ dataset, textContent }) =>
    Object.entries(choices).every(([name, value]) => !value || dataset[name] === value)
      && textContent.toLowerCase().includes(search.trim().toLowerCase()));
  for (const article of articles) article.hidden = !matching.includes(article);
  document.querySelector("[role=status]").textContent =
    `${matching.length} of ${articles.length} explanations`;
}

/** Writes the filters and the card in the large view into the address. */
function remember(method = "pushState") {
  const url = new URL(location);
  url.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  url.hash = dialog.open ? current.id : "";
  history[method](null, "", url);
}

/** Follows the address: on load, and for Back, Forward and links. */
function restore() {
  const query = new URLSearchParams(location.search);
  for (const { name } of form.elements) if (name) form.elements[name].value = query.get(name) ?? "";
  filter();
  const card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (articles.includes(card)) show(card);
  else if (dialog.open) dialog.close();
}

function show(article) {
  current = article;
  dialog.querySelector("div").replaceChildren(...article.cloneNode(true).childNodes);
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  if (!matching.length) return;
  show(matching.at((matching.indexOf(current) + by) % matching.length));
  remember("replaceState");
}

form.addEventListener("input", ({ target }) => {
  filter();
  remember(target.type === "search" ? "replaceState" : "pushState");
});
form.addEventListener("reset", () => setTimeout(() => {  // after the fields are reset
  filter();
  remember();
}));
document.querySelector("main").addEventListener("click", ({ target }) => {
  if (!target.matches(".open")) return;
  show(target.closest("article"));
  remember();
});
dialog.addEventListener("click", ({ target }) => {
  if (target.dataset.step) step(Number(target.dataset.step));
  if (target === dialog || target.matches(".close")) dialog.close();
});
dialog.addEventListener("keydown", ({ key }) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[key];
  if (by) step(by);
});
// A swipe, unless it scrolls a figure that is wider than the screen.
const position = ({ changedTouches: [touch] }) => [touch.clientX, touch.clientY,
  dialog.querySelector("figure").scrollLeft];
let start;
dialog.addEventListener("touchstart", (event) => { start = position(event); }, { passive: true });
dialog.addEventListener("touchend", (event) => {
  const [x, y, scrolled] = position(event).map((value, i) => value - start[i]);
  if (!scrolled && Math.abs(x) > 60 && Math.abs(x) > 2 * Math.abs(y)) step(x < 0 ? 1 : -1);
});
dialog.addEventListener("close", () => {
  if (location.hash) remember();
  current.querySelector(".open").focus();
});
window.addEventListener("popstate", restore);
restore();
