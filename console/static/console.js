// Makes the console quick; every form and link works without it.
"use strict";

const notice = (text) => {
  const place = document.getElementById("notice");
  place.textContent = text;
  place.classList.toggle("empty", !text);
};

// After a session has ended the forms of this page carry the token of the new one, so that sending again is enough.
const renew = (answer) => {
  const token = answer.querySelector("[name=csrf]")?.value;
  if (token) for (const field of document.querySelectorAll("[name=csrf]")) field.value = token;
};

// Exchanges elements of this page for those of an answer; says what the answer has to say.
const exchange = (html, selectors) => {
  const answer = new DOMParser().parseFromString(html, "text/html");
  const said = answer.getElementById("notice")?.textContent ?? "";
  const trouble = answer.querySelector("[role=alert]")?.textContent;
  const found = selectors.map((selector) => [document.querySelector(selector), answer.querySelector(selector)]);
  if (trouble || found.some(([old, fresh]) => !old || !fresh)) {
    if (trouble) { renew(answer); notice(trouble); return true; }
    return false;
  }
  const focused = document.activeElement?.id;
  for (const [old, fresh] of found) old.replaceWith(fresh);
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus();
  notice(said);
  prepare();
  return true;
};

let asked = 0;
const swap = async (address, options, selectors, keep) => {
  const mine = ++asked;
  document.body.classList.add("busy");
  try {
    const answer = await fetch(address, { ...options, headers: { "x-swap": "1" } });
    const html = await answer.text();
    if (mine !== asked) return;
    if (new URL(answer.url).pathname === "/login") { location.assign(answer.url); return; }
    if (!exchange(html, selectors)) location.assign(answer.url);
    else if (keep) history.pushState(null, "", answer.url);
  } catch (error) {
    notice(`The console does not answer: ${error.message}`);
  } finally {
    if (mine === asked) document.body.classList.remove("busy");
  }
};

const selectorsOf = (element) => element.dataset.swap.split(",").map((part) => part.trim());

document.addEventListener("submit", (event) => {
  const form = event.target;
  const back = form.elements.namedItem("back"); // the address may have changed since the form was made
  if (back) back.value = location.pathname + location.search;
  if (!form.dataset.swap || event.submitter?.hasAttribute("data-whole")) return; // data-whole: load the whole page
  event.preventDefault();
  const fields = new FormData(form, event.submitter);
  const post = form.method === "post";
  form.closest("dialog")?.close();
  if (post) swap(form.action, { method: "POST", body: new URLSearchParams(fields) }, selectorsOf(form), false);
  else {
    const given = [...fields].filter(([, value]) => value !== "");
    swap(`${form.action.split("?")[0]}?${new URLSearchParams(given)}`, {}, selectorsOf(form), !("quiet" in form.dataset));
  }
});

document.addEventListener("click", (event) => {
  const dialog = document.getElementById(event.target.closest("[data-dialog]")?.dataset.dialog);
  if (dialog) { event.preventDefault(); dialog.showModal(); return; }
  if (event.target.closest("[data-close]")) { event.target.closest("dialog")?.close(); return; }
  const menu = event.target.closest(".menu-button");
  if (menu) { event.preventDefault(); menu.setAttribute("aria-expanded", String(menu.getAttribute("aria-expanded") !== "true")); return; }
  const link = event.target.closest("a[data-swap]");
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    swap(link.href, {}, selectorsOf(link), true);
  }
});

// A form that follows its fields: a choice at once, a slider or a text when it rests.
let rest;
const follow = (event, wait) => {
  const form = event.target.form;
  if (!form || !("auto" in form.dataset) || event.target.type === "search") return;
  clearTimeout(rest);
  rest = setTimeout(() => form.requestSubmit(), wait);
};
document.addEventListener("change", (event) => { if (!("still" in event.target.dataset)) follow(event, 0); });
document.addEventListener("input", (event) => {
  const field = event.target;
  if (field.type === "range") {
    const shown = field.form?.querySelector(`output[for="${field.id}"]`);
    if (shown) shown.textContent = `${field.dataset.scale ? Math.round(field.value * field.dataset.scale * 10) / 10 : field.value}${field.dataset.unit ?? ""}`;
    follow(event, 60);
  }
  if (field.dataset.suggest) suggest(field);
});

// Suggestions come while somebody types; the browser's own list shows them, so that keys and screen readers work.
let typing;
const suggest = (field) => {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    const answer = await fetch(`${field.dataset.suggest}?${new URLSearchParams({ q: field.value })}`);
    if (!answer.ok) return;
    const options = (await answer.json()).map(([value, label]) => {
      const option = document.createElement("option");
      option.value = value;
      if (label) option.label = label;
      return option;
    });
    document.getElementById(field.getAttribute("list"))?.replaceChildren(...options);
  }, 120);
};

// Whether the endpoint follows what was just changed: the newest version of the live policy, or another model.
const watch = async (place) => {
  place.dataset.watched = "1";
  const wanted = place.dataset.follow;
  const follows = (found) => (Number.isInteger(found) ? found >= Number(wanted) : found === wanted);
  for (let tries = 0; tries < 45 && place.isConnected; tries++) {
    const answer = await fetch(place.dataset.from).then((found) => found.json()).catch(() => null);
    if (answer && follows(answer.endpoint)) { place.textContent = "· the endpoint follows it"; place.dataset.done = "1"; return; }
    place.textContent = answer && answer.endpoint === null ? "· the endpoint does not answer" : "· on its way to the endpoint";
    await new Promise((done) => setTimeout(done, 1000));
  }
};

// On a phone what narrows a search stays folded until somebody asks for it.
const fold = () => {
  if (!matchMedia("(max-width: 62rem)").matches) return;
  for (const panel of document.querySelectorAll(".facets-panel[open]:not([data-seen])")) panel.open = false;
};

// What takes a while to read comes after the page.
const load = () => {
  for (const place of document.querySelectorAll("[data-load]:not([aria-busy])")) {
    place.setAttribute("aria-busy", "true");
    fetch(place.dataset.load).then((answer) => answer.text()).then((html) => {
      const fresh = new DOMParser().parseFromString(html, "text/html").getElementById(place.id);
      if (fresh) place.replaceWith(fresh);
      else place.textContent = "It could not be read; Operations says more.";
    }).catch((error) => { place.textContent = `It could not be read: ${error.message}`; });
  }
};

const prepare = () => {
  document.querySelectorAll("[data-follow]:not([data-watched])").forEach(watch);
  fold();
  load();
};
addEventListener("popstate", () => location.reload());
document.addEventListener("DOMContentLoaded", prepare);
if (document.readyState !== "loading") prepare();
