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

function show(article) {
  current = article;
  dialog.querySelector("div").replaceChildren(...article.cloneNode(true).childNodes);
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  show(matching.at((matching.indexOf(current) + by) % matching.length));
}

form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));  // after the fields are reset
document.querySelector("main").addEventListener("click", (event) => {
  if (event.target.matches(".open")) show(event.target.closest("article"));
});
dialog.addEventListener("click", ({ target }) => {
  if (target.dataset.step) step(Number(target.dataset.step));
  if (target === dialog || target.matches(".close")) dialog.close();
});
dialog.addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") step(-1);
  if (key === "ArrowRight") step(1);
});
dialog.addEventListener("close", () => current.querySelector(".open").focus());
filter();  // browsers may restore the fields on reload
