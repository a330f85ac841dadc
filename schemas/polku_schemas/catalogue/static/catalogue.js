// Search, filters, deep links and copying. The page is whole without this script; it only makes it quicker to use.
// Texts of the plan are put into the page as text, never as HTML.
(() => {
  "use strict";
  document.documentElement.classList.add("js");
  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const index = JSON.parse(find("#index").textContent);
  const say = (text) => { find("#status").textContent = text; };
  const element = (name, className, ...children) => {
    const made = document.createElement(name);
    made.className = className;
    made.append(...children);
    return made;
  };
  const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const plain = (text) => text.replaceAll("`", "");
  const idOf = (entry) => `${entry.kind}-${entry.name}`;

  // Search -------------------------------------------------------------------------------------------------------

  // `Order Completed`, `orderCompleted` and `order_completed` are the same words; so are `café` and `cafe`.
  const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").replace(/(\p{Ll})(\p{Lu})/gu, "$1 $2")
    .toLowerCase().replace(/[_\-\s]+/g, " ").trim();

  const MOST_HITS = 50;
  const searchable = index.map((entry, order) => ({
    entry, order,
    name: folded(entry.name),
    fields: [
      ["", folded(entry.name), 60],
      ...(entry.aliases ?? []).map((alias) => [`also sent as ${alias}`, folded(alias), 40]),
      ...(entry.properties ?? []).map((name) => [`carries ${name}`, folded(name), 12]),
      ...["owner", "touchpoint", "channel", "stage"].flatMap((key) =>
        [entry[key] ?? []].flat().map((word) => [`${key} ${word}`, folded(word), 10])),
      ["", folded(entry.text), 6],
    ],
  }));

  // How well an entry answers one word, and where it was found; a whole name and a beginning of a word are better.
  function answer(candidate, word) {
    let best = 0, where = "";
    for (const [label, text, weight] of candidate.fields) {
      const at = text.indexOf(word);
      if (at < 0) continue;
      const starts = at === 0 || text[at - 1] === " ";
      const score = weight * (text === word ? 3 : at === 0 ? 2 : starts ? 1.5 : 1);
      if (score > best) [best, where] = [score, label];
    }
    return [best, where];
  }

  function hitsOf(query) {
    const whole = folded(query);
    const words = whole.split(" ").filter(Boolean);
    if (!words.length) return [];
    const hits = [];
    for (const candidate of searchable) {
      let score = candidate.name === whole ? 500 : candidate.name.startsWith(whole) ? 100 : 0;
      let why = "";
      const found = words.every((word) => {
        const [one, where] = answer(candidate, word);
        score += one;
        why = why || where;
        return one > 0;
      });
      if (found) hits.push({ ...candidate, score: score + (candidate.entry.kind === "event" ? 1 : 0), why });
    }
    return hits.sort((a, b) => b.score - a.score || a.order - b.order);
  }

  const input = find("#search");
  const list = find("#hits");
  let chosen = -1;

  function option(hit, number) {
    const { entry, why } = hit;
    const made = element("div", "", element("span", "name", entry.name), element("span", "kind", entry.kind),
      element("span", "text", plain(why ? `${why} · ${entry.text}` : entry.text)));
    made.setAttribute("role", "option");
    made.id = `hit-${number}`;
    made.dataset.to = idOf(entry);
    find(".text", made).dir = "auto";
    return made;
  }

  function showHits() {
    const query = input.value;
    const hits = hitsOf(query);
    const shown = hits.slice(0, MOST_HITS);
    list.replaceChildren(...shown.map(option));
    if (query.trim() && !hits.length) list.append(element("p", "", `Nothing in the plan is like “${query.trim()}”.`));
    if (hits.length > shown.length) list.append(element("p", "", `${hits.length - shown.length} more: write on to narrow them.`));
    list.hidden = !query.trim();
    input.setAttribute("aria-expanded", String(!list.hidden));
    say(query.trim() ? counted(hits.length, "hit") : "");
    choose(shown.length ? 0 : -1);
    list.scrollTop = 0;
  }

  function choose(number) {
    const options = all("[role=option]", list);
    chosen = options.length ? (number + options.length) % options.length : -1;
    options.forEach((one, at) => one.setAttribute("aria-selected", String(at === chosen)));
    if (chosen < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", options[chosen].id);
    options[chosen].scrollIntoView({ block: "nearest" });
  }

  function closeHits() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function open(made) {
    closeHits();
    input.blur();
    if (location.hash === `#${made.dataset.to}`) reveal();
    else location.hash = made.dataset.to;
  }

  input.addEventListener("input", showHits);
  input.addEventListener("focus", () => { if (input.value.trim()) showHits(); });
  input.addEventListener("blur", closeHits);
  input.addEventListener("keydown", (event) => {
    const options = all("[role=option]", list);
    if (event.key === "Escape") {
      input.value = "";
      showHits();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (list.hidden) showHits(); else choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter" && options[chosen] && !list.hidden) {
      open(options[chosen]);
    } else {
      return;
    }
    event.preventDefault();
  });
  // Not click: the input would lose the focus, and the list would be gone before it.
  list.addEventListener("mousedown", (event) => {
    const made = event.target.closest("[role=option]");
    event.preventDefault();
    if (made && event.button === 0) open(made);
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, select, textarea, [contenteditable]");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
    input.select();
  });

  // Filters ------------------------------------------------------------------------------------------------------

  const form = find("#filters");
  const selects = all("select", form);
  const events = index.filter((entry) => entry.kind === "event").map((entry) => ({ entry, row: document.getElementById(idOf(entry)) }));
  const groups = all(".events .group");

  // "*" is everything, "=" nothing, "=word" the word.
  function passes(entry, { name, value }) {
    if (value === "*") return true;
    const values = [entry[name]].flat();
    return value === "=" ? !values.length : values.includes(value.slice(1));
  }

  function filter() {
    const set = selects.filter((select) => select.value !== "*");
    let count = 0;
    for (const { entry, row } of events) {
      row.hidden = !set.every((select) => passes(entry, select));
      count += row.hidden ? 0 : 1;
    }
    for (const group of groups) {
      const rest = find(".elsewhere", group);
      if (rest) rest.hidden = set.length > 0;
      group.hidden = !all(".entry", group).some((row) => !row.hidden) && !(rest && !rest.hidden);
    }
    find(".events").classList.toggle("filtered", set.length > 0);
    selects.forEach((select) => select.classList.toggle("set", set.includes(select)));
    find("button", form).hidden = !set.length;
    find("#shown").textContent = set.length ? `${count} of ${counted(events.length, "event")}` : counted(events.length, "event");
    return set;
  }

  function remember(set) {
    const query = new URLSearchParams(set.map((select) => [select.name, select.value]));
    history.replaceState(null, "", set.length ? `#events?${query}` : "#events");
  }

  form.addEventListener("change", () => remember(filter()));
  form.addEventListener("submit", (event) => event.preventDefault());
  // The selects have their new values only after the event.
  form.addEventListener("reset", () => setTimeout(() => { remember(filter()); selects[0].focus(); }));

  // Deep links ---------------------------------------------------------------------------------------------------

  function reveal() {
    const [name, query] = decodeURIComponent(location.hash.slice(1)).split("?");
    const target = name && document.getElementById(name);
    if (!target) return;
    if (query !== undefined) {
      const wanted = new URLSearchParams(query);
      for (const select of selects) {
        select.value = wanted.get(select.name) ?? "*";
        if (select.selectedIndex < 0) select.value = "*";
      }
      filter();
    } else if (target.hidden) {
      form.reset();
      filter();
    }
    if (target.matches("details")) target.open = true;
    target.scrollIntoView();
    const summary = target.matches("details") && find("summary", target);
    if (summary) summary.focus({ preventScroll: true });
  }

  addEventListener("hashchange", reveal);
  // A link to where the page already is changes no hash, but its row may have been closed since.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (link && link.hash === location.hash) reveal();
  });
  // Opening a row by hand makes its address the page's, so that the address bar can be shared.
  all(".entry > summary").forEach((summary) => summary.addEventListener("click", () => {
    if (!summary.parentElement.open) history.replaceState(null, "", `#${summary.parentElement.id}`);
  }));

  // Which section is being read ----------------------------------------------------------------------------------

  const places = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const last = [...places.keys()].pop();
  let crossed = "";
  function mark() {
    // The last section may be too short to be scrolled to where the others are told from.
    const atEnd = scrollY > 0 && scrollY + innerHeight > document.documentElement.scrollHeight - 2;
    places.forEach((link) => link.removeAttribute("aria-current"));
    places.get(atEnd ? last : crossed)?.setAttribute("aria-current", "true");
  }
  const observer = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) if (isIntersecting) crossed = target.id;
    mark();
  }, { rootMargin: "-30% 0px -69% 0px" });
  addEventListener("scroll", mark, { passive: true });
  all("main > section").forEach((section) => observer.observe(section));

  // Calls --------------------------------------------------------------------------------------------------------

  // The language is chosen once for the whole page.
  function speak(language) {
    all(".call").forEach((call) => call.classList.toggle("chosen", call.dataset.language === language));
    all(".bar [data-language]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.language === language)));
  }

  async function copy(button) {
    const text = find(".call.chosen code", button.closest(".calls")).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      copyBySelection(text); // a page without a secure origin has no clipboard of its own
    }
    say("Copied");
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  }

  function copyBySelection(text) {
    const area = element("textarea", "unseen");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".bar button");
    if (!button) return;
    if (button.classList.contains("copy")) copy(button);
    else speak(button.dataset.language);
  });

  speak("python");
  filter();
  reveal();
})();
