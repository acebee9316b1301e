"use strict";
const articles = [...document.querySelectorAll("article")];
const form = document.querySelector("form");
const dialog = document.querySelector("dialog");
let matching = articles, current;

function filter() {
  const { search, ...choices } = Object.fromEntries(new FormData(form));
  for (const article of articles) {
    const chosen = Object.entries(choices).every(([name, value]) =>
      !value || article.dataset[name] === value);
    const text = article.textContent.toLowerCase();
    article.hidden = !chosen || !text.includes(search.trim().toLowerCase());
  }
  matching = articles.filter((article) => !article.hidden);
  document.querySelector("[role=status]").textContent =
    `${matching.length} of ${articles.length} explanations`;
}

/** Writes the filters and the card in the large view into the address. */
function remember(method) {
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
  remember("pushState");
}));
document.querySelector("main").addEventListener("click", (event) => {
  if (!event.target.matches(".open")) return;
  show(event.target.closest("article"));
  remember("pushState");
});
dialog.addEventListener("click", ({ target }) => {
  if (target.dataset.step) step(Number(target.dataset.step));
  if (target === dialog || target.matches(".close")) dialog.close();
});
dialog.addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") step(-1);
  if (key === "ArrowRight") step(1);
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
  if (location.hash) remember("pushState");
  current.querySelector(".open").focus();
});
window.addEventListener("popstate", restore);
restore();
